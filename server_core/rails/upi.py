"""The UPI rail: speaks to upi-core over HTTP and says what is known after each call."""

import asyncio
import json
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx

from devices.clock import Clock, SystemClock
from server_core.rails.codes import meaning
from server_core.rails.model import Outcome, RailAnswer, RailOrder

PSP_PREFIX: Final = "HUN"
MAX_NAME: Final = 99
MAX_NOTE: Final = 50

_CODE: Final = re.compile(r"[A-Z0-9]{2,4}")
_RRN: Final = re.compile(r"[0-9]{12}")
_REFUSAL: Final = re.compile(r"upi\.[a-z_]{1,40}")
_NEVER_TOOK_IT: Final = frozenset({"upi.txn_not_found", "upi.txn_tombstoned"})

_DID_NOT_LEAVE: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""No connection was had, so not a byte of the request went out. Nothing else proves that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpiSettings:
    """Deadlines in seconds, over the whole call, and the limits of one adapter.

    15 s to pay, 10 s to ask or to reverse: NPCI's response times since 16 June 2025. Connecting
    ends well before them, so that what did not leave is told apart from what was not answered.
    """

    authorize_s: float = 15.0
    status_s: float = 10.0
    reverse_s: float = 10.0
    connect_s: float = 3.0
    keep_alive_s: float = 2.0
    max_connections: int = 200
    max_answer_bytes: int = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """One readable answer: `code` of a processed request, or the name of a `refusal`.

    `bad_request` says that the request was refused for its content. The switch knows an id before
    it reads the rest, so that such a refusal is of a new transaction: nothing was debited.
    """

    code: str | None = None
    refusal: str | None = None
    rrn: str | None = None
    amount_minor: int | None = None
    given_back: bool = False
    bad_request: bool = False


class UpiRail:
    """Rail `upi`. One pooled client; safe for concurrent calls; cancelling one closes its socket."""

    __slots__ = ("_client", "_clock", "_settings")

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        clock: Clock | None = None,
        settings: UpiSettings | None = None,
    ) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._settings = settings or UpiSettings()

    @classmethod
    def connect(
        cls, base_url: str, *, clock: Clock | None = None, settings: UpiSettings | None = None
    ) -> Self:
        """A rail with a client of its own; close it with `aclose` or `async with`."""
        used = settings or UpiSettings()
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

    @property
    def name(self) -> str:
        return "upi"

    async def authorize(self, order: RailOrder) -> RailAnswer:
        """Debit the payer and credit the payee, in UPI's one step."""
        body = {
            "txn_id": txn_id(order.attempt),
            "amount_minor": order.amount_minor,
            "currency": order.currency,
            "payer_vpa": order.payer_vpa,
            "payee_vpa": order.payee_vpa,
            "payee_name": order.payee_name[:MAX_NAME],
            "mcc": order.mcc,
            "note": order.note[:MAX_NOTE],
        }
        asked = _Call(self._clock)
        try:
            heard = await self._call(
                "POST", "/upi/pay", order.attempt, body, self._settings.authorize_s
            )
        except _DID_NOT_LEAVE:
            return asked.answer(Outcome.NOT_SENT)
        return asked.answer(_authorized(heard, order.amount_minor), heard)

    async def capture(self, attempt: UUID, amount_minor: int) -> RailAnswer:  # noqa: ARG002 - UPI has one step
        """UPI debits in one step: say what became of it."""
        return await self.status(attempt)

    async def reverse(self, attempt: UUID) -> RailAnswer:
        asked = _Call(self._clock)
        try:
            heard = await self._call(
                "POST",
                "/upi/reverse",
                attempt,
                {"txn_id": txn_id(attempt)},
                self._settings.reverse_s,
            )
        except _DID_NOT_LEAVE:
            heard = None
        return asked.answer(_reversed(heard), heard)

    async def status(self, attempt: UUID) -> RailAnswer:
        asked = _Call(self._clock)
        try:
            heard = await self._call(
                "GET", f"/upi/txn/{txn_id(attempt)}", attempt, None, self._settings.status_s
            )
        except _DID_NOT_LEAVE:
            heard = None
        return asked.answer(_found(heard), heard)

    async def _call(
        self, method: str, path: str, attempt: UUID, body: dict[str, Any] | None, deadline_s: float
    ) -> _Heard | None:
        """What was heard, or None when that is nothing or not to be believed.

        Raises only what proves that the request did not leave.
        """
        content = None if body is None else json.dumps(body).encode("ascii")
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._client.stream(method, path, content=content, headers=headers) as response,
            ):
                raw = bytearray()
                async for chunk in response.aiter_raw():
                    raw += chunk
                    if len(raw) > self._settings.max_answer_bytes:
                        return None
                return _heard(response.status_code, bytes(raw), txn_id(attempt))
        except _DID_NOT_LEAVE:
            raise
        except (httpx.HTTPError, OSError):  # OSError holds the deadline's TimeoutError
            return None


