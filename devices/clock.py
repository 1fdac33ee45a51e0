"""The wall clock, the monotonic clock and waiting, wrapped once for server and agent alike."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What reads time. `now_ms` is Unix milliseconds; `monotonic_ms` only grows."""

    def now_ms(self) -> int: ...
    def monotonic_ms(self) -> int: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands until it is moved: for tests and simulations."""

    __slots__ = ("_monotonic_ms", "_now_ms")

    def __init__(self, now_ms: int, monotonic_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    async def sleep(self, seconds: float) -> None:
        self.advance(int(seconds * 1000))
        await asyncio.sleep(0)

    def advance(self, ms: int) -> None:
        self._now_ms += ms
        self._monotonic_ms += ms

    def set_wall(self, now_ms: int) -> None:
        """Move the wall clock alone, as a user or a network's time server does."""
        self._now_ms = now_ms
