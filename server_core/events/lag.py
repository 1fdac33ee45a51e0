"""How far each consumer of the event log is behind it: one reading for operators and for metrics."""

from dataclasses import dataclass

from server_core.db.work import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """`events` is head - position; `oldest_ms` is the age of the first one that is not done with.

    Both are 0 for a consumer that has done all. A negative `events` is a cursor ahead of the log.
    """

    consumer: str
    position: int
    head: int
    events: int
    oldest_ms: int


async def read(reader: Reader) -> list[Lag]:
    """Every stored cursor, by name. Ages are by the reader's clock against the time of recording."""
    found = await reader.rows(
        "SELECT c.name, c.seq, h.seq AS head, e.recorded_at FROM event_cursor c"
        " JOIN event_head h ON h.id = 0 LEFT JOIN LATERAL (SELECT recorded_at FROM event"
        " WHERE seq > c.seq ORDER BY seq LIMIT 1) e ON true"
        " ORDER BY c.name LIMIT 1000"
    )
    return [
        Lag(
            consumer=row["name"],
            position=row["seq"],
            head=row["head"],
            events=row["head"] - row["seq"],
            oldest_ms=max(0, reader.now_ms - row["recorded_at"]) if row["recorded_at"] else 0,
        )
        for row in found
    ]
