"""The ledger's decisions: transfers one by one over balances that the earlier ones left. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from server_core.ledger.model import (
    MAX_TOTAL,
    Decision,
    Hold,
    Known,
    Line,
    Made,
    Mode,
    Outcome,
    Result,
    Standing,
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


class _Move(NamedTuple):
    """A transfer that passed every check: its accounts, its hold, and its recorded time."""

    taker: Standing
    giver: Standing
    hold: Hold | None
    at: int


def decide(transfers: Sequence[Transfer], known: Known, now_ms: int) -> Decision:
    """Decide a batch in order. Nothing is raised: a refusal is an outcome."""
    state = _Book(known, now_ms)
    for chain in chains(transfers):
        state.chain(chain)
    return state.close()


def chains(transfers: Sequence[Transfer]) -> Iterable[Sequence[Transfer]]:
    """Cut a batch into its chains; an unlinked transfer is a chain of one."""
    start = 0
    for index, transfer in enumerate(transfers):
        if not transfer.linked:
            yield transfers[start : index + 1]
            start = index + 1
    if start < len(transfers):
        yield transfers[start:]


class _Undo(Struct, frozen=True):
    """What a chain may touch, as it was before: so that all of it can be taken back."""

    holds: dict[UUID, Hold | None]
    transfers: dict[UUID, tuple[Transfer, Result] | None]
    accounts: dict[UUID, Standing | None]

    @classmethod
    def before(cls, chain: Sequence[Transfer], known: Known) -> "_Undo":
        ids = {one.id for one in chain} | {one.pending_id for one in chain if one.pending_id}
        movers = [*chain, *(known.holds[key].transfer for key in ids if key in known.holds)]
        sides = {side for one in movers for side in (one.debit, one.credit) if side}
        return cls(
            {key: known.holds.get(key) for key in ids},
            {key: known.transfers.get(key) for key in ids},
            {key: replace(known.accounts[key]) for key in sides if key in known.accounts},
        )

    def restore(self, known: Known) -> None:
        _put_back(self.holds, known.holds)
        _put_back(self.transfers, known.transfers)
        _put_back(self.accounts, known.accounts)


def _put_back(saved: Mapping[UUID, _V | None], state: dict[UUID, _V]) -> None:
    for key, value in saved.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


class _Book:
    """The balances and ids as they stand while a batch is decided; `known` is its own to change."""

    __slots__ = ("_decision", "_known", "_now")

    def __init__(self, known: Known, now_ms: int) -> None:
        self._known, self._now = known, now_ms
        self._decision = Decision()

    def close(self) -> Decision:
        decision = self._decision
        decision.last = [False] * len(decision.lines)
        for account in self._known.accounts.values():
            if account.line >= 0:
                decision.last[account.line] = True
        return decision

    def chain(self, chain: Sequence[Transfer]) -> None:
        if len(chain) == 1 and not chain[0].linked:
            self._one(chain[0])
            return
        decision = self._decision
        marks = len(decision.transfers), len(decision.lines), len(decision.outcomes)
        undo = _Undo.before(chain, self._known)
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
        undo.restore(self._known)
        told = frozenset(one.id for one in chain if one.id in self._known.transfers)
        # What no row can hold is mended and sent again under the same ids: it binds nobody.
        binds = failed is not None and outcomes[failed].result not in UNBOUND
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
            elif transfer.id in told:
                self._repeat(transfer, *self._known.transfers[transfer.id])
            else:
                fresh = binds and transfer.id not in self._known.transfers
                self._refuse(transfer, Result.LINKED_EVENT_FAILED, bind=fresh)

    def _one(self, transfer: Transfer) -> None:
        seen = self._known.transfers.get(transfer.id)
        if seen is not None:
            self._repeat(transfer, *seen)
            return
        checked = self._check(transfer)
        if isinstance(checked, _Move):
            self._move(transfer, checked)
        else:
            self._refuse(transfer, checked)

    def _repeat(self, transfer: Transfer, first: Transfer, result: Result) -> None:
        if not same(transfer, first):
            outcome = Outcome(id=transfer.id, result=Result.EXISTS_WITH_DIFFERENT_FIELDS)
        elif result is Result.CREATED:
            outcome = Outcome(id=transfer.id, result=Result.EXISTS)
        else:
            outcome = Outcome(id=transfer.id, result=Result.ID_ALREADY_FAILED, first_failure=result)
        self._decision.outcomes.append(outcome)

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
            self._known.transfers[transfer.id] = (transfer, result)
            self._decision.transfers.append(Made(transfer, result, None, None, self._now))
        if outcome is None:
            taker = self._known.accounts.get(transfer.debit) if transfer.debit else None
            outcome = Outcome(
                id=transfer.id, result=result, available=taker.available if taker else None
            )
        self._decision.outcomes.append(outcome)

    def _check(self, transfer: Transfer) -> _Move | Result:
        """Every check in its documented order (Result's order)."""
        amount, mode = transfer.amount, transfer.mode
        if mode in RESOLVING:
            whole = mode is not Mode.POST
            if not (amount == 0 if whole else 0 < amount <= MAX_TOTAL):
                return Result.AMOUNT_MUST_BE_POSITIVE
            return self._check_hold(transfer)
        if not 0 < amount <= MAX_TOTAL:
            return Result.AMOUNT_MUST_BE_POSITIVE
        debit, credit = transfer.debit, transfer.credit
        if debit == credit:
            return Result.ACCOUNTS_MUST_BE_DIFFERENT
        accounts = self._known.accounts
        taker = accounts.get(debit) if debit else None
        giver = accounts.get(credit) if credit else None
        if taker is None or giver is None:
            return Result.ACCOUNT_NOT_FOUND
        if not taker.ledger == giver.ledger == transfer.ledger:
            return Result.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
        if taker.closed or giver.closed:
            return Result.ACCOUNT_CLOSED
        refusal = _check_limits(taker, giver, amount)
        if refusal is not None:
            return refusal
        return _Move(taker, giver, None, max(self._now, taker.moved_at, giver.moved_at))

    def _check_hold(self, transfer: Transfer) -> _Move | Result:
        """A hold was promised, and counted in full, when it was made: it may end, either way.

        So neither a closed account nor a floor or a cap that changed since is asked again.
        """
        hold = self._known.holds.get(transfer.pending_id) if transfer.pending_id else None
        if hold is None:
            return self._no_hold(transfer.pending_id)
        first = hold.transfer
        if first.mode is not Mode.PENDING or first.debit is None or first.credit is None:
            return Result.PENDING_TRANSFER_NOT_PENDING
        if hold.resolved_by is not None:
            return _ALREADY[hold.resolved_by]
        taker, giver = self._known.accounts[first.debit], self._known.accounts[first.credit]
        at = max(self._now, taker.moved_at, giver.moved_at)
        due = first.expires_at is not None and at >= first.expires_at
        if due != (transfer.mode is Mode.EXPIRE):
            late = Result.PENDING_TRANSFER_EXPIRED
            return late if due else Result.PENDING_TRANSFER_NOT_EXPIRED
        if transfer.amount > hold.remaining:
            return Result.EXCEEDS_PENDING_TRANSFER_AMOUNT
        return _Move(taker, giver, hold, at)

    def _no_hold(self, named: UUID | None) -> Result:
        """What is named may be a transfer of this very batch that holds nothing."""
        seen = self._known.transfers.get(named) if named else None
        if seen is not None and seen[1] is Result.CREATED:
            return Result.PENDING_TRANSFER_NOT_PENDING
        return Result.PENDING_TRANSFER_NOT_FOUND

    def _move(self, transfer: Transfer, move: _Move) -> None:
        taker, giver, hold, at = move
        pending, posted = 0, transfer.amount
        if hold is not None:
            first = hold.transfer
            transfer = replace(
                transfer, debit=first.debit, credit=first.credit, ledger=first.ledger
            )
            pending = self._resolve(transfer, hold)
        elif transfer.mode is Mode.PENDING:
            pending, posted = posted, 0
            self._known.holds[transfer.id] = Hold(transfer=transfer, remaining=pending)
        taker.debits_pending += pending
        taker.debits_posted += posted
        giver.credits_pending += pending
        giver.credits_posted += posted
        decision = self._decision
        for account in (taker, giver):
            account.version += 1
            account.moved_at = at
            account.line = len(decision.lines)
            decision.lines.append(
                Line(
                    account.id, account.version, transfer.id, account.debits_pending,
                    account.debits_posted, account.credits_pending, account.credits_posted, at,
                )
            )  # fmt: skip
        self._known.transfers[transfer.id] = (transfer, Result.CREATED)
        decision.transfers.append(Made(transfer, Result.CREATED, taker.version, giver.version, at))
        decision.outcomes.append(Outcome(transfer.id, Result.CREATED))

    def _resolve(self, transfer: Transfer, hold: Hold) -> int:
        """Take `transfer` out of its hold; by how much what is pending changes (never above 0)."""
        remaining = hold.remaining - transfer.amount
        ends = transfer.mode is not Mode.POST or transfer.final or remaining == 0
        self._known.holds[hold.transfer.id] = Hold(
            transfer=hold.transfer,
            remaining=0 if ends else remaining,
            resolved_by=transfer.mode if ends else None,
        )
        return -hold.remaining if ends else -transfer.amount


def _check_limits(taker: Standing, giver: Standing, amount: int) -> Result | None:
    """Overflow, then floors, then caps: each only on the side that the move makes worse."""
    if (
        taker.debits_posted + taker.debits_pending + amount > MAX_TOTAL
        or giver.credits_posted + giver.credits_pending + amount > MAX_TOTAL
    ):
        return Result.OVERFLOWS
    for account, falls in ((taker, taker.credit), (giver, not giver.credit)):
        if falls and account.floor is not None and account.available - amount < account.floor:
            return Result.EXCEEDS_FUNDS
    for account, rises in ((taker, not taker.credit), (giver, giver.credit)):
        if rises and account.cap is not None and account.potential + amount > account.cap:
            return Result.EXCEEDS_CAP
    return None


def same(one: Transfer, first: Transfer) -> bool:
    """A repeat must say what the first said; accounts and ledger of what ends a hold are the hold's."""
    if one.mode in RESOLVING:
        first = replace(first, debit=one.debit, credit=one.credit, ledger=one.ledger)
    return replace(first, linked=one.linked) == one
