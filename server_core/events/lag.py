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


def metrics(lags: list[Lag], cell: str, head: int) -> str:
    """The same numbers as Prometheus text (format 0.0.4); times in seconds, as is its custom."""
    named = [(f'{{cell="{cell}",consumer="{_label(one.consumer)}"}}', one) for one in lags]
    series: dict[str, tuple[str, list[tuple[str, float]]]] = {
        "hundi_event_head": ("The number of the newest event.", [(f'{{cell="{cell}"}}', head)]),
        "hundi_event_position": (
            "The last event that the consumer has done with.",
            [(labels, one.position) for labels, one in named],
        ),
        "hundi_event_lag": (
            "Events that the consumer has not done with.",
            [(labels, one.events) for labels, one in named],
        ),
        "hundi_event_lag_seconds": (
            "The age of the first event that the consumer has not done with.",
            [(labels, one.oldest_ms / 1000) for labels, one in named],
        ),
    }
    lines = []
    for name, (said, samples) in series.items():
        lines += [f"# HELP {name} {said}", f"# TYPE {name} gauge"]
        lines += [f"{name}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
