"""The ledger's decisions: transfers one by one over balances that the earlier ones left. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from uuid import UUID

from server_core.ledger.model import (
    MAX_TOTAL,
    Account,
    Hold,
    Mode,
    Outcome,
    Result,
    Side,
    Transfer,
)

_V = TypeVar("_V")
RESOLVING: Final = frozenset({Mode.POST, Mode.VOID, Mode.EXPIRE})
UNBOUND: Final = frozenset({Result.AMOUNT_MUST_BE_POSITIVE, Result.LINKED_CHAIN_OPEN})
"""Mistakes in how a transfer was asked for: nothing was decided, so the id stays free."""

_ALREADY: Final = {
    Mode.POST: Result.PENDING_TRANSFER_ALREADY_POSTED,
    Mode.VOID: Result.PENDING_TRANSFER_ALREADY_VOIDED,
    Mode.EXPIRE: Result.PENDING_TRANSFER_EXPIRED,
}


@dataclass(slots=True)
class Totals:
    """An account's running totals while a batch is decided."""

    account: Account
    version: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int

    @classmethod
    def of(cls, account: Account) -> "Totals":
        return cls(
            account, account.version, account.debits_pending, account.debits_posted,
            account.credits_pending, account.credits_posted,
        )  # fmt: skip

    def copy(self) -> "Totals":
        return Totals(
            self.account, self.version, self.debits_pending, self.debits_posted,
            self.credits_pending, self.credits_posted,
        )  # fmt: skip


@dataclass(slots=True)
class Known:
    """What the ledger knows of the ids in a batch, read under the accounts' locks."""

    accounts: dict[UUID, Account]
    transfers: dict[UUID, tuple[Transfer, Result]] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Line:
    """An entry to be written: the account's totals right after the transfer."""

    transfer: UUID
    account: UUID
    version: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


