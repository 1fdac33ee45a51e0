"""The terminal and pairing tables' rows and SQL."""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.terminals.model import State, Terminal


class TerminalRow(SQLModel, table=True):
    """One enrolled terminal; `synced_at` is its enrolment until it has synced."""

    __tablename__ = "terminal"
    __table_args__ = (
        Index("terminal_party", "party"),
        Index("terminal_key", "key", unique=True),
        Index("terminal_synced", "synced_at", postgresql_where=sql("state = 'active'")),
    )
    id: bytes = col.blob(primary=True)
    party: UUID = col.uuid()
    payee: bytes = col.blob()
    key: bytes = col.blob()
    kid: bytes = col.blob()
    cert: bytes = col.blob()
    sig_cert: bytes = col.blob()
    state: str = col.string()
    enrolled_at: int = col.big()
    synced_at: int = col.big()


class PairingRow(SQLModel, table=True):
    """A one-time pairing code, as its hash; `terminal` is who used it."""

    __tablename__ = "pairing"
    code_hash: bytes = col.blob(primary=True)
    merchant: UUID = col.uuid()
    expires_at: int = col.big()
    terminal: bytes | None = col.blob(null=True)


_COLUMNS: Final = "id, party, payee, key, kid, cert, sig_cert, state, enrolled_at"


def _terminal(row: Row) -> Terminal:
    return Terminal(**dict(row) | {"state": State(row["state"])})


async def insert(work: Work, t: Terminal) -> None:
    await work.execute(
        f"INSERT INTO terminal ({_COLUMNS}, synced_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        t.id, t.party, t.payee, t.key, t.kid, t.cert, t.sig_cert, t.state, t.enrolled_at,
    )  # fmt: skip


async def get(reader: Reader, terminal: bytes) -> Terminal | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM terminal WHERE id = $1", terminal)
    return _terminal(row) if row else None


async def get_many(reader: Reader, terminals: Collection[bytes]) -> dict[bytes, Terminal]:
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM terminal WHERE id = ANY($1::bytea[])", list(terminals)
    )
    return {row["id"]: _terminal(row) for row in found}


async def of_key(reader: Reader, key: bytes) -> Terminal | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM terminal WHERE key = $1", key)
    return _terminal(row) if row else None


async def of_party(reader: Reader, party: UUID) -> list[Terminal]:
    """At most 1,000, oldest first."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM terminal WHERE party = $1 ORDER BY enrolled_at, id LIMIT 1000",
        party,
    )
    return [_terminal(row) for row in found]


async def set_state(work: Work, terminal: bytes, state: State) -> None:
    await work.execute("UPDATE terminal SET state = $2 WHERE id = $1", terminal, state)


async def quarantine(work: Work, terminal: bytes) -> bool:
    """Whether it was active until now: a revoked one stays revoked."""
    return bool(
        await work.execute(
            "UPDATE terminal SET state = $2 WHERE id = $1 AND state = $3",
            terminal,
            State.QUARANTINED,
            State.ACTIVE,
        )
    )


async def synced(work: Work, terminal: bytes) -> None:
    await work.execute("UPDATE terminal SET synced_at = $2 WHERE id = $1", terminal, work.now_ms)


async def standing(reader: Reader, silent_since: int, limit: int) -> tuple[int, int | None]:
    """How many active terminals have not synced since then, and when the first did (Unix ms).

    Counted up to `limit`, the longest silent first.
    """
    row = await reader.row(
        "SELECT count(*) FILTER (WHERE synced_at < $1) AS many, min(synced_at) AS since FROM"
        " (SELECT synced_at FROM terminal WHERE state = 'active' ORDER BY synced_at LIMIT $2) t",
        silent_since,
        limit,
    )
    return (row["many"], row["since"]) if row else (0, None)


async def silent(reader: Reader, since: int, limit: int) -> list[tuple[Terminal, int]]:
    """Active terminals that have not synced since then, with their last time, longest silent first."""
    found = await reader.rows(
        f"SELECT {_COLUMNS}, synced_at FROM terminal WHERE state = 'active' AND synced_at < $1"
        " ORDER BY synced_at LIMIT $2",
        since,
        limit,
    )
    return [_timed(row) for row in found]


async def page(
    reader: Reader, party: UUID | None, state: State | None, after: bytes, limit: int
) -> list[tuple[Terminal, int]]:
    """Terminals in the order of their ids, from `after` on, each with its last sync (Unix ms)."""
    found = await reader.rows(
        f"SELECT {_COLUMNS}, synced_at FROM terminal WHERE id > $1"
        " AND ($2::uuid IS NULL OR party = $2) AND ($3::text IS NULL OR state = $3)"
        " ORDER BY id LIMIT $4",
        after,
        party,
        state,
        limit,
    )
    return [_timed(row) for row in found]


def _timed(row: Row) -> tuple[Terminal, int]:
    said = dict(row)
    synced_at = said.pop("synced_at")
    return Terminal(**said | {"state": State(said["state"])}), synced_at


async def insert_pairing(work: Work, code_hash: bytes, merchant: UUID, expires_at: int) -> None:
    await work.execute(
        "INSERT INTO pairing (code_hash, merchant, expires_at) VALUES ($1, $2, $3)",
        code_hash, merchant, expires_at,
    )  # fmt: skip


async def lock_pairing(work: Work, code_hash: bytes) -> Any | None:
    return await work.row(
        "SELECT merchant, expires_at, terminal FROM pairing WHERE code_hash = $1 FOR UPDATE",
        code_hash,
    )


async def use_pairing(work: Work, code_hash: bytes, terminal: bytes) -> None:
    await work.execute("UPDATE pairing SET terminal = $2 WHERE code_hash = $1", code_hash, terminal)
