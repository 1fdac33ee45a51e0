"""What a world does next: thrown from the seed, and leaning to the edges of what the book allows."""

from collections.abc import Iterator
from uuid import UUID

from msgspec.structs import replace

from server_core.ids import derived
from server_core.ledger import service
from server_core.ledger.model import MAX_TOTAL, Account, Code, Mode, Transfer
from tests.sim.dice import Dice
from tests.sim.model import ENDS, Book
from tests.sim.steps import AT_ONCE, KINDS, Limits, Step, expiries

BEGINS_MS = 1_790_000_000_000
LEDGERS = {"INR": 2, "JPY": 0, "BHD": 3}
"""Three currencies with their decimals; money is whole minor units in all of them."""


class Plan:
    """One seed's world: its accounts, and its steps one after the other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.names: dict[object, str] = {}
        self.asked: list[Transfer] = []
        dice = Dice(seed, "world")
        self._huge = dice.chance(4)
        self._now = BEGINS_MS
        self._expiries: set[int] = set()
        self._weights = {kind: weight * dice.pick((0, 1, 1, 3)) for kind, weight in KINDS.items()}
        self._weights["post"] = KINDS["post"]
        self.accounts = list(self._open(dice))

    def _open(self, dice: Dice) -> Iterator[Account]:
        for ledger in LEDGERS:
            kinds = [Code.WALLET, Code.WALLET, Code.CLEARING]
            if ledger == "INR":
                kinds += [Code.WALLET, Code.PAYABLE, Code.NOSTRO]
            for place, code in enumerate(kinds):
                one = service.account(code, f"{self.seed}.{place}", ledger)
                if dice.chance(3):
                    one = replace(one, floor=dice.pick((None, 0, -50, 10)))
                if dice.chance(3):
                    one = replace(one, cap=dice.pick((500, 1_000, MAX_TOTAL)))
                self.names[one.id] = f"{ledger}.{code.value}{place}"
                yield one

    def step(self, number: int, book: Book) -> Step:
        """Step `number` on the book as it stands; step 0 brings money in."""
        dice = Dice(self.seed, number)
        kind = dice.weighted(self._weights) if number else "post"
        self._move_clock(dice, book, to_edge=2 if kind == "tick" else 5)
        step = Step(kind, self._now, dice=dice)
        if kind == "limits":
            step.limits = self._limits(dice, book)
        elif kind != "tick":
            maker = _Maker(self, dice, book.copy(), f"{self.seed}.{number}", kind in AT_ONCE)
            if number == 0:
                step.groups = [maker.funding()]
            elif kind in {"queue", "poisoned"}:
                step.groups = [maker.batch(2, closed=True) for _ in range(dice.between(2, 8))]
            elif kind in {"race", "twice"}:
                step.groups = [maker.batch(3) for _ in range(dice.between(2, 3))]
            else:
                step.groups = [maker.batch(8)]
            due = book.due(step.now) if kind == "race" else []
            if due and dice.chance(2):
                step.groups.append(expiries(due))
            if kind == "twice" and dice.chance(2):
                step.limits = self._limits(dice, book, sound=True)
            self.asked += [one for group in step.groups for one in group]
        return step

    def _move_clock(self, dice: Dice, book: Book, *, to_edge: int) -> None:
        """Mostly on; to the very edge of an expiry; now and then back, as a time server does."""
        due = [h.expires_at for h in book.open_holds() if h.expires_at and h.expires_at > self._now]
        if due and dice.chance(to_edge):
            self._now = min(due) + dice.pick((-1, 0, 0, 1))
        elif dice.chance(12):
            self._now -= dice.pick((1, 3, 40))
        else:
            self._now += dice.pick((0, 0, 1, 5, 200))

    def expiry(self, dice: Dice) -> int | None:
        """Each its own, so that the order in which they come due is known."""
        if dice.chance(3):
            return None
        at = self._now + dice.pick((-1, 0, 1, 5, 50, 200, 1_000))
        while at in self._expiries:
            at += 1
        self._expiries.add(at)
        return at

    def amount(self, dice: Dice, book: Book, debit: UUID, credit: UUID) -> int:
        kind = dice.weighted({"small": 9, "edge": 6, "huge": 3 if self._huge else 0, "wrong": 1})
        if kind == "small":
            return dice.between(1, 200)
        if kind == "wrong":
            return dice.pick((0, -1, -(2**63), 2**63, 2**70))
        if kind == "huge":
            return dice.pick((MAX_TOTAL, MAX_TOTAL - 1, 2**62, 2**62 + 1))
        edges = [1, 2]
        for account, side in ((debit, "debits"), (credit, "credits")):
            terms, totals = book.terms[account], book.totals(account)
            if terms.floor is not None:
                edges.append((book.available(account) or 0) - terms.floor)
            if terms.cap is not None:
                edges.append(terms.cap - book.potential(account))
            room = (
                MAX_TOTAL - getattr(totals, f"{side}_pending") - getattr(totals, f"{side}_posted")
            )
            if room < MAX_TOTAL // 2 or self._huge:
                edges.append(room)
        return dice.pick(edges) + dice.pick((0, 0, 1, -1))

    def _limits(self, dice: Dice, book: Book, *, sound: bool = False) -> Limits:
        shut = [key for key, terms in book.terms.items() if terms.closed]
        key = dice.pick(shut) if shut and dice.chance(2) else dice.pick(list(book.terms))
        left, most = book.available(key) or 0, book.potential(key)
        floor = dice.pick((None, 0, 0, left, left + 1, left - 1))
        cap = dice.pick((None, None, most, most + 1, most - 1, 1_000))
        closed = key not in shut and dice.chance(5)
        within = (
            None if one is None else max(-MAX_TOTAL, min(MAX_TOTAL, one)) for one in (floor, cap)
        )
        limits = Limits(key, *within, closed)
        return limits if limits.sound or not sound else replace(limits, cap=None)


def _sound(one: Transfer) -> bool:
    return one.amount == 0 if one.mode in {Mode.VOID, Mode.EXPIRE} else 1 <= one.amount <= MAX_TOTAL


class _Maker:
    """Makes the batches of one step on a copy of the book, so that each stands on the one before."""

    def __init__(self, plan: Plan, dice: Dice, book: Book, name: str, apart: bool) -> None:
        self._plan, self._dice, self._book, self._name = plan, dice, book, name
        self._stood = book.copy()
        self._made = 0
        self._apart = apart
        self._sent: list[Transfer] = []

    def funding(self) -> list[Transfer]:
        accounts = self._plan.accounts
        return [
            self._new(
                debit=next(
                    a.id for a in accounts if a.code is Code.CLEARING and a.ledger == to.ledger
                ),
                credit=to.id,
                ledger=to.ledger,
                amount=self._dice.pick((100, 450, 1_000)),
            )
            for to in accounts
            if to.code is Code.WALLET
        ]

    def batch(self, most: int, *, closed: bool = False) -> list[Transfer]:
        """1 to `most` transfers, some chained; `closed` never ends inside a chain."""
        made = []
        chained = self._dice.chance(3)
        for _ in range(self._dice.between(1, most)):
            one = replace(self._one(), linked=chained and not self._dice.chance(3))
            made.append(one)
            self._sent.append(one)
            self._book.ask([replace(one, linked=False)], self._plan._now)
        if made[-1].linked and (closed or not self._dice.chance(6)):
            made[-1] = replace(made[-1], linked=False)
        return made

    def _new(self, **more: object) -> Transfer:
        self._made += 1
        key = derived("sim", self._name, self._made)
        self._plan.names[key] = f"t{self._name.partition('.')[2]}.{self._made}"
        return Transfer(id=key, **more)

    def _one(self) -> Transfer:
        repeated = self._repeat()
        if repeated is not None:
            return repeated
        holds = self._book.open_holds()
        if holds and self._dice.chance(3):
            return self._end(self._dice.pick(holds).id)
        ended = self._stood.ended_holds()
        if ended and self._dice.chance(15):
            return self._end(self._dice.pick(ended).id)
        if self._book.bound and self._dice.chance(12):
            return self._end(self._dice.pick([*self._book.bound, derived("sim", "nothing")]))
        return self._move()

    def _repeat(self) -> Transfer | None:
        """Now and then an earlier transfer; of this very step too, when its batches run at once.

        What is asked for wrongly writes nothing, so no key stops it when a peer takes its id at the
        same moment: it may answer from before its peer. So at once only sound repeats are sent.
        """
        among = self._sent if self._apart and self._dice.chance(2) else self._plan.asked
        if not among or not self._dice.chance(8):
            return None
        first = self._dice.pick(among)
        again = self._again(first)
        return again if not self._apart or (_sound(first) and _sound(again)) else None

    def _move(self) -> Transfer:
        accounts = self._plan.accounts
        debit = self._dice.pick(accounts)
        peers = [a for a in accounts if a.ledger == debit.ledger and a.id != debit.id]
        credit = self._dice.pick(accounts if self._dice.chance(25) else peers)
        amount = self._plan.amount(self._dice, self._book, debit.id, credit.id)
        gone = derived("sim", "nobody") if self._dice.chance(40) else None
        hold = self._dice.chance(3)
        return self._new(
            mode=Mode.PENDING if hold else Mode.SINGLE,
            debit=debit.id,
            credit=gone or credit.id,
            ledger=debit.ledger,
            amount=amount,
            code=self._dice.pick(("", "fee")),
            expires_at=self._plan.expiry(self._dice) if hold else None,
            effective_at=self._effective(),
        )

    def _effective(self) -> int | None:
        past = self._plan._now + self._dice.pick((-500, -7, 0, 30))
        return past if self._dice.chance(8) else None

    def _end(self, hold: UUID) -> Transfer:
        mode = self._dice.weighted({Mode.POST: 6, Mode.VOID: 2, Mode.EXPIRE: 2})
        first = self._book.bound.get(hold)
        rest = self._book.remaining(hold) if first else 0
        amount = self._dice.pick((rest, rest, rest + 1, 1, rest - 1, rest // 2, 2))
        return self._new(
            mode=mode,
            pending_id=hold,
            ledger=first[0].ledger if first else "INR",
            amount=amount if mode is Mode.POST else int(self._dice.chance(20)),
            final=self._dice.chance(2),
            effective_at=self._effective(),
            debit=self._dice.pick(self._plan.accounts).id if self._dice.chance(15) else None,
        )

    def _again(self, first: Transfer) -> Transfer:
        """A repeat, two times in three as it was; else one field says something else."""
        if not self._dice.chance(3):
            return first
        other = self._dice.pick([account.id for account in self._plan.accounts])
        changes: list[dict[str, object]] = [
            {"amount": first.amount + 1}, {"code": "other"}, {"reference": "other"},
            {"final": not first.final}, {"expires_at": (first.expires_at or 0) + 1},
            {"effective_at": 5}, {"credit": other}, {"debit": other}, {"ledger": "XAU"},
        ]  # fmt: skip
        if first.mode in ENDS:
            changes += [{"pending_id": derived("sim", "nothing")}]
        return replace(first, **self._dice.pick(changes))
