"""Forgets answers whose time is over; the effects' own state still stops a second one."""

from typing import Final

from server_core.db.work import Database
from server_core.idempotency import store

PAGE: Final = 5_000
PAGES: Final = 200
"""A million keys a tick: what a cell that is never idle takes in between two ticks."""


async def tick(db: Database) -> int:
    """Forget page by page, each in a Work of its own: no long transaction holds others up."""
    forgotten = 0
    for _ in range(PAGES):
        async with db.work() as work:
            if not await work.try_lock(f"idempotency.reaper:{db.cell}"):
                return forgotten
            page = await store.reap(work, PAGE)
        forgotten += page
        if page < PAGE:
            return forgotten
    return forgotten
