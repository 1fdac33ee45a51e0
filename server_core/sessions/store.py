"""The session tables' rows and SQL; tokens and codes are stored as SHA-256 only."""

from uuid import UUID

from sqlalchemy import Index
from sqlmodel import SQLModel

from server_core.actor import Role
from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.sessions.model import Session


class SessionRow(SQLModel, table=True):
    """One signed-in screen or program."""

    __tablename__ = "session"
    __table_args__ = (
        Index("session_token", "token_hash", unique=True),
        Index("session_party", "party"),
    )
    id: UUID = col.key()
    token_hash: bytes = col.blob()
    party: UUID = col.uuid()
    role: str = col.string()
    device: UUID | None = col.uuid(null=True)
    assurance: int = col.small()
    authenticated_at: int = col.big()
    seen_at: int = col.big()
    expires_at: int = col.big()
    ended_at: int | None = col.big(null=True)


class SessionLinkRow(SQLModel, table=True):
    """A one-time link that a browser turns into a session."""

    __tablename__ = "session_link"
    code_hash: bytes = col.blob(primary=True)
    party: UUID = col.uuid()
    role: str = col.string()
    assurance: int = col.small()
    expires_at: int = col.big()
    used_at: int | None = col.big(null=True)


_COLUMNS = "id, party, role, device, assurance, authenticated_at, seen_at, expires_at, ended_at"


def _session(row: Row) -> Session:
    return Session(**dict(row) | {"role": Role(row["role"])})


async def insert(work: Work, session: Session, token_hash: bytes) -> None:
    await work.execute(
        f"INSERT INTO session (token_hash, {_COLUMNS})"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        token_hash, session.id, session.party, session.role, session.device, session.assurance,
        session.authenticated_at, session.seen_at, session.expires_at, session.ended_at,
    )  # fmt: skip


async def by_token(reader: Reader, token_hash: bytes) -> Session | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM session WHERE token_hash = $1", token_hash)
    return _session(row) if row else None


async def by_id(reader: Reader, session: UUID) -> Session | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM session WHERE id = $1", session)
    return _session(row) if row else None


async def touch(work: Work, session: UUID) -> None:
    await work.execute(
        "UPDATE session SET seen_at = greatest(seen_at, $2) WHERE id = $1", session, work.now_ms
    )


async def prove(work: Work, session: UUID) -> None:
    await work.execute(
        "UPDATE session SET assurance = 2, authenticated_at = $2, seen_at = greatest(seen_at, $2)"
        " WHERE id = $1 AND ended_at IS NULL",
        session,
        work.now_ms,
    )


async def end(work: Work, session: UUID) -> bool:
    return bool(
        await work.execute(
            "UPDATE session SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL",
            session,
            work.now_ms,
        )
    )


async def insert_link(
    work: Work, code_hash: bytes, party: UUID, role: Role, assurance: int, expires_at: int
) -> None:
    await work.execute(
        "INSERT INTO session_link (code_hash, party, role, assurance, expires_at)"
        " VALUES ($1, $2, $3, $4, $5)",
        code_hash, party, role, assurance, expires_at,
    )  # fmt: skip


async def use_link(work: Work, code_hash: bytes) -> Row | None:
    """Use the link up; None when it is unknown, used or over. One of two at once gets it."""
    return await work.row(
        "UPDATE session_link SET used_at = $2 WHERE code_hash = $1 AND used_at IS NULL"
        " AND expires_at > $2 RETURNING party, role, assurance",
        code_hash,
        work.now_ms,
    )
