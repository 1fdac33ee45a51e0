"""Tells outcomes by itself: signed callbacks, at least once, with the faults that are asked for."""

import asyncio
import hashlib
import json
from typing import Any, Final

import httpx

from devices.entropy import SeededEntropy
from server_core.rails.callbacks import HEADER, sign
from server_core.sandbox.dialects import NETBANKING, UPI, Dialect
from server_core.sandbox.line import Line

RETRIES_MS: Final = (500, 2_000, 8_000)
"""The waits before the second, third and last try of one that was not taken with a 2xx."""

TRY_S: Final = 5.0
MOST_UNDER_WAY: Final = 1_000
"""More than that many at once are lost, as a switch under load loses them."""

_DIALECTS: Final[dict[str, Dialect]] = {
    one: dialect
    for dialect, door in ((UPI, "upi"), (NETBANKING, "bank"))
    for one in (f"{door}.txn", f"{door}.refund")
}
"""The kinds that are told of, and in which codes."""


class Callbacks:
    """One sender over one line; without a key nothing is told."""

    __slots__ = ("_client", "_key", "_line", "_under_way")

    def __init__(self, line: Line, key: bytes | None) -> None:
        self._line, self._key = line, key
        self._client: httpx.AsyncClient | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def can_sign(self) -> bool:
        return self._key is not None

    def open(self) -> None:
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=TRY_S)

    async def close(self) -> None:
        """What is still under way is lost."""
        for one in self._under_way:
            one.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def tell(self, kind: str, outcome: dict[str, Any]) -> None:
        """Send what is known of an order, as often and as wrongly as the behaviour asks for."""
        behaviour, dialect = self._line.behaviour, _DIALECTS.get(kind)
        if not behaviour.callback_url or dialect is None or self._key is None:
            return
        drawn = SeededEntropy(f"{behaviour.seed}:callback:{kind}:{json.dumps(outcome)}")
        if drawn.unit() < behaviour.callback_loss_rate or len(self._under_way) >= MOST_UNDER_WAY:
            return
        sayings = [outcome] * (1 + behaviour.callback_duplicates)
        if drawn.unit() < behaviour.callback_contradict_rate:
            other = dialect.no if outcome["code"] == dialect.ok else dialect.ok
            sayings.append(outcome | {"code": other})
        task = asyncio.ensure_future(
            self._send_all(behaviour.callback_url, [_body(kind, one) for one in sayings])
        )
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send_all(self, url: str, bodies: list[bytes]) -> None:
        await self._line.wait(self._line.behaviour.callback_delay_ms)
        for body in bodies:
            await self._send(url, body)

    async def _send(self, url: str, body: bytes) -> None:
        for wait_ms in (0, *RETRIES_MS):
            await self._line.wait(wait_ms)
            if await self._is_taken(url, body):
                return

    async def _is_taken(self, url: str, body: bytes) -> bool:
        if self._client is None or self._key is None:
            raise AssertionError("the callbacks are not open")
        signed = sign(body, self._key, self._line.clock.now_ms())
        headers = {HEADER: signed, "content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(TRY_S),
                self._client.stream("POST", url, content=body, headers=headers) as heard,
            ):
                return heard.is_success  # what else is said is not read
        except (httpx.HTTPError, OSError):
            return False


def _body(kind: str, outcome: dict[str, Any]) -> bytes:
    """One saying; its id follows from what it says, so that every sending has the same."""
    said = {"kind": kind} | outcome
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return json.dumps({"id": f"cb_{digest[:32]}"} | said).encode()
