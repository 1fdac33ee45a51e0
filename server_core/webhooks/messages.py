"""SQL of messages and their attempts: queued, claimed, settled, replayed, read.

A message is claimed by a `lease` and by moving its `due_at` to the lease's end, so that one index
says what is due, and a dead worker's messages are due again by themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.webhooks.model import (
    LEASE_MS,
    STALL_MS,
    Attempt,
    Claimed,
    Message,
    MessageState,
)

_INSERT: Final = """
INSERT INTO webhook_message (id, endpoint, event, seq, aggregate, sequence, type, body, state, tries,
  attempts, due_at, ready_at, created_at, done_at)
SELECT id, endpoint, event, seq, aggregate, sequence, type, body, state, 0, 0, $10, $10, $10,
  CASE WHEN state = 'missed' THEN $10::bigint END
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::uuid[], $6::bigint[], $7::text[],
  $8::bytea[], $9::text[]) AS u(id, endpoint, event, seq, aggregate, sequence, type, body, state)
ON CONFLICT DO NOTHING
"""

_PREVIOUS: Final = """
SELECT u.endpoint, u.aggregate, m.sequence FROM unnest($1::uuid[], $2::uuid[]) AS u(endpoint, aggregate)
CROSS JOIN LATERAL (SELECT sequence FROM webhook_message m WHERE m.endpoint = u.endpoint
  AND m.aggregate = u.aggregate ORDER BY m.seq DESC LIMIT 1) m
"""

# Endpoints with something due are found by hops over the index, one probe each, beginning after
# another one every time: a thousand messages of one do not stand before the first of the next.
_DUE: Final = """
WITH RECURSIVE busy(endpoint) AS (
  (SELECT endpoint FROM webhook_message WHERE state = 'pending' AND endpoint > $2::uuid
   ORDER BY endpoint LIMIT 1)
  UNION ALL
  SELECT (SELECT m.endpoint FROM webhook_message m WHERE m.state = 'pending'
    AND m.endpoint > busy.endpoint ORDER BY m.endpoint LIMIT 1)
  FROM busy WHERE busy.endpoint IS NOT NULL
)
SELECT c.id, b.endpoint FROM busy b
JOIN webhook_endpoint e ON e.id = b.endpoint AND e.state = 'enabled' AND e.rest_until <= $1::bigint
  AND (e.failing_since IS NOT NULL OR e.slow) = $7::boolean
LEFT JOIN unnest($3::uuid[], $4::bigint[]) AS held(endpoint, n) ON held.endpoint = b.endpoint
CROSS JOIN LATERAL (
  SELECT m.id FROM webhook_message m
  WHERE m.endpoint = b.endpoint AND m.state = 'pending' AND m.due_at <= $1::bigint
  ORDER BY m.due_at, m.seq
  LIMIT greatest(0, $5::bigint - coalesce(held.n, 0))
  FOR UPDATE SKIP LOCKED
) c LIMIT $6::bigint
"""

_STANDING: Final = """
WITH RECURSIVE busy(endpoint) AS (
  (SELECT endpoint FROM webhook_message WHERE state = 'pending' ORDER BY endpoint LIMIT 1)
  UNION ALL
  SELECT (SELECT m.endpoint FROM webhook_message m WHERE m.state = 'pending'
    AND m.endpoint > busy.endpoint ORDER BY m.endpoint LIMIT 1)
  FROM busy WHERE busy.endpoint IS NOT NULL
)
SELECT count(*) AS many, min(c.due_at) AS since FROM busy b
JOIN webhook_endpoint e ON e.id = b.endpoint AND e.state = 'enabled' AND e.rest_until <= $1::bigint
CROSS JOIN LATERAL (
  SELECT m.due_at FROM webhook_message m
  WHERE m.endpoint = b.endpoint AND m.state = 'pending' AND m.due_at <= $1::bigint
  ORDER BY m.due_at, m.seq LIMIT $2::bigint
) c
"""

# An earlier message of the aggregate is in the way while it was never tried, while an attempt at it
# is under way, and while it fails, until the stall bound. What is in the way is looked at again
# when the one before it was settled (`_FOLLOW`), or when its time comes.
_JUDGE: Final = """
SELECT m.id, (
  SELECT CASE WHEN e.tries = 0 OR e.lease IS NOT NULL OR e.id = ANY($1::uuid[]) THEN $2::bigint + $4::bigint
    ELSE least(greatest(e.due_at, $2::bigint + 1), m.ready_at + $3::bigint) END
  FROM webhook_message e
  WHERE e.endpoint = m.endpoint AND e.aggregate = m.aggregate AND e.seq < m.seq
    AND e.state = 'pending'
    AND (e.tries = 0 OR (e.lease IS NOT NULL AND e.due_at > $2::bigint) OR e.id = ANY($1::uuid[])
      OR m.ready_at + $3::bigint > $2::bigint)
  ORDER BY e.seq LIMIT 1
) AS wait_until
FROM webhook_message m WHERE m.id = ANY($1::uuid[])
"""

_LEASE: Final = """
UPDATE webhook_message m SET lease = $3, due_at = $2::bigint + $4::bigint, attempts = least(m.attempts + 1, 32767)
FROM webhook_endpoint e WHERE m.id = ANY($1::uuid[]) AND e.id = m.endpoint
RETURNING m.id, m.endpoint, m.event, e.owner, e.url, m.type, m.body, m.tries, m.attempts AS number,
  m.lease, m.seq
