"""SQL of what waits for a rail's word, for operators and for metrics: bounded, by partial indexes."""

from server_core.db.work import Reader, Row
from server_core.payments import store
from server_core.payments.model import Attempt, Intent


async def open_by_rail(reader: Reader, limit: int) -> list[Row]:
    """How many attempts have not ended, by rail and state, and when their first began (Unix ms).

    Of more than `limit` those of the oldest intents.
    """
    return await reader.rows(
        "SELECT rail, state, count(*) AS many, min(started_at) AS since FROM"
        " (SELECT rail, state, started_at FROM attempt"
        " WHERE state IN ('sent', 'requires_action', 'unknown', 'reversing')"
        " ORDER BY intent LIMIT $1) o GROUP BY rail, state",
        limit,
    )


async def unclear(reader: Reader, limit: int) -> list[Attempt]:
    """Attempts that a rail has not spoken of, or not for certain, of the oldest intents first."""
    found = await reader.rows(
        "SELECT id FROM attempt WHERE state IN ('sent', 'unknown', 'reversing')"
        " ORDER BY intent LIMIT $1",
        limit,
    )
    ids = [row["id"] for row in found]
    known = await store.attempts_by_id(reader, ids)
    return [known[one] for one in ids if one in known]


async def conflicted(reader: Reader, limit: int) -> list[Intent]:
    """Paid intents whose rail denies the payment, the oldest first."""
    found = await reader.rows(
        "SELECT id FROM intent WHERE state = 'conflicted' ORDER BY id LIMIT $1", limit
    )
    known = await store.get_many(reader, [row["id"] for row in found])
    return [known[key] for key in sorted(known)]


async def count_conflicted(reader: Reader, limit: int) -> int:
    """How many of those there are, counted up to `limit`."""
    found: int = await reader.value(
        "SELECT count(*) FROM (SELECT id FROM intent WHERE state = 'conflicted'"
        " ORDER BY id LIMIT $1) c",
        limit,
    )
    return found
