"""Intent and attempt rows and their SQL, set-based for the hot path."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import CheckConstraint, Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.idempotency.model import Claim
from server_core.idempotency.store import answer_rows, answering
from server_core.payments.model import (
    Attempt,
    Intent,
)

_OPEN: Final = "state IN ('sent', 'requires_action', 'unknown', 'reversing')"


class IntentRow(SQLModel, table=True):
    """What is to be paid, by whom, to whom."""

    __tablename__ = "intent"
    __table_args__ = (
        CheckConstraint("amount > 0", name="intent_amount"),
        CheckConstraint(
            "captured >= 0 AND capturable >= 0 AND captured + capturable <= amount",
            name="intent_captured",
        ),
        CheckConstraint("refunded BETWEEN 0 AND captured", name="intent_refunded"),
        Index("intent_payee", "payee", "id"),
        Index("intent_payer", "payer", "id", postgresql_where=sql("payer IS NOT NULL")),
        Index(
            "intent_expiry",
            "expires_at",
            postgresql_where=sql("state IN ('requires_confirmation', 'requires_payment_method')"),
        ),
        Index("intent_origin", "origin", unique=True, postgresql_where=sql("origin IS NOT NULL")),
        Index(
            "intent_release", "capture_before", postgresql_where=sql("state = 'requires_capture'")
        ),
        # Its column never changes, so that no update costs more for it.
        Index("intent_conflicted", "id", postgresql_where=sql("state = 'conflicted'")),
    )
    id: UUID = col.key()
    purpose: str = col.string()
    state: str = col.string()
    payer: UUID | None = col.uuid(null=True)
    payee: UUID = col.uuid()
    amount: int = col.big()
    currency: str = col.string()
    description: str = col.string()
    attempts: int = col.big()
    created_at: int = col.big()
    expires_at: int = col.big()
    updated_at: int = col.big()
    origin: UUID | None = col.uuid(null=True)
    capture_method: str = col.string()
    captured: int = col.big()
    capturable: int = col.big()
    refunded: int = col.big()
    authorized: int | None = col.big(null=True)
    capture_before: int | None = col.big(null=True)
    action: str | None = col.string(null=True)


class AttemptRow(SQLModel, table=True):
    """One operation over one rail; (intent, number) is unique, and one may be open at a time."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index("attempt_number", "intent", "number", unique=True),
        Index(
            "attempt_open",
            "intent",
            unique=True,
            postgresql_where=sql(_OPEN),
        ),
        Index("attempt_check", "next_check_at", postgresql_where=sql("next_check_at IS NOT NULL")),
    )
    id: UUID = col.key()
    intent: UUID = col.uuid()
    number: int = col.big()
    operation: str = col.string()
    amount: int = col.big()
    final: bool = col.flag()
    method: str = col.string()
    rail: str | None = col.string(null=True)
    route: str | None = col.string(null=True)
    hint: str | None = col.string(null=True)
    state: str = col.string()
    debit: str | None = col.string(null=True)
    code: str | None = col.string(null=True)
    rail_reference: str | None = col.string(null=True)
    asked: int = col.big()
    next_check_at: int | None = col.big(null=True)
    scope: str = col.string()
    key: str = col.string()
    verb: str = col.string()
    body: bytes = col.blob()
    started_at: int = col.big()
    ended_at: int | None = col.big(null=True)


_INTENT: Final = (
    "id, purpose, state, payer, payee, amount, currency, description, attempts, created_at,"
    " expires_at, updated_at, origin, capture_method, captured, capturable, refunded, authorized,"
    " capture_before, action"
)
_ATTEMPT: Final = (
    "id, intent, number, operation, amount, final, method, rail, route, hint, state, debit, code,"
    " rail_reference, asked, next_check_at, scope, key, verb, body, started_at, ended_at"
)
_SAVE: Final = (
    "UPDATE intent i SET state = u.state, payer = u.payer, attempts = u.attempts,"
    " updated_at = u.updated_at, captured = u.captured, capturable = u.capturable, refunded = u.refunded,"
    " authorized = u.authorized, capture_before = u.capture_before, action = u.action"
    " FROM unnest($1::changed_intent[]) u WHERE i.id = u.id"
)
_SAVE_ATTEMPT: Final = (
    "UPDATE attempt SET state = $2, code = $3, rail_reference = $4, asked = $5,"
    " next_check_at = $6, ended_at = $7, debit = $8 WHERE id = $1"
)
_intent_values: Final = attrgetter(*_INTENT.split(", "))
_attempt_values: Final = attrgetter(*_ATTEMPT.split(", "))
_changes: Final = attrgetter(
    "id", "state", "payer", "attempts", "updated_at", "captured", "capturable", "refunded",
    "authorized", "capture_before", "action",
)  # fmt: skip

