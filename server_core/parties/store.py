"""The party table's rows and SQL."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work
from server_core.parties.model import Kind, Party


class PartyRow(SQLModel, table=True):
    """A person or a merchant."""

    __tablename__ = "party"
    __table_args__ = (
        Index("party_payee", "payee", unique=True, postgresql_where=sql("payee IS NOT NULL")),
        Index("party_name", "name"),
    )
    id: UUID = col.key()
    kind: str = col.string()
    name: str = col.string()
    mcc: str = col.string()
    payee: bytes | None = col.blob(null=True)
    created_at: int = col.big()


_COLUMNS = "id, kind, name, mcc, payee, created_at"


async def insert(work: Work, party: Party) -> None:
    await work.execute(
        f"INSERT INTO party ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)",
        party.id, party.kind, party.name, party.mcc, party.payee, party.created_at,
    )  # fmt: skip


_REMEMBERED: Final = 50_000


async def parties(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Party]:
    """Those that there are. A party's row is append-only: what was read once is not read again."""
    known, wanted = reader.known, list(ids)
    unread = [one for one in wanted if one not in known]
    if unread:
        rows = await reader.rows(f"SELECT {_COLUMNS} FROM party WHERE id = ANY($1::uuid[])", unread)
        found = {row["id"]: Party(**dict(row) | {"kind": Kind(row["kind"])}) for row in rows}
        if len(known) + len(found) > _REMEMBERED:
            known.clear()
            return found | await parties(reader, [one for one in wanted if one not in found])
        known.update(found)
    return {one: known[one] for one in wanted if one in known}


async def named(reader: Reader, name: str) -> list[Party]:
    """At most ten, oldest first: for the operator's command line."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM party WHERE name = $1 ORDER BY created_at, id LIMIT 10", name
    )
    return [Party(**dict(row) | {"kind": Kind(row["kind"])}) for row in found]
