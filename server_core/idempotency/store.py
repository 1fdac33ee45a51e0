"""The key table's rows and SQL, set-based: one claim, one answer statement a batch."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Index, PrimaryKeyConstraint
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work
from server_core.db.work import columns as unnested
from server_core.idempotency.model import LEASE_MS, TTL_MS, Claim, State


class IdempotencyRow(SQLModel, table=True):
    """One key of one caller: what it was used for, and what was answered."""

    __tablename__ = "idempotency"
    __table_args__ = (
        PrimaryKeyConstraint("scope", "key", name="idempotency_pkey"),
        Index("idempotency_expiry", "expires_at"),
    )
    scope: str = col.string()
    key: str = col.string()
    verb: str = col.string()
    body: bytes = col.blob()
    state: str = col.string()
    answer: Any = col.json(null=True)
    fence: int = col.big()
    lease_until: int = col.big()
    expires_at: int = col.big()


async def insert(work: Work, claims: Sequence[Claim]) -> set[tuple[str, str]]:
    """Claim what is free; the keys that were. Blocks on a key that another Work is claiming."""
    rows = sorted((c.scope, c.key, c.verb, c.body) for c in claims)
    made = await work.rows(
        "INSERT INTO idempotency (scope, key, verb, body, state, fence, lease_until, expires_at)"
        " SELECT *, $5, 1, $6::bigint, $7::bigint"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])"
        " ON CONFLICT (scope, key) DO NOTHING RETURNING scope, key",
        *unnested(rows, 4),
        State.RUNNING,
        work.now_ms + LEASE_MS,
        work.now_ms + TTL_MS,
    )
    return {(row["scope"], row["key"]) for row in made}


async def look(reader: Reader, scope: str, key: str) -> dict[str, Any] | None:
    """What is committed of a key, without a lock."""
    row = await reader.row(
        "SELECT verb, body, state, answer, fence, lease_until FROM idempotency"
        " WHERE scope = $1 AND key = $2",
        scope,
        key,
    )
    return dict(row) if row else None


async def lock(
    work: Work, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    found = await work.rows(
        "SELECT i.scope, i.key, verb, body, state, answer, fence, lease_until FROM idempotency i"
        " JOIN unnest($1::text[], $2::text[]) AS u(scope, key)"
        " ON u.scope = i.scope AND u.key = i.key ORDER BY i.scope, i.key FOR UPDATE OF i",
        *unnested(sorted(keys), 2),
    )
    stored = {}
    for row in map(dict, found):
        stored[row.pop("scope"), row.pop("key")] = row
    return stored


async def take_over(work: Work, scope: str, key: str) -> int:
    """Renew an expired lease under the next fence."""
    return int(
        await work.value(
            "UPDATE idempotency SET fence = fence + 1, lease_until = $3"
            " WHERE scope = $1 AND key = $2 RETURNING fence",
            scope,
            key,
            work.now_ms + LEASE_MS,
        )
    )


def answering(place: str) -> str:
    """The statement that stores `answer_rows`, at parameter `place`, also as a part of another one.

    A key that was forgotten and used for another request since is left alone.
    """
    return (
        "UPDATE idempotency i SET state = 'done', answer = u.answer"
        f" FROM unnest({place}::key_answer[]) u"
        " WHERE i.scope = u.scope AND i.key = u.key AND i.verb = u.verb AND i.body = u.body"
    )


def answer_rows(answers: Sequence[tuple[Claim, Any]]) -> list[tuple[object, ...]]:
    return [(one.scope, one.key, one.verb, one.body, value) for one, value in answers]


async def answer(work: Work, answers: Sequence[tuple[Claim, Any]]) -> None:
    await work.execute(answering("$1"), answer_rows(answers))


async def release(work: Work, claims: Sequence[Claim]) -> None:
    """Forget claims whose command was refused without an effect worth keeping."""
    rows = [(one.scope, one.key, one.verb, one.body) for one in claims]
    await work.execute(
        "DELETE FROM idempotency i USING unnest($1::text[], $2::text[], $3::text[], $4::bytea[])"
        " AS u(scope, key, verb, body)"
        " WHERE i.scope = u.scope AND i.key = u.key AND i.verb = u.verb AND i.body = u.body",
        *unnested(rows, 4),
    )


async def reap(work: Work, limit: int) -> int:
    return await work.execute(
        "DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency"
        " WHERE expires_at < $1 AND state = 'done' ORDER BY expires_at LIMIT $2"
        " FOR UPDATE SKIP LOCKED)",
        work.now_ms,
        limit,
    )


async def estimate(reader: Reader) -> int:
    """About how many keys are remembered, as of the last vacuum: counting them would walk them all."""
    found: int = await reader.value(
        "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'idempotency'::regclass"
    )
    return found
