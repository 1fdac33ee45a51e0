"""The ledger's rows and all its SQL: set-based reads under lock, one write a batch."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.ledger.model import (
    Account,
    Code,
    Decision,
    Hold,
    Mode,
    Result,
    Side,
    Standing,
    Transfer,
)


class AccountRow(SQLModel, table=True):
    """One account; only its totals, floor, cap and `closed` ever change."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("debits_pending >= 0 AND credits_pending >= 0", name="account_pending"),
        CheckConstraint("debits_posted >= 0 AND credits_posted >= 0", name="account_posted"),
        Index("account_owner", "owner", "code"),
    )
    id: UUID = col.key()
    ledger: str = col.string()
    code: str = col.string()
    owner: str = col.string()
    side: str = col.string()
    floor: int | None = col.big(null=True)
    cap: int | None = col.big(null=True)
    closed: bool = col.flag(server_default=sql("false"))
    version: int = col.big(server_default=sql("0"))
    debits_pending: int = col.big(server_default=sql("0"))
    debits_posted: int = col.big(server_default=sql("0"))
    credits_pending: int = col.big(server_default=sql("0"))
    credits_posted: int = col.big(server_default=sql("0"))
    created_at: int = col.big()
    moved_at: int = col.big(server_default=sql("0"))


class TransferRow(SQLModel, table=True):
    """Append-only: every transfer asked for, with its result; a refused one has no entries.

    A created one names its entries: (debit, debit_version) and (credit, credit_version).
    """

    __tablename__ = "transfer"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="transfer_amount"),
        Index("transfer_pending", "pending_id", postgresql_where=sql("pending_id IS NOT NULL")),
        Index("transfer_expiry", "expires_at", postgresql_where=sql("expires_at IS NOT NULL")),
        *(
            Index(
                f"transfer_effective_{side}",
                side,
                "effective_at",
                postgresql_where=sql("effective_at IS NOT NULL"),
            )
            for side in ("debit", "credit")
        ),
    )
    id: UUID = col.key()
    mode: str = col.string()
    result: str = col.string()
    debit: UUID | None = col.uuid(null=True)
    credit: UUID | None = col.uuid(null=True)
    amount: int = col.big()
    ledger: str = col.string()
    code: str = col.string()
    reference: str = col.string()
    pending_id: UUID | None = col.uuid(null=True)
    final: bool = col.flag()
    expires_at: int | None = col.big(null=True)
    linked: bool = col.flag()
    effective_at: int | None = col.big(null=True)
    recorded_at: int = col.big()
    debit_version: int | None = col.big(null=True)
    credit_version: int | None = col.big(null=True)


class EntryRow(SQLModel, table=True):
    """Append-only: an account's running totals right after one transfer.

    Every 64th entry of an account is a milestone, found by its time; an index over all of them
    would cost each transfer two random writes.
    """

    __tablename__ = "entry"
    __table_args__ = (
        PrimaryKeyConstraint("account", "version", name="entry_pkey"),
        Index(
            "entry_milestone",
            "account",
            "recorded_at",
            "version",
            postgresql_where=sql("version % 64 = 0"),
        ),
    )
    account: UUID = col.uuid()
    version: int = col.big()
    transfer: UUID = col.uuid()
    debits_pending: int = col.big()
    debits_posted: int = col.big()
    credits_pending: int = col.big()
    credits_posted: int = col.big()
    recorded_at: int = col.big()


ACCOUNT: Final = (
    "id, ledger, code, owner, side, floor, cap, closed, version,"
    " debits_pending, debits_posted, credits_pending, credits_posted, moved_at"
)
SUMS: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
TOTALS: Final = ("version", *SUMS, "moved_at")
_STANDING: Final = (
    "id, ledger, side = 'credit' AS credit, floor, cap, closed, version,"
    " debits_pending, debits_posted, credits_pending, credits_posted, moved_at"
)
TRANSFER: Final = (
    "id, mode, result, debit, credit, amount, ledger, code, reference,"
    " pending_id, final, expires_at, linked, effective_at"
)