@dataclass(slots=True)
class Decision:
    """What a batch writes: new transfers with their result, entries, and final totals."""

    outcomes: list[Outcome] = field(default_factory=list)
    transfers: list[tuple[Transfer, Result]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    totals: dict[UUID, Totals] = field(default_factory=dict)


def decide(transfers: Sequence[Transfer], known: Known, now_ms: int) -> Decision:
    """Decide a batch in order. Nothing is raised: a refusal is an outcome."""
    state = _Book(known, now_ms)
    for chain in chains(transfers):
        state.chain(chain)
    return state.decision


def chains(transfers: Sequence[Transfer]) -> Iterable[Sequence[Transfer]]:
    """Cut a batch into its chains; an unlinked transfer is a chain of one."""
    start = 0
    for index, transfer in enumerate(transfers):
        if not transfer.linked:
            yield transfers[start : index + 1]
            start = index + 1
    if start < len(transfers):
        yield transfers[start:]


@dataclass(slots=True, frozen=True)
class _Undo:
    """What a chain may touch, as it was before: so that all of it can be taken back."""

    holds: dict[UUID, Hold | None]
    transfers: dict[UUID, tuple[Transfer, Result] | None]
    totals: dict[UUID, Totals | None]

    @classmethod
    def before(
        cls,
        chain: Sequence[Transfer],
        holds: dict[UUID, Hold],
        transfers: dict[UUID, tuple[Transfer, Result]],
        totals: dict[UUID, Totals],
    ) -> "_Undo":
        ids = {one.id for one in chain} | {one.pending_id for one in chain if one.pending_id}
        movers = [*chain, *(holds[key].transfer for key in ids if key in holds)]
        accounts = {side for one in movers for side in (one.debit, one.credit) if side}
        return cls(
            {key: holds.get(key) for key in ids},
            {key: transfers.get(key) for key in ids},
            {key: totals[key].copy() if key in totals else None for key in accounts},
        )

    def restore(
        self,
        holds: dict[UUID, Hold],
        transfers: dict[UUID, tuple[Transfer, Result]],
        totals: dict[UUID, Totals],
    ) -> None:
        _put_back(self.holds, holds)
        _put_back(self.transfers, transfers)
        _put_back(self.totals, totals)


def _put_back(saved: dict[UUID, _V | None], state: dict[UUID, _V]) -> None:
    for key, value in saved.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


class _Book:
    """The balances and ids as they stand while a batch is decided."""

    __slots__ = ("_holds", "_known", "_now", "_transfers", "decision")

    def __init__(self, known: Known, now_ms: int) -> None:
        self._known, self._now = known, now_ms
        self._transfers = dict(known.transfers)
        self._holds = dict(known.holds)
        self.decision = Decision()

    def chain(self, chain: Sequence[Transfer]) -> None:
        if len(chain) == 1 and not chain[0].linked:
            self._one(chain[0])
            return
        decision = self.decision
        marks = len(decision.transfers), len(decision.lines), len(decision.outcomes)
        undo = _Undo.before(chain, self._holds, self._transfers, decision.totals)
        open_ended = chain[-1].linked
        for transfer in chain:
            self._one(transfer)
        outcomes = decision.outcomes[marks[2] :]
        failed = next((i for i, one in enumerate(outcomes) if not one.ok), None)
        if failed is None and not open_ended:
            return
        del (
            decision.transfers[marks[0] :],
            decision.lines[marks[1] :],
            decision.outcomes[marks[2] :],
        )
        undo.restore(self._holds, self._transfers, decision.totals)
        for index, transfer in enumerate(chain):
            if open_ended:
                self._refuse(transfer, Result.LINKED_CHAIN_OPEN)
            elif index == failed:
                first = outcomes[index]
                fresh = first.result not in {
                    Result.EXISTS_WITH_DIFFERENT_FIELDS,
                    Result.ID_ALREADY_FAILED,
                }
                self._refuse(transfer, first.result, bind=fresh, outcome=first)
            else:
                self._refuse(
                    transfer, Result.LINKED_EVENT_FAILED, bind=transfer.id not in self._transfers
                )

    def _one(self, transfer: Transfer) -> None:
        seen = self._transfers.get(transfer.id)
        if seen is not None:
            self._repeat(transfer, *seen)
            return
        result, hold = self._check(transfer)
        if result is not Result.CREATED:
            self._refuse(transfer, result)
            return
        full = transfer
        if hold is not None:
            full = replace(transfer, debit=hold.transfer.debit, credit=hold.transfer.credit)
        self._move(full, hold)
        self._transfers[transfer.id] = (full, Result.CREATED)
        self.decision.transfers.append((full, Result.CREATED))
        self.decision.outcomes.append(Outcome(id=transfer.id, result=Result.CREATED))

    def _repeat(self, transfer: Transfer, first: Transfer, result: Result) -> None:
        if not same(transfer, first):
            outcome = Outcome(id=transfer.id, result=Result.EXISTS_WITH_DIFFERENT_FIELDS)
        elif result is Result.CREATED:
            outcome = Outcome(id=transfer.id, result=Result.EXISTS)
        else:
            outcome = Outcome(id=transfer.id, result=Result.ID_ALREADY_FAILED, first_failure=result)
        self.decision.outcomes.append(outcome)

    def _refuse(
        self,
        transfer: Transfer,
        result: Result,
        *,
        bind: bool = True,
        outcome: Outcome | None = None,
    ) -> None:
        """Answer with `result` and, if `bind`, keep it as the id's outcome for ever."""
        if bind and result not in UNBOUND and 0 <= transfer.amount <= MAX_TOTAL:
            self._transfers[transfer.id] = (transfer, result)
            self.decision.transfers.append((transfer, result))
        if outcome is None:
            outcome = Outcome(id=transfer.id, result=result, available=self._available(transfer))
        self.decision.outcomes.append(outcome)

    def _available(self, transfer: Transfer) -> int | None:
        if transfer.debit is None or transfer.debit not in self._known.accounts:
            return None
        totals = self._totals(transfer.debit)
        return _position(totals) - _leaving(totals)

    def _check(self, transfer: Transfer) -> tuple[Result, Hold | None]:
        """Every check in its documented order (Result's order); CREATED when all pass."""
        hold = None
        least = 0 if transfer.mode in {Mode.VOID, Mode.EXPIRE} else 1
        most = 0 if least == 0 else MAX_TOTAL
        if not least <= transfer.amount <= most:
            return Result.AMOUNT_MUST_BE_POSITIVE, None
        if transfer.mode in RESOLVING:
            result, hold = self._check_hold(transfer)
            if result is not Result.CREATED or hold is None:
                return result, None
            debit, credit = hold.transfer.debit, hold.transfer.credit
        else:
            debit, credit = transfer.debit, transfer.credit
            if debit == credit:
                return Result.ACCOUNTS_MUST_BE_DIFFERENT, None
        accounts = self._known.accounts
        if debit not in accounts or credit not in accounts:
            return Result.ACCOUNT_NOT_FOUND, None
        taker, giver = accounts[debit], accounts[credit]
        if hold is None and not taker.ledger == giver.ledger == transfer.ledger:
            return Result.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, None
        # A hold was promised before its account was closed: it may still end, either way.
        if transfer.mode not in RESOLVING and (taker.closed or giver.closed):
            return Result.ACCOUNT_CLOSED, None
        return self._check_limits(transfer, debit, credit), hold

    def _check_hold(self, transfer: Transfer) -> tuple[Result, Hold | None]:
        hold = self._holds.get(transfer.pending_id) if transfer.pending_id else None
        if hold is None:
            return Result.PENDING_TRANSFER_NOT_FOUND, None
        if hold.transfer.mode is not Mode.PENDING:
            return Result.PENDING_TRANSFER_NOT_PENDING, None
        if hold.resolved_by is not None:
            return _ALREADY[hold.resolved_by], None
        expires = hold.transfer.expires_at
        due = expires is not None and self._now >= expires
        if transfer.mode is Mode.EXPIRE and not due:
            return Result.PENDING_TRANSFER_NOT_EXPIRED, None
        if transfer.mode is Mode.POST:
            if due:
                return Result.PENDING_TRANSFER_EXPIRED, None
            if transfer.amount > hold.remaining:
                return Result.EXCEEDS_PENDING_TRANSFER_AMOUNT, None
        return Result.CREATED, hold

    def _check_limits(self, transfer: Transfer, debit: UUID, credit: UUID) -> Result:
        if transfer.mode in RESOLVING:  # a hold was counted in full when it was made
            return Result.CREATED
        amount = transfer.amount
        taker, giver = self._totals(debit), self._totals(credit)
        if (
            taker.debits_posted + taker.debits_pending + amount > MAX_TOTAL
            or giver.credits_posted + giver.credits_pending + amount > MAX_TOTAL
        ):
            return Result.OVERFLOWS
        for totals, change in ((taker, -amount), (giver, amount)):
            account = totals.account
            falls = (change < 0) == (account.side is Side.CREDIT)
            if falls:
                left = _position(totals) - _leaving(totals) - amount
                if account.floor is not None and left < account.floor:
                    return Result.EXCEEDS_FUNDS
            elif account.cap is not None and _potential(totals) + amount > account.cap:
                return Result.EXCEEDS_CAP
        return Result.CREATED

    def _move(self, transfer: Transfer, hold: Hold | None) -> None:
        pending = posted = 0
        if transfer.mode is Mode.SINGLE:
            posted = transfer.amount
        elif transfer.mode is Mode.PENDING:
            pending = transfer.amount
            self._holds[transfer.id] = Hold(transfer=transfer, remaining=transfer.amount)
        elif hold is not None:
            posted = transfer.amount if transfer.mode is Mode.POST else 0
            remaining = hold.remaining - posted
            ends = transfer.mode is not Mode.POST or transfer.final or remaining == 0
            pending = -hold.remaining if ends else -posted
            self._holds[hold.transfer.id] = Hold(
                transfer=hold.transfer,
                remaining=0 if ends else remaining,
                resolved_by=transfer.mode if ends else None,
            )
        if transfer.debit is None or transfer.credit is None:
            raise AssertionError("a checked transfer has both accounts")
        taker, giver = self._totals(transfer.debit), self._totals(transfer.credit)
        taker.debits_pending += pending
        taker.debits_posted += posted
        giver.credits_pending += pending
        giver.credits_posted += posted
        for totals in (taker, giver):
            totals.version += 1
            self.decision.lines.append(
                Line(
                    transfer.id,
                    totals.account.id,
                    totals.version,
                    totals.debits_pending,
                    totals.debits_posted,
                    totals.credits_pending,
                    totals.credits_posted,
                )
            )

    def _totals(self, account: UUID) -> Totals:
        totals = self.decision.totals.get(account)
        if totals is None:
            totals = self.decision.totals[account] = Totals.of(self._known.accounts[account])
        return totals


def same(one: Transfer, first: Transfer) -> bool:
    """A repeat must say what the first said; a resolving transfer may leave the accounts out."""
    if one.mode in RESOLVING:
        first = replace(first, debit=one.debit, credit=one.credit, linked=one.linked)
    return replace(first, linked=one.linked) == one


def _position(totals: Totals) -> int:
    net = totals.credits_posted - totals.debits_posted
    return net if totals.account.side is Side.CREDIT else -net


def _leaving(totals: Totals) -> int:
    if totals.account.side is Side.CREDIT:
        return totals.debits_pending
    return totals.credits_pending


def _potential(totals: Totals) -> int:
    credit = totals.account.side is Side.CREDIT
    return _position(totals) + (totals.credits_pending if credit else totals.debits_pending)