_attempt_changes: Final = attrgetter(
    "id", "state", "code", "rail_reference", "asked", "next_check_at", "ended_at", "debit"
)


def _intent(row: Row) -> Intent:
    return msgspec.convert(dict(row), Intent)


def _attempt(row: Row) -> Attempt:
    return msgspec.convert(dict(row), Attempt)


async def insert(work: Work, intents: Sequence[Intent]) -> None:
    """Store new intents as they stand. Their origin is theirs alone: a peer's wins, and we retry."""
    await work.execute(
        f"INSERT INTO intent ({_INTENT}) SELECT {_INTENT} FROM unnest($1::new_intent[])",
        [_intent_values(one) for one in intents],
    )


async def by_origin(reader: Reader, origins: Iterable[UUID]) -> dict[UUID, UUID]:
    """The intents that were made under these origins: origin to id."""
    found = await reader.rows(
        "SELECT origin, id FROM intent WHERE origin = ANY($1::uuid[])", list(origins)
    )
    return {row["origin"]: row["id"] for row in found}


async def lock(work: Work, ids: Iterable[UUID]) -> dict[UUID, Intent]:
    found = await work.rows(
        f"SELECT {_INTENT} FROM intent WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE",
        list(ids),
    )
    return {row["id"]: _intent(row) for row in found}


async def get(reader: Reader, intent: UUID) -> Intent | None:
    row = await reader.row(f"SELECT {_INTENT} FROM intent WHERE id = $1", intent)
    return _intent(row) if row else None


async def get_many(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Intent]:
    found = await reader.rows(f"SELECT {_INTENT} FROM intent WHERE id = ANY($1::uuid[])", list(ids))
    return {row["id"]: _intent(row) for row in found}


async def of_party(reader: Reader, party: UUID, *, before: UUID | None, limit: int) -> list[Intent]:
    """Newest first; ids are time-ordered.

    A side is a range of its own index, not an equality: told `payee = $1 ORDER BY id`, a cached
    plan may walk the primary key through everybody's payments to find the few of one party.
    """
    side = (
        f"SELECT {_INTENT} FROM intent WHERE %s IS NOT NULL AND (%s, id) < ($1, $2)"
        " AND (%s, id) >= ($1, $4) ORDER BY %s DESC, id DESC LIMIT $3"
    )
    found = await reader.rows(
        f"SELECT {_INTENT} FROM (({side.replace('%s', 'payee')})"
        f" UNION ({side.replace('%s', 'payer')})) u ORDER BY id DESC LIMIT $3",
        party,
        before or UUID(int=2**128 - 1),
        limit,
        UUID(int=0),
    )
    return [_intent(row) for row in found]


async def save(work: Work, intents: Sequence[Intent]) -> None:
    """Store what may change of an intent."""
    await work.execute(_SAVE, [_changes(one) for one in intents])


async def save_confirmed(
    work: Work,
    made: Sequence[Intent],
    known: Sequence[Intent],
    attempts: Sequence[Attempt],
    answers: Sequence[tuple[Claim, Any]],
) -> None:
    """All that a batch of confirms writes of payments and keys, by one statement."""
    await work.execute(
        f"WITH made AS (INSERT INTO intent ({_INTENT}) SELECT {_INTENT}"
        f" FROM unnest($2::new_intent[])), tried AS (INSERT INTO attempt ({_ATTEMPT})"
        f" SELECT {_ATTEMPT} FROM unnest($3::new_attempt[])), answered AS ({answering('$4')}) {_SAVE}",
        [_changes(one) for one in known],
        [_intent_values(one) for one in made],
        [_attempt_values(one) for one in attempts],
        answer_rows(answers),
    )


async def save_tried(work: Work, intents: Sequence[Intent], attempts: Sequence[Attempt]) -> None:
    """Store changed intents and their new attempts, by one statement."""
    await work.execute(
        f"WITH tried AS (INSERT INTO attempt ({_ATTEMPT}) SELECT {_ATTEMPT}"
        f" FROM unnest($2::new_attempt[])) {_SAVE}",
        [_changes(one) for one in intents],
        [_attempt_values(one) for one in attempts],
    )


async def save_attempt(work: Work, attempt: Attempt) -> None:
    await work.execute(_SAVE_ATTEMPT, *_attempt_changes(attempt))


async def save_both(work: Work, intent: Intent, attempt: Attempt) -> None:
    """Store what may change of an intent and of its attempt, by one statement."""
    await work.execute(
        f"WITH tried AS ({_SAVE_ATTEMPT}) {_SAVE.replace('$1', '$9')}",
        *_attempt_changes(attempt),
        [_changes(intent)],
    )


async def attempt(reader: Reader, attempt: UUID) -> Attempt | None:
    row = await reader.row(f"SELECT {_ATTEMPT} FROM attempt WHERE id = $1", attempt)
    return _attempt(row) if row else None


