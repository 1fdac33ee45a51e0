"""Stray rows and their SQL."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.strays.model import State, Stray


class StrayRow(SQLModel, table=True):
    """A debit that no payment waits for."""

    __tablename__ = "stray"
    __table_args__ = (
        CheckConstraint("amount > 0", name="stray_amount"),
        Index("stray_intent", "intent"),
        Index("stray_check", "next_check_at", postgresql_where=sql("next_check_at IS NOT NULL")),
    )
    id: UUID = col.key()
    attempt: UUID = col.uuid()
    intent: UUID = col.uuid()
    rail: str = col.string()
    debit: str | None = col.string(null=True)
    amount: int = col.big()
    currency: str = col.string()
    state: str = col.string()
    code: str | None = col.string(null=True)
    rail_reference: str | None = col.string(null=True)
    asked: int = col.big()
    refusals: int = col.big()
    next_check_at: int | None = col.big(null=True)
    found_at: int = col.big()
    ended_at: int | None = col.big(null=True)


_NAMES: Final = (
    "id", "attempt", "intent", "rail", "debit", "amount", "currency", "state", "code",
    "rail_reference", "asked", "refusals", "next_check_at", "found_at", "ended_at",
)  # fmt: skip
_STRAY: Final = ", ".join(_NAMES)
_values: Final = attrgetter(*_NAMES)


def _stray(row: Row) -> Stray:
    return Stray(**dict(row) | {"state": State(row["state"])})


async def insert(work: Work, stray: Stray) -> bool:
    """Whether it is new: a debit that was found before is left as it is."""
    places = ", ".join(f"${n}" for n in range(1, len(_NAMES) + 1))
    made = await work.row(
        f"INSERT INTO stray ({_STRAY}) VALUES ({places}) ON CONFLICT (id) DO NOTHING RETURNING id",
        *_values(stray),
    )
    return made is not None


async def save(work: Work, stray: Stray) -> None:
    """Store what may change of a stray."""
    await work.execute(
        "UPDATE stray SET state = $2, asked = $3, next_check_at = $4, ended_at = $5, code = $6,"
        " refusals = $7 WHERE id = $1",
        stray.id, stray.state, stray.asked, stray.next_check_at, stray.ended_at, stray.code,
        stray.refusals,
    )  # fmt: skip


async def postpone(work: Work, stray: UUID, until: int) -> None:
    """Ask for an open stray later; one that was given back is left alone."""
    await work.execute(
        "UPDATE stray SET next_check_at = $2 WHERE id = $1 AND next_check_at IS NOT NULL",
        stray,
        until,
    )


async def lock(work: Work, stray: UUID) -> Stray | None:
    row = await work.row(f"SELECT {_STRAY} FROM stray WHERE id = $1 FOR UPDATE", stray)
    return _stray(row) if row else None


async def due(reader: Reader, limit: int) -> list[Stray]:
    """Strays whose rail is to give them back now."""
    found = await reader.rows(
        f"SELECT {_STRAY} FROM stray WHERE next_check_at <= $1 ORDER BY next_check_at LIMIT $2",
        reader.now_ms,
        limit,
    )
    return [_stray(row) for row in found]


async def of_intents(reader: Reader, intents: Iterable[UUID]) -> list[Stray]:
    """The strays of payments, oldest first."""
    found = await reader.rows(
        f"SELECT {_STRAY} FROM stray WHERE intent = ANY($1::uuid[]) ORDER BY found_at, id LIMIT 500",
        list(intents),
    )
    return [_stray(row) for row in found]


async def standing(reader: Reader, limit: int) -> tuple[int, int | None]:
    """How many are not given back, counted up to `limit`, and when the first was found (Unix ms)."""
    row = await reader.row(
        "SELECT count(*) AS many, min(found_at) AS since FROM (SELECT found_at FROM stray"
        " WHERE next_check_at IS NOT NULL ORDER BY next_check_at LIMIT $1) s",
        limit,
    )
    return (row["many"], row["since"]) if row else (0, None)
