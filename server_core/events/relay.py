"""The relay: carries the event log to a remote bus, page by page, from a stored cursor.

One page is one Work: lock the cursor's row, read what is after it, publish, wait until the bus has
all of it, move the cursor, COMMIT. Whatever fails before the COMMIT leaves the cursor, and the page
is sent again: at least once. Two relays take turns, since the row's lock is skipped when it is held.

The order: each session of a bus writes a run without a hole that begins at or before the first
event that is not yet there, so the first copy of every event comes after the first copies of all
that precede it in its aggregate. Repeats come as a run that begins anew further back; who passes
over ids that it has seen reads 1, 2, 3 …
"""

import asyncio
from contextlib import suppress
from enum import StrEnum
from typing import Final

import structlog

from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import cursors, store
from server_core.events.bus import Remote

PAGE: Final = 5000
PAGE_LEAST: Final = 50
STOP_S: Final = 3
"""How long a page that is under way may go on when the program is told to end."""
_WAIT_MS: Final = 500
_WAIT_MOST_MS: Final = 10_000
_log = structlog.get_logger("hundi.events")


class State(StrEnum):
    """What the relay last said of itself; it speaks again only when this changes."""

    NEW = "new"
    UP = "up"
    DOWN = "down"
    HALTED = "halted"


class GapError(Exception):
    """The log has a hole, or ends before the cursor: nothing may be sent past it."""


class Relay:
    """One target's way out. `tick` is the job: how many events it carried."""

    __slots__ = ("_bus", "_db", "_not_before", "_page", "_size", "_wait_ms", "name", "state")

    def __init__(self, db: Database, bus: Remote, *, page: int = PAGE) -> None:
        self._db, self._bus, self._page = db, bus, page
        self._size = page
        self.name = cursor_of(bus.name)
        self.state = State.NEW
        self._not_before = 0
        self._wait_ms = _WAIT_MS

    async def tick(self) -> int:
        """Carry one page; 0 when there is none, when another relay holds it, or it cannot be.

        A page that is under way when the task is cancelled gets STOP_S to end well; then it is
        given up, and sent again by the next relay.
        """
        if self._db.clock.monotonic_ms() < self._not_before:
            return 0
        work = asyncio.create_task(self._carry())
        try:
            carried = await asyncio.shield(work)
        except asyncio.CancelledError:
            await self._end(work)
            raise
        except DomainError as error:
            self._became(State.DOWN, str(error))
            return 0
        except GapError as error:
            self._became(State.HALTED, str(error))
            return 0
        self._became(State.UP)
        return carried

    async def close(self) -> None:
        await self._bus.close()

    async def _carry(self) -> int:
        if self.state is not State.UP:
            await self._bus.ready()  # before the transaction: none is open while the bus is away
            async with self._db.work() as work:  # a new row must be seen before it can be skipped
                await cursors.hold(work, self.name)
        async with self._db.work() as work:
            at = await cursors.hold(work, self.name)
            if at is None:
                return 0
            head = await store.head(work)  # before the page: what is later is for the next one
            events = await store.after(work, at, self._size)
            hole = missing(at, head, [event.seq for event in events], self._size)
            if hole is not None:
                raise GapError(hole)
            if events:
                await self._bus.publish(events)
                await cursors.move(work, self.name, events[-1].seq)
        return len(events)

    async def _end(self, work: asyncio.Task[int]) -> None:
        done, _ = await asyncio.wait([work], timeout=STOP_S)
        if not done:
            self._bus.give_up()
        with suppress(Exception):  # its failure must not stand for the cancellation
            await work

    def _became(self, state: State, why: str = "") -> None:
        """Keep the size and the time of the next try, and log a change of state once.

        A page that is too heavy for the bus's deadline would fail for ever: it shrinks.
        """
        if state is State.UP:
            self._wait_ms, self._not_before = _WAIT_MS, 0
            self._size = min(2 * self._size, self._page)
        else:
            self._size = min(max(self._size // 2, PAGE_LEAST), self._page)
            self._not_before = self._db.clock.monotonic_ms() + self._wait_ms
            self._wait_ms = min(2 * self._wait_ms, _WAIT_MOST_MS)
        if state is self.state:
            return
        self.state = state
        say = {State.UP: _log.info, State.DOWN: _log.warning}.get(state, _log.error)
        say(f"relay.{state}", cursor=self.name, cell=self._db.cell, **({"why": why} if why else {}))


def cursor_of(target: str) -> str:
    """The name of a target's cursor: `relay.kafka`."""
    return f"relay.{target}"


def missing(at: int, head: int, numbers: list[int], page: int) -> str | None:
    """The first number after `at` that a dense log up to `head` would have here; None when whole.

    `numbers` are those of the page that was read after `at`, at most `page` of them.
    """
    if head < at:
        return f"the log ends at {head}, the cursor stands at {at}: was the database put back?"
    for expected, number in enumerate(numbers, start=at + 1):
        if number != expected:
            return f"event {expected} is missing: the next one is {number}"
    if len(numbers) < min(head - at, page):
        return f"event {at + len(numbers) + 1} is missing: the log's head is {head}"
    return None
