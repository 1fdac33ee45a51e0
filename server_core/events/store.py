"""The event table's rows and SQL: numbered under the cell's head row, just before COMMIT."""

from collections import Counter
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Index
from sqlmodel import SQLModel

from server_core.actor import Actor
from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.events.model import Event

CHANNEL: Final = "hundi_events"


class EventHeadRow(SQLModel, table=True):
    """One row a cell: the last number given. Its lock makes the numbers dense and in commit order."""

    __tablename__ = "event_head"
    id: int = col.big(primary=True)
    seq: int = col.big()


class EventRow(SQLModel, table=True):
    """Append-only: event log and outbox in one."""

    __tablename__ = "event"
    __table_args__ = (Index("event_aggregate", "aggregate_id", "sequence", unique=True),)
    seq: int = col.big(primary=True)
    id: UUID = col.uuid()
    aggregate_type: str = col.string()
    aggregate_id: UUID = col.uuid()
    sequence: int = col.big()
    type: str = col.string()
    version: int = col.small()
    payload: dict[str, Any] = col.json()
    actor: dict[str, Any] = col.json()
    correlation: UUID | None = col.uuid(null=True)
    causation: UUID | None = col.uuid(null=True)
    recorded_at: int = col.big()


_COLUMNS: Final = (
    "seq, id, aggregate_type, aggregate_id, sequence, type, version, payload, recorded_at,"
    " correlation, causation"
)


async def flush(work: Work) -> None:
    """Number and store what the Work emitted. The last statement before COMMIT.

    `append_events` (migration 0018) locks the head row by a statement of its own, so that the one
    that reads the aggregates' last numbers begins after the lock and sees every commit before it.
    """
    emitted = work.emitted
    steps: Counter[UUID] = Counter()
    said: dict[Actor, msgspec.Raw] = {}
    for e in emitted:
        if e.actor not in said:
            said[e.actor] = msgspec.Raw(msgspec.json.encode(_actor(e.actor)))
    rows = []
    for id_, e in zip(work.ids.many(len(emitted)), emitted, strict=True):
        steps[e.aggregate_id] += 1
        rows.append(
            (
                id_, e.aggregate_type, e.aggregate_id, e.type, e.version, e.payload, said[e.actor],
                e.correlation, e.causation, steps[e.aggregate_id],
            )
        )  # fmt: skip
    written = await work.value("SELECT append_events($1::new_event[], $2)", rows, work.now_ms)
    if written != len(emitted):
        raise RuntimeError(f"events: {len(emitted)} to write, {written} written")


def _actor(actor: Actor) -> dict[str, Any]:
    return {
        "role": actor.role,
        "party": str(actor.party) if actor.party else None,
        "device": str(actor.device) if actor.device else None,
    }


async def after(reader: Reader, seq: int, limit: int) -> list[Event]:
    """Events with a higher number, in order; never skips one that commits late."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM event WHERE seq > $1 ORDER BY seq LIMIT $2", seq, limit
    )
    return [_event(row) for row in found]


async def of_type(reader: Reader, type_: str, above: int, upto: int) -> list[Event]:
    """Events of one type with `above` < seq <= `upto`, in order; the caller bounds the span."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM event WHERE seq > $1 AND seq <= $2 AND type = $3 ORDER BY seq",
        above,
        upto,
        type_,
    )
    return [_event(row) for row in found]


async def of_aggregate(reader: Reader, aggregate: UUID, limit: int = 500) -> list[Event]:
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM event WHERE aggregate_id = $1 ORDER BY sequence LIMIT $2",
        aggregate,
        limit,
    )
    return [_event(row) for row in found]


async def last_of_aggregate(reader: Reader, aggregate: UUID) -> Event | None:
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM event WHERE aggregate_id = $1 ORDER BY sequence DESC LIMIT 1",
        aggregate,
    )
    return _event(row) if row is not None else None


async def from_sequence(reader: Reader, aggregate: UUID, sequence: int, limit: int) -> list[Event]:
    """One aggregate's events from its `sequence` on, in order."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM event WHERE aggregate_id = $1 AND sequence >= $2"
        " ORDER BY sequence LIMIT $3",
        aggregate,
        sequence,
        limit,
    )
    return [_event(row) for row in found]


async def head(reader: Reader) -> int:
    return int(await reader.value("SELECT seq FROM event_head WHERE id = 0"))


async def gap(reader: Reader) -> str | None:
    """The first number that is missing or doubled, in the cell or in an aggregate."""
    found: str | None = await reader.value(
        "SELECT 'event ' || seq FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS n,"
        " sequence, row_number() OVER (PARTITION BY aggregate_id ORDER BY seq) AS m FROM event) s"
        " WHERE seq <> n OR sequence <> m ORDER BY seq LIMIT 1"
    )
    if found is None:
        found = await reader.value(
            "SELECT 'event_head ' || seq FROM event_head"
            " WHERE seq <> (SELECT coalesce(max(seq), 0) FROM event)"
        )
    return found


def _event(row: Row) -> Event:
    return Event(**dict(row))