"""

_FOLLOW: Final = """
UPDATE webhook_message f
SET due_at = CASE WHEN f.tries = 0 AND f.lease IS NULL THEN least(f.due_at, $2::bigint) ELSE f.due_at END
FROM (SELECT DISTINCT endpoint, aggregate FROM webhook_message WHERE id = ANY($1::uuid[])) d
WHERE f.endpoint = d.endpoint AND f.aggregate = d.aggregate AND f.state = 'pending'
  AND f.id <> ALL($1::uuid[])
"""

_SETTLE: Final = """
UPDATE webhook_message m SET state = u.state, tries = u.tries, due_at = u.due_at, lease = NULL,
  done_at = CASE WHEN u.state = 'pending' THEN NULL ELSE $6::bigint END
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::bigint[])
  AS u(id, lease, state, tries, due_at)
WHERE m.id = u.id AND (
  (m.lease = u.lease AND m.state = 'pending')
  OR (u.state = 'delivered' AND m.state <> 'delivered'))
RETURNING m.id
"""

_COLUMNS: Final = (
    "id, endpoint, event, seq, aggregate, sequence, type, body, state, tries, attempts, due_at,"
    " ready_at, created_at, done_at"
)


def _message(row: Row) -> Message:
    return Message(**dict(row) | {"state": MessageState(row["state"])})


async def insert(work: Work, rows: Sequence[tuple[object, ...]]) -> int:
    """Rows of (id, endpoint, event, seq, aggregate, sequence, type, body, state)."""
    return await work.execute(_INSERT, *unnested(rows, 9), work.now_ms)


async def last_of(work: Work, pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], int]:
    """The last `sequence` queued for each (endpoint, aggregate) that has one."""
    found = await work.rows(_PREVIOUS, *unnested(pairs, 2))
    return {(row["endpoint"], row["aggregate"]): row["sequence"] for row in found}


async def due(
    work: Work, start: UUID, held: Mapping[UUID, int], *, each: int, limit: int, failing: bool
) -> list[Row]:
    """Lock due messages of the endpoints that are well, or of those that fail, after `start`.

    `each` at most of one, less the attempts that this process has under way there (`held`), and
    `limit` in all.
    """
    return await work.rows(
        _DUE, work.now_ms, start, list(held), list(held.values()), each, limit, failing
    )


async def lease(work: Work, locked: Sequence[UUID], token: UUID) -> tuple[list[Claimed], int]:
    """Of these locked messages, claim those that nothing stands before; how many must wait.

    The statement that judges begins after the locks are held: whoever settles an earlier message
    either was seen, or waits for us and then wakes what we put off.
    """
    judged = await work.rows(_JUDGE, list(locked), work.now_ms, STALL_MS, LEASE_MS)
    waiting = [(row["id"], row["wait_until"]) for row in judged if row["wait_until"] is not None]
    if waiting:
        await work.execute(
            "UPDATE webhook_message m SET due_at = u.due_at"
            " FROM unnest($1::uuid[], $2::bigint[]) AS u(id, due_at) WHERE m.id = u.id",
            *unnested(waiting, 2),
        )
    free = [row["id"] for row in judged if row["wait_until"] is None]
    rows = await work.rows(_LEASE, free, work.now_ms, token, LEASE_MS) if free else []
    claimed = []
    for row in sorted(rows, key=lambda one: one["seq"]):
        facts = dict(row)
        del facts["seq"]
        claimed.append(Claimed(**facts))
    return claimed, len(waiting)


async def settle(work: Work, rows: Sequence[tuple[UUID, UUID, str, int, int]]) -> set[UUID]:
    """Store (id, lease, state, tries, due_at); those that were still this worker's to settle.

    A delivery counts whoever holds the lease: the endpoint said yes.
    """
    found = await work.rows(_SETTLE, *unnested(rows, 5), work.now_ms)
    return {row["id"] for row in found}


async def follow(work: Work, settled: Sequence[UUID]) -> int:
    """Let what waits behind these be looked at now; how many there are."""
    return await work.execute(_FOLLOW, list(settled), work.now_ms)


async def insert_attempts(work: Work, attempts: Sequence[Attempt]) -> None:
    rows = [(a.message, a.number, a.started_at, a.status, a.error, a.duration_ms) for a in attempts]
    await work.execute(
        "INSERT INTO webhook_attempt (message, number, started_at, status, error, duration_ms)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::int[], $5::text[],"
        " $6::bigint[]) ON CONFLICT DO NOTHING",
        *unnested(rows, 6),
    )


async def miss(work: Work, endpoint: UUID) -> int:
    """What waits for an endpoint that is disabled is missed until it is replayed."""
    return await work.execute(
        "UPDATE webhook_message SET state = 'missed', lease = NULL, done_at = $2"
        " WHERE endpoint = $1 AND state = 'pending'",
        endpoint,
        work.now_ms,
    )


async def by_id(reader: Reader, endpoint: UUID, message: UUID) -> Message | None:
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM webhook_message WHERE id = $1 AND endpoint = $2",  # noqa: S608
        message,
        endpoint,
    )
    return _message(row) if row else None


async def at(reader: Reader, endpoint: UUID, seq: int) -> UUID | None:
    found: UUID | None = await reader.value(
        "SELECT id FROM webhook_message WHERE endpoint = $1 AND seq = $2", endpoint, seq
    )
    return found


async def page(
    reader: Reader, endpoint: UUID, after: int, limit: int, state: MessageState | None
) -> list[Message]:
    """Messages of an endpoint in the log's order, after that `seq`."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_message WHERE endpoint = $1 AND seq > $2"  # noqa: S608
        " AND ($4::text IS NULL OR state = $4) ORDER BY seq LIMIT $3",
        endpoint,
        after,
        limit,
        state,
    )
    return [_message(row) for row in found]


