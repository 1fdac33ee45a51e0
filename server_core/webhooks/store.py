"""SQL of endpoints, their secrets and the house's signing keys."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from server_core.db.work import Reader, Row, Work
from server_core.webhooks.model import Endpoint, EndpointState, Reason, Secret, SigningKey
from server_core.webhooks.tables import (
    AttemptRow,
    EndpointRow,
    MessageRow,
    SecretRow,
    SigningKeyRow,
)

__all__ = ["AttemptRow", "EndpointRow", "MessageRow", "SecretRow", "SigningKeyRow"]

_COLUMNS: Final = (
    "id, owner, url, description, filters, state, reason, from_seq, failing_since, rest_until,"
    " created_at, changed_at"
)


def _endpoint(row: Row) -> Endpoint:
    return Endpoint(
        **dict(row)
        | {
            "filters": tuple(row["filters"]),
            "state": EndpointState(row["state"]),
            "reason": Reason(row["reason"]) if row["reason"] else None,
        }
    )


async def insert(work: Work, e: Endpoint) -> None:
    await work.execute(
        f"INSERT INTO webhook_endpoint ({_COLUMNS})"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        e.id, e.owner, e.url, e.description, list(e.filters), e.state, e.reason, e.from_seq,
        e.failing_since, e.rest_until, e.created_at, e.changed_at,
    )  # fmt: skip


async def save(work: Work, e: Endpoint) -> None:
    """What the owner may change, and what attempts say of the endpoint. The row is locked."""
    await work.execute(
        "UPDATE webhook_endpoint SET url = $2, description = $3, filters = $4, state = $5,"
        " reason = $6, failing_since = $7, rest_until = $8, changed_at = $9 WHERE id = $1",
        e.id, e.url, e.description, list(e.filters), e.state, e.reason, e.failing_since,
        e.rest_until, e.changed_at,
    )  # fmt: skip


async def get(reader: Reader, endpoint: UUID) -> Endpoint | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE id = $1", endpoint)
    return _endpoint(row) if row else None


async def many(reader: Reader, endpoints: Sequence[UUID]) -> list[Endpoint]:
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE id = ANY($1)", list(endpoints)
    )
    return [_endpoint(row) for row in found]


async def lock(work: Work, endpoint: UUID) -> Endpoint | None:
    row = await work.row(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE id = $1 FOR UPDATE", endpoint
    )
    return _endpoint(row) if row else None


async def of_owner(reader: Reader, owner: UUID) -> list[Endpoint]:
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE owner = $1 AND state <> 'deleted'"
        " ORDER BY id LIMIT 200",
        owner,
    )
    return [_endpoint(row) for row in found]


async def every(reader: Reader, limit: int) -> list[Endpoint]:
    """All that are not deleted, for the operator."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE state <> 'deleted' ORDER BY id LIMIT $1",
        limit,
    )
    return [_endpoint(row) for row in found]


async def listening(work: Work, owners: Collection[UUID]) -> list[Endpoint]:
    """Who may hear of these parties' events; shared locks, so that none is disabled meanwhile."""
    found = await work.rows(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE owner = ANY($1) AND state <> 'deleted'"
        " ORDER BY id FOR SHARE",
        list(owners),
    )
    return [_endpoint(row) for row in found]


async def insert_secret(work: Work, s: Secret) -> None:
    await work.execute(
        "INSERT INTO webhook_secret (endpoint, number, sealed, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5)",
        s.endpoint, s.number, s.sealed, s.created_at, s.expires_at,
    )  # fmt: skip


async def secrets(reader: Reader, endpoints: Sequence[UUID]) -> list[Secret]:
    found = await reader.rows(
        "SELECT endpoint, number, sealed, created_at, expires_at FROM webhook_secret"
        " WHERE endpoint = ANY($1) ORDER BY endpoint, number",
        list(endpoints),
    )
    return [Secret(**dict(row)) for row in found]


async def retire_secret(work: Work, endpoint: UUID, expires_at: int) -> None:
    """Let the current secret end; the one that follows is inserted beside it."""
    await work.execute(
        "UPDATE webhook_secret SET expires_at = $2 WHERE endpoint = $1 AND expires_at IS NULL",
        endpoint,
        expires_at,
    )


async def forget_secrets(work: Work, endpoint: UUID, below: int) -> None:
    """Take away those of an endpoint whose number is smaller: more old ones than may sign."""
    await work.execute(
        "DELETE FROM webhook_secret WHERE endpoint = $1 AND number < $2", endpoint, below
    )


async def forget_expired(work: Work) -> int:
    """Take away what signs no more: secrets and keys whose time is over."""
    gone = await work.execute("DELETE FROM webhook_secret WHERE expires_at <= $1", work.now_ms)
    return gone + await work.execute("DELETE FROM webhook_key WHERE expires_at <= $1", work.now_ms)


async def insert_key(work: Work, k: SigningKey) -> None:
    await work.execute(
        "INSERT INTO webhook_key (kid, public, sealed, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5)",
        k.kid, k.public, k.sealed, k.created_at, k.expires_at,
    )  # fmt: skip


async def retire_keys(work: Work, expires_at: int) -> None:
    await work.execute(
        "UPDATE webhook_key SET expires_at = $1 WHERE expires_at IS NULL", expires_at
    )


async def keys(reader: Reader) -> list[SigningKey]:
    """The keys that sign now, newest first."""
    found = await reader.rows(
        "SELECT kid, public, sealed, created_at, expires_at FROM webhook_key"
        " WHERE expires_at IS NULL OR expires_at > $1"
        " ORDER BY created_at DESC, kid LIMIT 11",
        reader.now_ms,
    )
    return [SigningKey(**dict(row)) for row in found]


async def mark(work: Work, failing: Sequence[UUID], well: Sequence[UUID]) -> None:
    """Note since when endpoints only fail; rows that say so already are left alone."""
    if well:
        await work.execute(
            "UPDATE webhook_endpoint SET failing_since = NULL"
            " WHERE id = ANY($1) AND failing_since IS NOT NULL",
            list(well),
        )
    if failing:
        await work.execute(
            "UPDATE webhook_endpoint SET failing_since = $2"
            " WHERE id = ANY($1) AND failing_since IS NULL",
            list(failing),
            work.now_ms,
        )


async def mark_slow(work: Work, slow: Sequence[UUID], quick: Sequence[UUID]) -> None:
    """Note how long endpoints took of late; rows that say so already are left alone."""
    for ids, now in ((slow, True), (quick, False)):
        if ids:
            await work.execute(
                "UPDATE webhook_endpoint SET slow = $2 WHERE id = ANY($1) AND slow <> $2",
                list(ids),
                now,
            )


async def rest(work: Work, endpoint: UUID, until: int) -> None:
    await work.execute(
        "UPDATE webhook_endpoint SET rest_until = greatest(rest_until, $2) WHERE id = $1",
        endpoint,
        until,
    )
