"""Waiting on conditions, each with a bound: what stands where a sleep would hide a race."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from devices.clock import SystemClock

CLOCK = SystemClock()
STEP_S = 0.02
ASK_S = 0.2
"""The step where each look costs a connection."""


async def until(
    holds: Callable[[], Any], bound_s: float, what: str, *, step_s: float = STEP_S
) -> Any:
    """What `holds` (plain or async) gives as soon as it is true; fails after `bound_s`."""
    began = CLOCK.monotonic_ms()
    while True:
        found = holds()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        took = CLOCK.monotonic_ms() - began
        assert took < bound_s * 1000, f"after {bound_s} s still not: {what}"
        await CLOCK.sleep(step_s)


async def beside(do: Callable[..., Any], *values: Any) -> Any:
    """A blocking call of ours (pg_ctl, a process's end), out of the loop's way."""
    return await asyncio.to_thread(do, *values)