def txn_id(attempt: UUID) -> str:
    """The UPI transaction id of an attempt: 35 letters and digits, the PSP's three first."""
    return PSP_PREFIX + attempt.hex.upper()


class _Call:
    """Measures one call."""

    __slots__ = ("_asked_at_ms", "_began_ms", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at_ms, self._began_ms = clock.now_ms(), clock.monotonic_ms()

    def answer(self, outcome: Outcome, heard: _Heard | None = None) -> RailAnswer:
        return RailAnswer(
            outcome=outcome,
            code=None if heard is None else heard.code or heard.refusal,
            rail_reference=None if heard is None else heard.rrn,
            asked_at_ms=self._asked_at_ms,
            latency_ms=self._clock.monotonic_ms() - self._began_ms,
        )


def _authorized(heard: _Heard | None, amount_minor: int) -> Outcome:
    found = _found(heard)
    if heard is not None and heard.bad_request:
        return Outcome.DECLINED
    wrong = heard is not None and heard.amount_minor != amount_minor
    return Outcome.UNKNOWN if found is Outcome.SUCCEEDED and wrong else found


def _found(heard: _Heard | None) -> Outcome:
    if heard is None:
        return Outcome.UNKNOWN
    if heard.code is None:
        return Outcome.NOT_FOUND if heard.refusal in _NEVER_TOOK_IT else Outcome.UNKNOWN
    if heard.given_back:
        return Outcome.REVERSED
    found = meaning(heard.code)
    if found is Outcome.SUCCEEDED and heard.rrn is None:
        return Outcome.UNKNOWN
    return found


def _reversed(heard: _Heard | None) -> Outcome:
    """A debit that stands was not reversed, whatever its code: asked again, never taken as paid."""
    found = _found(heard)
    return Outcome.UNKNOWN if found is Outcome.SUCCEEDED else found


def _heard(status: int, raw: bytes, expected: str) -> _Heard | None:
    """The answer if it is wholly readable and about this transaction; else None."""
    try:
        said = json.loads(raw, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("txn_id") != expected:
        return None
    if status == 200:
        return _processed(said)
    refusal = said.get("error")
    if not 400 <= status < 500 or not isinstance(refusal, str) or not _REFUSAL.fullmatch(refusal):
        return None
    return _Heard(refusal=refusal, bad_request=status == 400)


def _processed(said: dict[str, Any]) -> _Heard | None:
    code, rrn = said.get("code"), said.get("rrn")
    amount, given_back = said.get("amount_minor"), said.get("reversed")
    if (
        not isinstance(code, str)
        or not _CODE.fullmatch(code)
        or not (rrn is None or (isinstance(rrn, str) and _RRN.fullmatch(rrn)))
        or type(amount) is not int
        or type(given_back) is not bool
    ):
        return None
    return _Heard(code=code, rrn=rrn, amount_minor=amount, given_back=given_back)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice may have been read otherwise by whoever signed off the answer."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
