"""One call of a rail over HTTP: pooled, under a deadline, its answer bounded and strictly read."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx
from msgspec import Struct, field
from msgspec.structs import replace

from devices.clock import Clock, SystemClock
from server_core.rails.model import Outcome, RailAnswer

_DID_NOT_LEAVE: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""No connection was had, so not a byte of the request went out. Nothing else proves that."""

MAX_REFUSAL: Final = 64


class RailSettings(Struct, frozen=True, kw_only=True):
    """Deadlines in seconds, over the whole call, and the limits of one adapter.

    15 s to pay, 10 s for the rest: NPCI's response times since 16 June 2025, kept for every rail.
    Connecting ends well before them, so that what did not leave is told apart from what was not
    answered.
    """

    authorize_s: float = 15.0
    rest_s: float = 10.0
    connect_s: float = 3.0
    keep_alive_s: float = 2.0
    max_connections: int = 200
    max_answer_bytes: int = 16_384


class Call(Struct, frozen=True, kw_only=True):
    """What is asked. An answer is believed when it says the value `about` under that name.

    `moves` money: then that it did not leave, and that it was refused as malformed (400), are
    final answers. A rail knows an id before it reads the rest, so that a 400 is of a new one.
    `refusals` are what other refusals by name prove; one that is not listed proves nothing.
    """

    method: str
    path: str
    about: tuple[str, str]
    body: dict[str, Any] | None = None
    moves: bool = False
    refusals: Mapping[str, Outcome] = field(default_factory=dict)
    deadline_s: float | None = None


Read = Callable[[dict[str, Any]], RailAnswer | None]
"""What a processed request's answer means; None when it cannot be believed."""


class HttpRail:
    """The pooled client of one rail; safe for concurrent calls; cancelling one closes its socket."""

    __slots__ = ("_client", "_clock", "_settings")

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        clock: Clock | None = None,
        settings: RailSettings | None = None,
    ) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._settings = settings or RailSettings()

    @classmethod
    def connect(
        cls, base_url: str, *, clock: Clock | None = None, settings: RailSettings | None = None
    ) -> Self:
        """A rail with a client of its own; close it with `aclose` or `async with`."""
        used = settings or RailSettings()
        client = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(None, connect=used.connect_s, pool=used.connect_s),
            limits=httpx.Limits(
                max_connections=used.max_connections,
                max_keepalive_connections=used.max_connections,
                keepalive_expiry=used.keep_alive_s,
            ),
            headers={"accept": "application/json", "accept-encoding": "identity"},
            follow_redirects=False,
            trust_env=False,  # a proxy between us and the switch would blur what was sent
        )
        return cls(client, clock=clock, settings=used)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _ask(self, call: Call, read: Read) -> RailAnswer:
        """What is known after the call; never raises but when cancelled."""
        asked_at_ms, began_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        try:
            heard = await self._heard(call)
        except _DID_NOT_LEAVE:
            answer = RailAnswer(outcome=Outcome.NOT_SENT if call.moves else Outcome.UNKNOWN)
        else:
            answer = _judged(call, heard, read)
        return replace(
            answer, asked_at_ms=asked_at_ms, latency_ms=self._clock.monotonic_ms() - began_ms
        )

    async def _heard(self, call: Call) -> tuple[int, dict[str, Any]] | None:
        """The status and what was said, or None when that is nothing or not to be believed.

        Raises only what proves that the request did not leave.
        """
        content = None if call.body is None else json.dumps(call.body).encode("ascii")
        headers = {} if call.body is None else {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(call.deadline_s or self._settings.rest_s),
                self._client.stream(
                    call.method, call.path, content=content, headers=headers
                ) as response,
            ):
                raw = bytearray()
                async for chunk in response.aiter_raw():
                    raw += chunk
                    if len(raw) > self._settings.max_answer_bytes:
                        return None
                said = strict_object(bytes(raw))
        except _DID_NOT_LEAVE:
            raise
        except (httpx.HTTPError, OSError):  # OSError holds the deadline's TimeoutError
            return None
        name, value = call.about
        if said is None or said.get(name) != value:
            return None
        return response.status_code, said


def _judged(call: Call, heard: tuple[int, dict[str, Any]] | None, read: Read) -> RailAnswer:
    unknown = RailAnswer(outcome=Outcome.UNKNOWN)
    if heard is None:
        return unknown
    status, said = heard
    if status == 200:
        return read(said) or unknown
    refusal = said.get("error")
    if not 400 <= status < 500 or not isinstance(refusal, str) or not _is_name(refusal):
        return unknown
    malformed = Outcome.DECLINED if call.moves and status == 400 else Outcome.UNKNOWN
    return RailAnswer(outcome=call.refusals.get(refusal, malformed), code=refusal)


def strict_object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object, its names once; None for anything else."""
    try:
        said = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _is_name(refusal: str) -> bool:
    """`door.reason`, as every refusal of upi-core is named."""
    door, _, reason = refusal.partition(".")
    words = door + reason.replace("_", "")
    return len(refusal) <= MAX_REFUSAL and words.isascii() and words.isalpha() and words.islower()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice may have been read otherwise by whoever signed off the answer."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
