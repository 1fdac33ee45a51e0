"""The line between callers and desks: outage, brown-out, latency, and letting go at the end."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from devices.clock import Clock
from devices.entropy import SeededEntropy
from server_core.sandbox import rules
from server_core.sandbox.model import Answer, Behaviour, Refusal

_LOST: Final = Answer(status=504)
_MOST_COUNTED: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What was done, to be told by `say` once its latency and `extra_ms` have passed."""

    say: Callable[[], Answer]
    extra_ms: int = 0


class _Fault(IntEnum):
    REQUEST_LOST = 0
    ANSWER_LOST = 1
    SLOW = 2


class Line:
    """One line for all doors; `behaviour` may be changed at any time."""

    __slots__ = ("_calls", "_stopping", "behaviour", "clock")

    def __init__(self, behaviour: Behaviour, clock: Clock) -> None:
        self.behaviour, self.clock = behaviour, clock
        self._stopping = asyncio.Event()
        self._calls: Counter[tuple[str, str]] = Counter()

    def stop(self) -> None:
        """Let go of every held answer; nothing waits any more."""
        self._stopping.set()

    async def carry(
        self, verb: str, key: str, act: Callable[[], Due], refusal: Callable[[], Refusal]
    ) -> Answer:
        """Do `act`, and tell its answer late.

        It is done before the first wait, so that a caller who stops listening changes nothing
        about what happened. Raises `refusal()` in an outage, and what `act` refuses.
        """
        if self.behaviour.outage:
            raise refusal()
        fault = self._fault(verb, key)
        if fault is _Fault.REQUEST_LOST:
            await self.wait(rules.latency_ms(self.behaviour, key, verb))
            return _LOST
        due = act()
        wait_ms = rules.latency_ms(self.behaviour, key, verb)
        if fault is _Fault.SLOW:
            wait_ms = max(wait_ms, 1) * self.behaviour.brownout_factor
        await self.wait(wait_ms + due.extra_ms)
        return _LOST if fault is _Fault.ANSWER_LOST else due.say()

    async def wait(self, ms: int) -> None:
        """For so long, or until the line stops."""
        if ms <= 0:
            return
        waits = {
            asyncio.ensure_future(self.clock.sleep(ms / 1000)),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    def _fault(self, verb: str, key: str) -> _Fault | None:
        """Drawn for each call: a repeat of one that was lost may come through."""
        if not self.behaviour.brownout_rate:
            self._calls.clear()
            return None
        if len(self._calls) >= _MOST_COUNTED:
            self._calls.clear()
        self._calls[verb, key] += 1
        drawn = SeededEntropy(
            f"{self.behaviour.seed}:brownout:{verb}:{key}:{self._calls[verb, key]}"
        )
        if drawn.unit() >= self.behaviour.brownout_rate:
            return None
        return _Fault(drawn.below(len(_Fault)))
