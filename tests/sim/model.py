"""What the ledger promises, written a second time: every question is answered from all that moved.

Nothing here is shared with the ledger's own rules: a total is summed anew from the moves each time it
is asked for, what a hold keeps is its amount less its posts, a chain is tried on a copy of the book.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from server_core.ledger.model import MAX_TOTAL, Account, Mode, Result, Side, Transfer

ENDS = (Mode.POST, Mode.VOID, Mode.EXPIRE)
FREE = (Result.AMOUNT_MUST_BE_POSITIVE, Result.LINKED_CHAIN_OPEN)
"""Answers that leave the id free: the question itself was wrong."""

_ALREADY = {
    Mode.POST: Result.PENDING_TRANSFER_ALREADY_POSTED,
    Mode.VOID: Result.PENDING_TRANSFER_ALREADY_VOIDED,
    Mode.EXPIRE: Result.PENDING_TRANSFER_EXPIRED,
}


class Totals(Struct, frozen=True):
    """One account as it stands: how often it moved, and its four sums."""

    version: int = 0
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0


class Move(Struct, frozen=True):
    """An accepted transfer with the accounts that it really moved, and both right after it."""

    transfer: Transfer
    debit: object
    credit: object
    at: int
    after: tuple[Totals, Totals]

    @property
    def counts_from(self) -> int:
        when = self.transfer.effective_at
        return self.at if when is None else when


class Answer(Struct, frozen=True):
    """What the ledger must say to one transfer."""

    result: Result
    first_failure: Result | None = None
    available: int | None = None

    @property
    def ok(self) -> bool:
        return self.result in (Result.CREATED, Result.EXISTS)


class Book:
    """The accounts' terms, what each id was answered with for ever, and the moves in order."""

    def __init__(self, opened: Iterable[Account] = ()) -> None:
        self.terms = {one.id: one for one in opened}
        self.bound: dict[object, tuple[Transfer, Result, int]] = {}
        self.moves: list[Move] = []
        self.unseen: set[object] = set()
        """Holds of others that the batch being asked could not see yet."""
        self._of_account: dict[object, list[Move]] = {}
        self._of_hold: dict[object, list[Move]] = {}

    def copy(self) -> "Book":
        twin = Book()
        twin.terms, twin.bound, twin.moves = dict(self.terms), dict(self.bound), list(self.moves)
        twin._of_account = {key: list(some) for key, some in self._of_account.items()}
        twin.unseen = self.unseen
        twin._of_hold = {key: list(some) for key, some in self._of_hold.items()}
        return twin

    def become(self, twin: "Book") -> None:
        self.__dict__.update(twin.__dict__)

    # -- what stands ------------------------------------------------------------------------------

    def totals(self, account: object) -> Totals:
        mine = self._of_account.get(account, [])
        left, right = ([m for m in mine if getattr(m, side) == account] for side in _SIDES)
        return Totals(
            len(mine),
            sum(self.remaining(m.transfer.id) for m in left if m.transfer.mode is Mode.PENDING),
            sum(m.transfer.amount for m in left if m.transfer.mode in _PAYS),
            sum(self.remaining(m.transfer.id) for m in right if m.transfer.mode is Mode.PENDING),
            sum(m.transfer.amount for m in right if m.transfer.mode in _PAYS),
        )

    def available(self, account: object, at: Totals | None = None) -> int | None:
        """What may leave: nothing that is only on its way in, all that is on its way out."""
        if account not in self.terms:
            return None
        t = at or self.totals(account)
        if self.terms[account].side is Side.CREDIT:
            return t.credits_posted - t.debits_posted - t.debits_pending
        return t.debits_posted - t.credits_posted - t.credits_pending

    def potential(self, account: object, at: Totals | None = None) -> int:
        """What it would hold if all that is on its way in came in."""
        t = at or self.totals(account)
        if self.terms[account].side is Side.CREDIT:
            return t.credits_posted + t.credits_pending - t.debits_posted
        return t.debits_posted + t.debits_pending - t.credits_posted

    def then(self, account: object, at: int, *, effective: bool) -> Totals:
        """The account at a past moment: as recorded by then, or what is posted as effective by then."""
        mine = self._of_account.get(account, [])
        past = [move for move in mine if move.at <= at]
        found = past[-1].after[past[-1].debit != account] if past else Totals()
        if effective:
            paid = [m.transfer for m in mine if m.transfer.mode in _PAYS and m.counts_from <= at]
            sums = [sum(t.amount for t in paid if getattr(t, s) == account) for s in _SIDES]
            found = replace(found, debits_posted=sums[0], credits_posted=sums[1])
        return found

    def ended(self, hold: object) -> Mode | None:
        """What resolved a hold; a post that leaves nothing resolves it too."""
        for move in self._of_hold.get(hold, []):
            if move.transfer.mode is not Mode.POST or move.transfer.final:
                return move.transfer.mode
        return Mode.POST if self._unposted(hold) == 0 else None

    def remaining(self, hold: object) -> int:
        return 0 if self.ended(hold) else self._unposted(hold)

    def _unposted(self, hold: object) -> int:
        posts = (m for m in self._of_hold.get(hold, []) if m.transfer.mode is Mode.POST)
        return self.bound[hold][0].amount - sum(m.transfer.amount for m in posts)

    def open_holds(self) -> list[Transfer]:
        return [one for one in self._held() if self.ended(one.id) is None]

    def ended_holds(self) -> list[Transfer]:
        return [one for one in self._held() if self.ended(one.id) is not None]

    def _held(self) -> Iterator[Transfer]:
        return (m.transfer for m in self.moves if m.transfer.mode is Mode.PENDING)

    def due(self, now: int) -> list[Transfer]:
        """Open holds whose time has come, the oldest first."""
        some = [h for h in self.open_holds() if h.expires_at is not None and now >= h.expires_at]
        return sorted(some, key=lambda hold: hold.expires_at or 0)

    # -- what is asked ----------------------------------------------------------------------------

    def ask(self, batch: Sequence[Transfer], now: int) -> list[Answer]:
        """Answer a batch in order; a chain is one question."""
        chains: list[list[Transfer]] = [[]]
        for one in batch:
            chains[-1].append(one)
            if not one.linked:
                chains.append([])
        answers: list[Answer] = []
        for chain in filter(None, chains):
            alone = len(chain) == 1 and not chain[0].linked
            answers += [self._one(chain[0], now)] if alone else self._chain(chain, now)
        return answers

    def limit(self, account: object, *, floor: int | None, cap: int | None, closed: bool) -> None:
        self.terms[account] = replace(self.terms[account], floor=floor, cap=cap, closed=closed)

    def _chain(self, chain: Sequence[Transfer], now: int) -> list[Answer]:
        if chain[-1].linked:
            return [
                Answer(Result.LINKED_CHAIN_OPEN, None, self.available(one.debit)) for one in chain
            ]
        trial = self.copy()
        answers = [trial._one(one, now) for one in chain]
        bad = next((i for i, answer in enumerate(answers) if not answer.ok), None)
        if bad is None:
            self.become(trial)
            return answers
        told = {one.id for one in chain if one.id in self.bound}
        for i, one in enumerate(chain):
            if i != bad and one.id in told:
                answers[i] = self._again(one)
                continue
            if i != bad:
                answers[i] = Answer(Result.LINKED_EVENT_FAILED, None, self.available(one.debit))
            if answers[bad].result not in FREE:
                self._bind(one, answers[i].result, now)
        return answers

    def _one(self, asked: Transfer, now: int) -> Answer:
        if asked.id in self.bound:
            return self._again(asked)
        reasons = self._ending(asked, now) if asked.mode in ENDS else self._moving(asked)
        result = next((result for holds, result in reasons if holds), None)
        if result is None:
            self._accept(asked, now)
            return Answer(Result.CREATED)
        self._bind(asked, result, now)
        return Answer(result, None, self.available(asked.debit))

    def _again(self, asked: Transfer) -> Answer:
        first, result, _ = self.bound[asked.id]
        told = [getattr(asked, name) == getattr(first, name) for name in _SAID]
        if asked.mode not in ENDS:
            told += [getattr(asked, name) == getattr(first, name) for name in _PLACE]
        if not all(told):
            return Answer(Result.EXISTS_WITH_DIFFERENT_FIELDS)
        if result is Result.CREATED:
            return Answer(Result.EXISTS)
        return Answer(Result.ID_ALREADY_FAILED, result)

    def _bind(self, asked: Transfer, result: Result, now: int) -> None:
        """The first answer is the id's answer; what no row could hold is not kept."""
        if result not in FREE and 0 <= asked.amount <= MAX_TOTAL and asked.id not in self.bound:
            self.bound[asked.id] = (asked, result, now)

    # -- why not, in the documented order ---------------------------------------------------------

    def _moving(self, t: Transfer) -> Iterator[tuple[bool, Result]]:
        yield not 1 <= t.amount <= MAX_TOTAL, Result.AMOUNT_MUST_BE_POSITIVE
        yield t.debit == t.credit, Result.ACCOUNTS_MUST_BE_DIFFERENT
        yield not {t.debit, t.credit} <= self.terms.keys(), Result.ACCOUNT_NOT_FOUND
        both = self.terms[t.debit], self.terms[t.credit]
        ledgers = {t.ledger, both[0].ledger, both[1].ledger}
        yield len(ledgers) > 1, Result.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
        yield both[0].closed or both[1].closed, Result.ACCOUNT_CLOSED
        before = self.totals(t.debit), self.totals(t.credit)
        kind = "pending" if t.mode is Mode.PENDING else "posted"
        after = _plus(before[0], f"debits_{kind}", t), _plus(before[1], f"credits_{kind}", t)
        debits = after[0].debits_pending + after[0].debits_posted
        credits_ = after[1].credits_pending + after[1].credits_posted
        yield max(debits, credits_) > MAX_TOTAL, Result.OVERFLOWS
        pairs = list(zip((t.debit, t.credit), before, after, strict=True))
        yield any(self._under(*pair) for pair in pairs), Result.EXCEEDS_FUNDS
        yield any(self._over(*pair) for pair in pairs), Result.EXCEEDS_CAP

    def _under(self, account: object, before: Totals, after: Totals) -> bool:
        floor, left = self.terms[account].floor, self.available(account, after)
        return floor is not None and left < min(floor, self.available(account, before))

    def _over(self, account: object, before: Totals, after: Totals) -> bool:
        cap, most = self.terms[account].cap, self.potential(account, after)
        return cap is not None and most > max(cap, self.potential(account, before))

    def _ending(self, t: Transfer, now: int) -> Iterator[tuple[bool, Result]]:
        wanted = range(1, MAX_TOTAL + 1) if t.mode is Mode.POST else range(1)
        yield t.amount not in wanted, Result.AMOUNT_MUST_BE_POSITIVE
        first = None if t.pending_id in self.unseen else self.bound.get(t.pending_id)
        yield first is None or first[1] is not Result.CREATED, Result.PENDING_TRANSFER_NOT_FOUND
        hold = first[0]
        yield hold.mode is not Mode.PENDING, Result.PENDING_TRANSFER_NOT_PENDING
        ended = self.ended(hold.id)
        yield ended is not None, _ALREADY.get(ended, Result.CREATED)
        at = self._when(hold, now)
        over = hold.expires_at is not None and at >= hold.expires_at
        yield t.mode is not Mode.EXPIRE and over, Result.PENDING_TRANSFER_EXPIRED
        yield t.mode is Mode.EXPIRE and not over, Result.PENDING_TRANSFER_NOT_EXPIRED
        yield t.amount > self.remaining(hold.id), Result.EXCEEDS_PENDING_TRANSFER_AMOUNT

    def _accept(self, asked: Transfer, now: int) -> None:
        whose = self.bound[asked.pending_id][0] if asked.mode in ENDS else asked
        full = replace(asked, debit=whose.debit, credit=whose.credit, ledger=whose.ledger)
        at = self._when(whose, now)
        self.bound[asked.id] = (full, Result.CREATED, at)
        move = Move(full, full.debit, full.credit, at, (Totals(), Totals()))
        self._note(move)
        after = self.totals(full.debit), self.totals(full.credit)
        self._note(replace(move, after=after), instead=True)

    def moved_at(self, account: object) -> int:
        return max((move.at for move in self._of_account.get(account, [])), default=0)

    def _when(self, transfer: Transfer, now: int) -> int:
        """A clock that steps back does not take an account's history with it."""
        return max(now, self.moved_at(transfer.debit), self.moved_at(transfer.credit))

    def _note(self, move: Move, *, instead: bool = False) -> None:
        lists = [
            self.moves,
            *(self._of_account.setdefault(a, []) for a in (move.debit, move.credit)),
        ]
        if move.transfer.mode in ENDS:
            lists.append(self._of_hold.setdefault(move.transfer.pending_id, []))
        for some in lists:
            if instead:
                some.pop()
            some.append(move)


_SIDES = ("debit", "credit")
_PAYS = (Mode.SINGLE, Mode.POST)
_PLACE = ("debit", "credit", "ledger")
_SAID = (
    "mode", "amount", "code", "reference", "pending_id", "final", "expires_at",
    "effective_at",
)  # fmt: skip
"""What a repeat must say again; `linked` is about the batch, not about the transfer."""


def _plus(totals: Totals, name: str, transfer: Transfer) -> Totals:
    return replace(totals, **{name: getattr(totals, name) + transfer.amount})
