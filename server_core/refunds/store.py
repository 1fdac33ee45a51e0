"""Refund rows and their SQL."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.payments.model import Method
from server_core.refunds.model import Reason, Refund, State


class RefundRow(SQLModel, table=True):
    """Captured money on its way back."""

    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("amount > 0", name="refund_amount"),
        Index("refund_intent", "intent", "created_at", "id"),
        Index("refund_payee", "payee", "created_at", "id"),
        Index(
            "refund_payer", "payer", "created_at", "id", postgresql_where=sql("payer IS NOT NULL")
        ),
        Index("refund_check", "next_check_at", postgresql_where=sql("next_check_at IS NOT NULL")),
    )
    id: UUID = col.key()
    intent: UUID = col.uuid()
    attempt: UUID = col.uuid()
    method: str = col.string()
    rail: str | None = col.string(null=True)
    debit: str | None = col.string(null=True)
    payee: UUID = col.uuid()
    payer: UUID | None = col.uuid(null=True)
    amount: int = col.big()
    currency: str = col.string()
    state: str = col.string()
    reason: str = col.string()
    note: str = col.string()
    code: str | None = col.string(null=True)
    rail_reference: str | None = col.string(null=True)
    asked: int = col.big()
    next_check_at: int | None = col.big(null=True)
    scope: str = col.string()
    key: str = col.string()
    body: bytes = col.blob()
    created_at: int = col.big()
    ended_at: int | None = col.big(null=True)


_NAMES: Final = (
    "id", "intent", "attempt", "method", "rail", "debit", "payee", "payer", "amount", "currency", "state", "reason",
    "note", "code", "rail_reference", "asked", "next_check_at", "scope", "key", "body",
    "created_at", "ended_at",
)  # fmt: skip
_REFUND: Final = ", ".join(_NAMES)
_NEWEST: Final = "ORDER BY created_at DESC, id DESC LIMIT $4"
_AFTER_ALL: Final = (2**63 - 1, UUID(int=2**128 - 1))
_values: Final = attrgetter(*_NAMES)


def _refund(row: Row) -> Refund:
    return Refund(
        **dict(row)
        | {
            "method": Method(row["method"]),
            "state": State(row["state"]),
            "reason": Reason(row["reason"]),
        }
    )


async def insert(work: Work, refund: Refund) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(_NAMES) + 1))
    await work.execute(f"INSERT INTO refund ({_REFUND}) VALUES ({places})", *_values(refund))


async def save(work: Work, refund: Refund) -> None:
    """Store what may change of a refund."""
    await work.execute(
        "UPDATE refund SET state = $2, code = $3, rail_reference = $4, asked = $5,"
        " next_check_at = $6, ended_at = $7 WHERE id = $1",
        refund.id, refund.state, refund.code, refund.rail_reference, refund.asked,
        refund.next_check_at, refund.ended_at,
    )  # fmt: skip


async def postpone(work: Work, refund: UUID, until: int) -> None:
    """Ask about an open refund later; one that has ended is left alone."""
    await work.execute(
        "UPDATE refund SET next_check_at = $2 WHERE id = $1 AND next_check_at IS NOT NULL",
        refund,
        until,
    )


async def lock(work: Work, refund: UUID) -> Refund | None:
    row = await work.row(f"SELECT {_REFUND} FROM refund WHERE id = $1 FOR UPDATE", refund)
    return _refund(row) if row else None


async def get(reader: Reader, refund: UUID) -> Refund | None:
    row = await reader.row(f"SELECT {_REFUND} FROM refund WHERE id = $1", refund)
    return _refund(row) if row else None


async def of_intents(reader: Reader, intents: Iterable[UUID]) -> list[Refund]:
    """The refunds of many payments by one statement, oldest first."""
    found = await reader.rows(
        f"SELECT {_REFUND} FROM refund WHERE intent = ANY($1::uuid[])"
        " ORDER BY intent, created_at, id LIMIT 5000",
        list(intents),
    )
    return [_refund(row) for row in found]


async def of_party(
    reader: Reader, party: UUID, *, before: tuple[int, UUID] | None, limit: int
) -> list[Refund]:
    """Given and got by `party`, newest first, after the one made at `before` (Unix ms, id).

    An id is derived from its key and says no time: the time is part of the order.
    """
    made_at, last = before or _AFTER_ALL
    page = f"SELECT {_REFUND} FROM refund WHERE %s = $1 AND (created_at, id) < ($2, $3) {_NEWEST}"
    found = await reader.rows(
        f"SELECT {_REFUND} FROM (({page % 'payee'}) UNION ({page % 'payer'})) own {_NEWEST}",
        party, made_at, last, limit,
    )  # fmt: skip
    return [_refund(row) for row in found]


async def of_intent(
    reader: Reader, intent: UUID, *, before: tuple[int, UUID] | None, limit: int
) -> list[Refund]:
    """Of one payment, in the order of `of_party`."""
    made_at, last = before or _AFTER_ALL
    found = await reader.rows(
        f"SELECT {_REFUND} FROM refund WHERE intent = $1 AND (created_at, id) < ($2, $3) {_NEWEST}",
        intent, made_at, last, limit,
    )  # fmt: skip
    return [_refund(row) for row in found]


async def hasten(work: Work, refund: UUID) -> bool:
    """Ask about a refund now that is open, or has failed; False when there is none such."""
    row = await work.row(
        "UPDATE refund SET next_check_at = $2 WHERE id = $1 AND rail IS NOT NULL"
        " AND state <> 'succeeded' AND coalesce(next_check_at > $2, true) RETURNING id",
        refund,
        work.now_ms,
    )
    return row is not None


async def is_pending(reader: Reader, intent: UUID) -> bool:
    """Whether a rail has not said yet what became of a refund of it."""
    found: bool = await reader.value(
        "SELECT EXISTS (SELECT FROM refund WHERE intent = $1 AND state = 'pending')", intent
    )
    return found


async def due(reader: Reader, limit: int) -> list[Refund]:
    """Refunds whose rail is to be asked now."""
    found = await reader.rows(
        f"SELECT {_REFUND} FROM refund WHERE next_check_at <= $1 ORDER BY next_check_at LIMIT $2",
        reader.now_ms,
        limit,
    )
    return [_refund(row) for row in found]


async def standing(reader: Reader, limit: int) -> tuple[int, int | None]:
    """How many have no clear answer, counted up to `limit`, and when the first was made (Unix ms)."""
    row = await reader.row(
        "SELECT count(*) AS many, min(created_at) AS since FROM (SELECT created_at FROM refund"
        " WHERE next_check_at IS NOT NULL AND state = 'pending' ORDER BY next_check_at LIMIT $1) r",
        limit,
    )
    return (row["many"], row["since"]) if row else (0, None)