def to_account(row: Row) -> Account:
    return Account(
        id=row["id"],
        ledger=row["ledger"],
        code=Code(row["code"]),
        owner=row["owner"],
        side=Side(row["side"]),
        floor=row["floor"],
        cap=row["cap"],
        closed=row["closed"],
        version=row["version"],
        debits_pending=row["debits_pending"],
        debits_posted=row["debits_posted"],
        credits_pending=row["credits_pending"],
        credits_posted=row["credits_posted"],
        moved_at=row["moved_at"],
    )


def to_transfer(row: Row) -> tuple[Transfer, Result]:
    values = dict(row)
    result = Result(values.pop("result"))
    return Transfer(**values | {"mode": Mode(values["mode"])}), result


async def insert_accounts(work: Work, accounts: Sequence[Account]) -> None:
    """Add what is missing; an account that exists is left as it is."""
    ordered = sorted(accounts, key=lambda a: a.id)
    rows = [(a.id, a.ledger, a.code, a.owner, a.side, a.floor, a.cap) for a in ordered]
    await work.execute(
        "INSERT INTO account (id, ledger, code, owner, side, floor, cap, created_at)"
        " SELECT *, $8::bigint FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[],"
        " $5::text[], $6::bigint[], $7::bigint[]) ON CONFLICT (id) DO NOTHING",
        *unnested(rows, 7),
        work.now_ms,
    )


