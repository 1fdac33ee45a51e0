"""Post transfers in batches, open accounts, read balances, now and then, and statements."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from server_core.db.work import Emitted, Reader, Work
from server_core.errors import invalid, not_found
from server_core.ids import derived
from server_core.ledger import history, rules, store
from server_core.ledger.model import (
    MAX_TOTAL,
    NO_FLOOR,
    NORMAL_SIDE,
    Account,
    Code,
    Known,
    Mode,
    Outcome,
    Transfer,
    account_id,
)

MAX_BATCH: Final = 8190
"""TigerBeetle's figure; a longer batch would hold its locks too long."""


JOURNAL: Final = derived("journal")
POSTED: Final = "ledger.posted"


class StatementLine(Struct, frozen=True, kw_only=True):
    """One line of a statement: `change` and `balance` in minor units on the normal side."""

    version: int
    transfer: UUID
    change: int
    balance: int
    code: str
    reference: str
    counterparty: UUID
    recorded_at: int


def account(code: Code, owner: object, currency: str, *, floor: int | None = 0) -> Account:
    """The account that `code`, `owner` and `currency` name, as it is opened."""
    return Account(
        id=account_id(code, owner, currency),
        ledger=currency,
        code=code,
        owner=str(owner),
        side=NORMAL_SIDE[code],
        floor=None if code in NO_FLOOR else floor,
    )


async def open_accounts(work: Work, accounts: Sequence[Account]) -> None:
    """Open what is not open yet; a repeat changes nothing."""
    await store.insert_accounts(work, accounts)


async def post(work: Work, transfers: Sequence[Transfer]) -> list[Outcome]:
    """Decide and write a batch; one outcome a transfer, in order.

    Nothing is raised for a business refusal: it is an outcome, bound to the id by the same
    commit. Locks the accounts in id order until COMMIT, so call it after every other lock.
    What is written is told in the event log by one `ledger.posted` that names every transfer: the
    order of these events is the journal's.
    """
    if not transfers:
        return []
    if len(transfers) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} transfers")
    known = await _read(work, transfers)
    decision = rules.decide(transfers, known, work.now_ms)
    if decision.transfers:
        await store.write(work, decision)
        work.emit(
            Emitted(
                aggregate_type="journal",
                aggregate_id=JOURNAL,
                type=POSTED,
                payload={"transfers": [made.transfer.id for made in decision.transfers]},
            )
        )
    return decision.outcomes


async def _read(work: Work, transfers: Sequence[Transfer]) -> Known:
    ids = [one.id for one in transfers]
    pending = {one.pending_id for one in transfers if one.pending_id}
    wanted = {side for one in transfers for side in (one.debit, one.credit) if side}
    if not pending:
        return Known(*await store.lock_accounts_and_known(work, wanted, ids))
    # A hold's accounts never change, so they may be read before the lock that they are for.
    for first, _ in (await store.transfers(work, pending)).values():
        wanted.update(side for side in (first.debit, first.credit) if side)
    accounts = await store.lock_accounts(work, wanted)
    # What became of a hold is read after the lock: a statement sees what stood when it began.
    holds = await store.holds(work, pending)
    # A hold that was committed while we waited for the lock: its accounts are locked late, out of
    # id order; a circle that this closes is found by PostgreSQL and the Work runs again.
    late = {
        side
        for hold in holds.values()
        for side in (hold.transfer.debit, hold.transfer.credit)
        if side and side not in accounts
    }
    if late:
        accounts |= await store.lock_accounts(work, late)
        holds = await store.holds(work, pending)
    return Known(accounts, await store.transfers(work, ids), holds)


async def set_limits(
    work: Work, account: UUID, *, floor: int | None, cap: int | None, closed: bool
) -> None:
    """Change what an account allows from now on; what stands outside may still improve.

    A closed account takes part in no new transfer, but its holds may still end, either way. Raises
    ledger.account_not_found, ledger.limits.
    """
    for name, value in (("floor", floor), ("cap", cap)):
        if value is not None and abs(value) > MAX_TOTAL:
            raise invalid("ledger.limits", f"{name} must be within 63 bits", field=name)
    if floor is not None and cap is not None and floor > cap:
        raise invalid("ledger.limits", "floor must not be above cap", field="floor")
    if account not in await store.lock_accounts(work, [account]):
        raise not_found("ledger.account_not_found", "there is no such account", field="account")
    await store.set_limits(work, account, floor=floor, cap=cap, closed=closed)
    work.emit(
        Emitted(
            aggregate_type="account",
            aggregate_id=account,
            type="account.limits_changed",
            payload={
                "floor": None if floor is None else str(floor),
                "cap": None if cap is None else str(cap),
                "closed": closed,
            },
        )
    )


async def balances(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Account]:
    return await store.accounts(reader, ids)


async def balance_at(
    reader: Reader, account: UUID, at_ms: int, *, effective: bool = False
) -> Account | None:
    """The account as it stood at a past time (Unix ms), that moment included; None if unknown.

    By recorded time: what was in the books then, for ever the same answer. With `effective`, what
    is posted counts from its transfer's effective time, so a transfer recorded later may still
    change the answer. Costs two index descents and at most 64 rows, however long the history is.
    """
    found = (await store.accounts(reader, [account])).get(account)
    if found is None:
        return None
    then = await history.totals_at(reader, account, at_ms)
    taken, given = await history.shifted(reader, account, at_ms) if effective else (0, 0)
    return replace(
        found,
        version=then["version"],
        debits_pending=then["debits_pending"],
        debits_posted=then["debits_posted"] + taken,
        credits_pending=then["credits_pending"],
        credits_posted=then["credits_posted"] + given,
        moved_at=then["moved_at"],
    )


async def accounts_of(reader: Reader, owner: UUID) -> list[Account]:
    return await store.accounts_of(reader, str(owner))


async def statement(
    reader: Reader, account: UUID, *, before: int | None, limit: int
) -> list[StatementLine]:
    """Lines that changed what is posted, newest first, older than version `before`."""
    found = await store.accounts(reader, [account])
    if account not in found:
        return []
    sign = 1 if found[account].side == "credit" else -1
    rows = await history.lines(reader, account, before=before, limit=limit)
    return [
        StatementLine(
            version=row["version"],
            transfer=row["transfer"],
            change=sign
            * (
                row["credits_posted"]
                - row["previous_credits"]
                - row["debits_posted"]
                + row["previous_debits"]
            ),
            balance=sign * (row["credits_posted"] - row["debits_posted"]),
            code=row["code"],
            reference=row["reference"],
            counterparty=row["credit"] if row["debit"] == account else row["debit"],
            recorded_at=row["recorded_at"],
        )
        for row in rows
    ]


async def expire_due(work: Work, limit: int = 500) -> int:
    """Give back what expired holds still keep; how many."""
    due = await store.due(work, work.now_ms, limit)
    outcomes = await post(
        work,
        [
            Transfer(id=derived("expire", hold), mode=Mode.EXPIRE, pending_id=hold, code="expire")
            for hold in due
        ],
    )
    return sum(outcome.ok for outcome in outcomes)