async def attempt_of(reader: Reader, claim: Claim, intent: UUID) -> UUID | None:
    """The last attempt at the intent that a request began, whether it has ended or not."""
    found: UUID | None = await reader.value(
        "SELECT id FROM attempt WHERE intent = $1 AND scope = $2 AND key = $3 AND verb = $4"
        " ORDER BY number DESC LIMIT 1",
        intent,
        claim.scope,
        claim.key,
        claim.verb,
    )
    return found


async def numbered(reader: Reader, intent: UUID, number: int) -> Attempt:
    """An attempt that the intent is known to have."""
    row = await reader.row(
        f"SELECT {_ATTEMPT} FROM attempt WHERE intent = $1 AND number = $2", intent, number
    )
    return _attempt(row)


async def paid_by(reader: Reader, intent: UUID) -> Attempt:
    """The attempt that moved a paid intent's money, or set it aside: there is one."""
    row = await reader.row(
        f"SELECT {_ATTEMPT} FROM attempt WHERE intent = $1 AND operation = 'pay'"
        " AND state = 'succeeded'",
        intent,
    )
    return _attempt(row)


async def attempts(reader: Reader, intent: UUID) -> list[Attempt]:
    found = await reader.rows(
        f"SELECT {_ATTEMPT} FROM attempt WHERE intent = $1 ORDER BY number LIMIT 100", intent
    )
    return [_attempt(row) for row in found]


async def attempts_of(reader: Reader, intents: Iterable[UUID]) -> list[Attempt]:
    """The attempts of many intents by one statement, in order."""
    found = await reader.rows(
        f"SELECT {_ATTEMPT} FROM attempt WHERE intent = ANY($1::uuid[])"
        " ORDER BY intent, number LIMIT 5000",
        list(intents),
    )
    return [_attempt(row) for row in found]


async def due(reader: Reader, limit: int) -> list[Attempt]:
    """Attempts whose rail is to be asked now."""
    found = await reader.rows(
        f"SELECT {_ATTEMPT} FROM attempt WHERE next_check_at <= $1 ORDER BY next_check_at LIMIT $2",
        reader.now_ms,
        limit,
    )
    return [_attempt(row) for row in found]


async def attempts_by_id(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Attempt]:
    found = await reader.rows(
        f"SELECT {_ATTEMPT} FROM attempt WHERE id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: _attempt(row) for row in found}


async def take_due(work: Work, limit: int, until: int) -> list[tuple[UUID, UUID, str]]:
    """Attempts whose rail is to be asked now, the longest due first, taken until then.

    Each with its intent and its rail, whose patience is counted.
    """
    found = await work.rows(
        "WITH due AS (SELECT id, next_check_at FROM attempt WHERE next_check_at <= $1"
        "  ORDER BY next_check_at LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " taken AS (UPDATE attempt a SET next_check_at = $3 FROM due WHERE a.id = due.id"
        "  RETURNING a.id, a.intent, a.rail, due.next_check_at AS due_at)"
        " SELECT id, intent, rail FROM taken ORDER BY due_at, id",
        work.now_ms,
        limit,
        until,
    )
    return [(row["id"], row["intent"], row["rail"]) for row in found]


async def is_busy(reader: Reader, intent: UUID) -> bool:
    """Whether an attempt of the intent has not ended."""
    found: bool = await reader.value(
        f"SELECT EXISTS (SELECT FROM attempt WHERE intent = $1 AND {_OPEN})", intent
    )
    return found


async def hasten(work: Work, attempt: UUID) -> bool:
    """Ask about an attempt now, ended or not; False when there is none such."""
    row = await work.row(
        "UPDATE attempt SET next_check_at = $2 WHERE id = $1 AND rail IS NOT NULL"
        " AND COALESCE(next_check_at > $2, true) RETURNING id",
        attempt,
        work.now_ms,
    )
    return row is not None


async def unreleased(work: Work, limit: int) -> list[Intent]:
    """Intents that set money aside and may not capture it any more."""
    found = await work.rows(
        f"SELECT {_INTENT} FROM intent i WHERE capture_before <= $1 AND state = 'requires_capture'"
        f" AND NOT EXISTS (SELECT FROM attempt a WHERE a.intent = i.id AND a.{_OPEN})"
        " ORDER BY capture_before LIMIT $2 FOR UPDATE SKIP LOCKED",
        work.now_ms,
        limit,
    )
    return [_intent(row) for row in found]


async def expired(work: Work, limit: int) -> list[Intent]:
    found = await work.rows(
        f"SELECT {_INTENT} FROM intent WHERE expires_at <= $1"
        " AND state IN ('requires_confirmation', 'requires_payment_method')"
        " ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        work.now_ms,
        limit,
    )
    return [_intent(row) for row in found]