_LOCK: Final = f"""
SELECT {_STANDING} FROM account WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

_LOCK_AND_KNOWN: Final = f"""
WITH locked AS MATERIALIZED ({_LOCK})
SELECT * FROM locked
UNION ALL
SELECT t.id, NULL, {", ".join(["NULL"] * 10)} FROM transfer t WHERE t.id = ANY($2::uuid[])
"""


async def lock_accounts(work: Work, ids: Iterable[UUID]) -> dict[UUID, Standing]:
    """Lock in id order, so that no two batches wait for each other in a circle."""
    return {row[0]: Standing(*row) for row in await work.rows(_LOCK, list(ids))}


async def lock_accounts_and_known(
    work: Work, ids: Collection[UUID], transfer_ids: Collection[UUID]
) -> tuple[dict[UUID, Standing], dict[UUID, tuple[Transfer, Result]]]:
    """Lock the accounts in id order and find the ids that are known, by one statement.

    A statement that waited for a lock does not see what was committed meanwhile: an id that a peer
    committed in that time is caught by the primary key, and the batch runs again.
    """
    found = await work.rows(_LOCK_AND_KNOWN, list(ids), list(transfer_ids))
    locked = {row[0]: Standing(*row) for row in found if row[1] is not None}
    known = [row[0] for row in found if row[1] is None]
    return locked, await transfers(work, known) if known else {}


async def accounts(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Account]:
    found = await reader.rows(
        f"SELECT {ACCOUNT} FROM account WHERE id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: to_account(row) for row in found}


async def accounts_of(reader: Reader, owner: str) -> list[Account]:
    """At most 100: an owner has a handful, one a code and currency."""
    found = await reader.rows(
        f"SELECT {ACCOUNT} FROM account WHERE owner = $1 ORDER BY code, ledger LIMIT 100", owner
    )
    return [to_account(row) for row in found]


async def transfers(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, tuple[Transfer, Result]]:
    found = await reader.rows(
        f"SELECT {TRANSFER} FROM transfer WHERE id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: to_transfer(row) for row in found}


async def holds(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Hold]:
    """Pending transfers as they stand; other transfers come too, so that the rule can say so."""
    found = await reader.rows(
        "SELECT t.id, t.mode, t.result, t.debit, t.credit, t.amount, t.ledger, t.code, t.reference,"
        " t.pending_id, t.final, t.expires_at, t.linked, t.effective_at,"
        " coalesce(r.posted, 0)::bigint AS posted, r.ended"
        " FROM transfer t LEFT JOIN LATERAL ("
        "  SELECT sum(c.amount) FILTER (WHERE c.mode = 'post') AS posted,"
        "   max(c.mode) FILTER (WHERE c.mode <> 'post' OR c.final) AS ended"
        "  FROM transfer c WHERE c.pending_id = t.id AND c.result = 'created'"
        " ) r ON true WHERE t.id = ANY($1::uuid[]) AND t.result = 'created'",
        list(ids),
    )
    standing = {}
    for row in found:
        values = dict(row)
        posted, ended = values.pop("posted"), values.pop("ended")
        transfer, _ = to_transfer(values)
        remaining = transfer.amount - posted
        if ended is None and remaining == 0 and transfer.mode is Mode.PENDING:
            ended = Mode.POST
        standing[transfer.id] = Hold(
            transfer=transfer,
            remaining=0 if ended else remaining,
            resolved_by=Mode(ended) if ended else None,
        )
    return standing


async def write(work: Work, decision: Decision) -> None:
    """Write a decided batch in one statement; raises if an account was not there to update."""
    made = [
        (
            t.id, t.mode, one.result, t.debit, t.credit, t.amount, t.ledger, t.code, t.reference,
            t.pending_id, t.final, t.expires_at, t.linked, t.effective_at, one.debit_version,
            one.credit_version, one.recorded_at,
        )
        for one in decision.transfers
        for t in (one.transfer,)
    ]  # fmt: skip
    lines = [(*line, last) for line, last in zip(decision.lines, decision.last, strict=True)]
    touched = await work.execute(_WRITE, made, lines)
    if touched != sum(decision.last):
        raise RuntimeError(f"ledger: {sum(decision.last)} accounts to update, {touched} found")


_WRITE: Final = """
WITH made AS (
  INSERT INTO transfer (id, mode, result, debit, credit, amount, ledger, code, reference,
    pending_id, final, expires_at, linked, effective_at, debit_version, credit_version,
    recorded_at)
  SELECT id, mode, result, debit, credit, amount, ledger, code, reference, pending_id, final,
    expires_at, linked, effective_at, debit_version, credit_version, recorded_at
  FROM unnest($1::new_transfer[])
), line AS (
  SELECT * FROM unnest($2::new_entry[])
), written AS (
  INSERT INTO entry (account, version, transfer, debits_pending, debits_posted, credits_pending,
    credits_posted, recorded_at)
  SELECT account, version, transfer, debits_pending, debits_posted, credits_pending,
    credits_posted, recorded_at FROM line
)
UPDATE account a SET version = l.version, debits_pending = l.debits_pending,
  debits_posted = l.debits_posted, credits_pending = l.credits_pending,
  credits_posted = l.credits_posted, moved_at = l.recorded_at
FROM line l WHERE l.last AND a.id = l.account
"""


async def due(reader: Reader, now_ms: int, limit: int) -> list[UUID]:
    """Holds whose expiry has come and that nothing has resolved."""
    found = await reader.rows(
        "SELECT t.id FROM transfer t WHERE t.expires_at <= $1 AND t.mode = 'pending'"
        " AND t.result = 'created' AND NOT EXISTS (SELECT 1 FROM transfer c"
        "  WHERE c.pending_id = t.id AND c.result = 'created' AND (c.mode <> 'post' OR c.final))"
        " AND t.amount > (SELECT coalesce(sum(c.amount), 0) FROM transfer c"
        "  WHERE c.pending_id = t.id AND c.result = 'created')"
        " ORDER BY t.expires_at LIMIT $2",
        now_ms,
        limit,
    )
    return [row["id"] for row in found]


async def set_limits(
    work: Work, account: UUID, *, floor: int | None, cap: int | None, closed: bool
) -> None:
    await work.execute(
        "UPDATE account SET floor = $2, cap = $3, closed = $4 WHERE id = $1",
        account, floor, cap, closed,
    )  # fmt: skip
