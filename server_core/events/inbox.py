"""A consumer's inbox: which events it has done with, so that what comes twice has one effect.

Remote buses deliver at least once. A consumer whose effect is in this database claims the event's
id in the same Work as the effect: both are committed, or neither.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Database, Work

KEEP_MS: Final = 14 * 24 * 3600 * 1000
"""How long an id is remembered; longer than the bus keeps events (Kafka's own default is 7 days)."""
PAGE: Final = 5000


class EventInboxRow(SQLModel, table=True):
    """One event that one consumer has done with."""

    __tablename__ = "event_inbox"
    __table_args__ = (Index("event_inbox_seen", "seen_at"),)
    consumer: str = col.string(primary=True)
    event: UUID = col.key()
    seen_at: int = col.big()


async def first_time(work: Work, consumer: str, event: UUID) -> bool:
    """True once for each consumer and event, and only if this Work commits.

    While another Work holds the same claim this waits for its end, at most the pool's lock timeout
    (db.contended).
    """
    return event in await first_times(work, consumer, [event])


async def first_times(work: Work, consumer: str, events: Sequence[UUID]) -> set[UUID]:
    """Those of `events` that this consumer sees for the first time; one statement for them all.

    Claimed in the order of ids, so that two batches wait for each other one way only.
    """
    claimed = await work.rows(
        "INSERT INTO event_inbox (consumer, event, seen_at)"
        " SELECT $1, u.event, $3 FROM unnest($2::uuid[]) AS u(event)"
        " ON CONFLICT (consumer, event) DO NOTHING RETURNING event",
        consumer,
        sorted(set(events), key=lambda one: one.int),
        work.now_ms,
    )
    return {row["event"] for row in claimed}


async def tick(db: Database) -> int:
    """Forget a page of ids whose time is over."""
    async with db.work() as work:
        if not await work.try_lock(f"events.inbox:{db.cell}"):
            return 0
        return await work.execute(
            "DELETE FROM event_inbox WHERE (consumer, event) IN (SELECT consumer, event"
            " FROM event_inbox WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)",
            work.now_ms - KEEP_MS,
            PAGE,
        )
