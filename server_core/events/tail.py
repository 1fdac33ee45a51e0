"""Each server process's own tail of the event table: NOTIFY nudges, polling is the floor."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from server_core.db.work import Database
from server_core.events import store
from server_core.events.bus import Bus

POLL_S: Final = 0.5
PACE_S: Final = 0.02
"""Commits come by the hundred a second: what came in this time is read at once."""
PAGE: Final = 1000
_log = structlog.get_logger("hundi.events")


async def follow(db: Database, bus: Bus, position: int | None = None) -> None:
    """Publish every event after `position` (None: from now on), until cancelled.

    It survives a lost database.
    """
    while True:
        try:
            nudge = asyncio.Event()
            async with db.listen(store.CHANNEL, nudge.set) as lost:
                if position is None:
                    async with db.reader() as reader:
                        position = await store.head(reader)
                while not lost.is_set():
                    async with db.reader() as reader:
                        events = await store.after(reader, position, PAGE)
                    if events:
                        position = events[-1].seq
                        await bus.publish(events)
                        continue
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await nudge.wait()
                            await db.clock.sleep(PACE_S)
                    nudge.clear()
        except Exception as error:  # noqa: BLE001 - whatever it was, the subscriptions go on
            _log.warning("tail.lost", error=str(error))
            await db.clock.sleep(1)
