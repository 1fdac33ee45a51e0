"""Stored cursors: where each consumer of the event log stands, held by one process at a time.

The row itself is the lock, so it is a cell's own and ends with the Work that took it: a consumer
that is killed leaves its cursor where its last COMMIT put it, and the next one goes on from there.
"""

from typing import Final

from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work


class EventCursorRow(SQLModel, table=True):
    """`seq` is the last event that the consumer has done with."""

    __tablename__ = "event_cursor"
    name: str = col.string(primary=True)
    seq: int = col.big()
    moved_at: int = col.big()


async def hold(work: Work, name: str) -> int | None:
    """Lock the consumer's row until COMMIT and say where it stands; None while another holds it.

    A consumer that is new stands at 0: before the first event.
    """
    found: int | None = await work.value(_HOLD, name)
    # An insert would wait for another one's COMMIT, so only who has this lock makes the row.
    if found is None and await work.try_lock(f"cursor:{name}"):
        await work.execute(
            "INSERT INTO event_cursor (name, seq, moved_at) VALUES ($1, 0, $2)"
            " ON CONFLICT (name) DO NOTHING",
            name,
            work.now_ms,
        )
        found = await work.value(_HOLD, name)
    return found


_HOLD: Final = "SELECT seq FROM event_cursor WHERE name = $1 FOR UPDATE SKIP LOCKED"


async def move(work: Work, name: str, seq: int) -> None:
    """Say that everything up to `seq` is done; the row is held by this Work."""
    await work.execute(
        "UPDATE event_cursor SET seq = $2, moved_at = $3 WHERE name = $1", name, seq, work.now_ms
    )


async def positions(reader: Reader) -> dict[str, int]:
    """Where every consumer stands; less than `store.head` is its lag."""
    found = await reader.rows("SELECT name, seq FROM event_cursor ORDER BY name LIMIT 1000")
    return {row["name"]: row["seq"] for row in found}