async def standing(reader: Reader, each: int) -> tuple[int, int | None]:
    """How many messages are to be sent now, counted up to `each` an endpoint, and since when the first.

    The time (Unix ms) is that at which it was due: how old its event is hangs on the endpoint, too.
    """
    row = await reader.row(_STANDING, reader.now_ms, each)
    return (row["many"], row["since"]) if row else (0, None)


async def dead(reader: Reader, limit: int) -> list[Message]:
    """The oldest messages that nobody took, of every endpoint, for the operator."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_message WHERE state = 'dead'"  # noqa: S608
        " ORDER BY endpoint, seq LIMIT $1",
        limit,
    )
    return [_message(row) for row in found]


async def of_aggregates(
    reader: Reader, endpoints: Iterable[UUID], aggregates: Iterable[UUID]
) -> list[Message]:
    """What these endpoints are told of these aggregates, in the log's order; at most 1,000."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_message WHERE endpoint = ANY($1::uuid[])"  # noqa: S608
        " AND aggregate = ANY($2::uuid[]) ORDER BY seq LIMIT 1000",
        list(endpoints),
        list(aggregates),
    )
    return [_message(row) for row in found]


async def attempts(reader: Reader, message: UUID) -> list[Attempt]:
    found = await reader.rows(
        "SELECT message, number, started_at, status, error, duration_ms FROM webhook_attempt"
        " WHERE message = $1 ORDER BY number LIMIT 1000",
        message,
    )
    return [Attempt(**dict(row)) for row in found]


async def replay(
    work: Work,
    endpoint: UUID,
    *,
    after: int,
    since: int,
    until: int,
    missing: bool,
    limit: int,
) -> list[int]:
    """Make messages pending again, in the log's order; their `seq`s. Pending ones are let be."""
    found = await work.rows(
        "UPDATE webhook_message SET state = 'pending', tries = 0, lease = NULL, done_at = NULL,"
        " due_at = $2, ready_at = $2 WHERE id IN ("
        "  SELECT id FROM webhook_message WHERE endpoint = $1 AND seq > $3 AND created_at >= $4"
        "  AND created_at < $5 AND state <> 'pending' AND NOT ($6 AND state = 'delivered')"
        "  ORDER BY seq LIMIT $7 FOR UPDATE) RETURNING seq",
        endpoint, work.now_ms, after, since, until, missing, limit,
    )  # fmt: skip
    return sorted(row["seq"] for row in found)


async def replay_one(work: Work, message: UUID) -> int:
    return await work.execute(
        "UPDATE webhook_message SET state = 'pending', tries = 0, lease = NULL, done_at = NULL,"
        " due_at = $2, ready_at = $2 WHERE id = $1 AND lease IS NULL",
        message,
        work.now_ms,
    )
