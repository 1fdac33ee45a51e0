"""A rail in this process: it does and says what a fate tells it to, and keeps its own books of it.

It guards nothing: what it is told to give back twice under two ids, it gives back twice. Only its books
say what really moved; what it answers is another matter.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from devices.clock import ManualClock
from server_core.rails.doors import txn_id
from server_core.rails.model import LinkPayment, Outcome, RailAnswer, RailOrder, RailRefund
from tests.sim.dice import Dice

FOR_EVER: Final = 10**6
WAITED: Final = 2_000
"""Turns that an answer waits to come after the one to a question about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one debit. `says` None is the truth; `moves` whether it is debited at all.

    The first `asks` questions are answered `unknown`, and as many reversals as `slow` says. `crash`
    kills who asked, before or after the money moved. `after` is what the rail does once all seems over.
    """

    says: Outcome | None = None
    moves: bool = True
    end: Outcome = Outcome.DECLINED
    asks: int = 0
    slow: int = 0
    crash: str = ""
    after: str = ""


FATES: Final[Mapping[str, tuple[int, Fate]]] = {
    "ok": (640, Fate()),
    "declined": (80, Fate(moves=False)),
    "late after a decline": (20, Fate(says=Outcome.DECLINED, moves=False, after="debit")),
    "not sent": (40, Fate(says=Outcome.NOT_SENT, moves=False, end=Outcome.NOT_FOUND)),
    "not sent, and debited": (15, Fate(says=Outcome.NOT_SENT, after="callback")),
    "not sent, debited in silence": (10, Fate(says=Outcome.NOT_SENT)),
    "unknown, then paid": (60, Fate(says=Outcome.UNKNOWN, asks=2)),
    "asked about during the call": (15, Fate(says=Outcome.UNKNOWN, after="calls at once")),
    "unknown, then declined": (25, Fate(says=Outcome.UNKNOWN, moves=False, asks=1)),
    "unknown, never taken": (
        15, Fate(says=Outcome.UNKNOWN, moves=False, end=Outcome.NOT_FOUND),
    ),
    "unknown, given back": (15, Fate(says=Outcome.UNKNOWN, asks=1, after="reverses itself")),
    "given back, debited again": (5, Fate(says=Outcome.UNKNOWN, asks=1, after="debits again")),
    "silent until reversed": (10, Fate(says=Outcome.UNKNOWN, asks=FOR_EVER)),
    "silent for days": (5, Fate(says=Outcome.UNKNOWN, asks=FOR_EVER, slow=12)),
    "silent, nothing taken": (5, Fate(says=Outcome.UNKNOWN, moves=False, asks=FOR_EVER)),
    "denied for a while": (10, Fate(after="denies")),
    "denied for good": (5, Fate(after="takes it back")),
    "killed before the call": (20, Fate(crash="before")),
    "killed after the debit": (20, Fate(crash="after")),
    "killed before, silent": (5, Fate(crash="after", asks=3)),
    "the other side": (10, Fate(after="the other side")),
}  # fmt: skip
MOVES: Final = {"ok": 70, "declined": 8, "not sent": 7, "unknown, paid": 10, "unknown, declined": 5}
"""What becomes of a refund or a capture."""


@dataclass(slots=True)
class Debit:
    """One debit as it really stands: `taken` and not yet `given` back is what the payer has paid."""

    name: str
    rail: str
    amount: int
    fate: Fate
    taken: int = 0
    held: int = 0
    given: int = 0
    reversed: bool = False
    asked: int = 0
    denials: int = 0
    debited: int = 0

    @property
    def net(self) -> int:
        return self.taken - self.given

    def take(self, amount: int) -> None:
        self.taken += amount
        self.debited += 1


@dataclass(slots=True)
class Books:
    """What all rails really did, by attempt; links by attempt and by the app's own transaction id."""

    seed: int
    debits: dict[UUID, Debit] = field(default_factory=dict)
    links: dict[str, dict[str, Debit]] = field(default_factory=dict)
    moves: dict[UUID, tuple[str, Outcome]] = field(default_factory=dict)
    tombs: set[UUID] = field(default_factory=set)
    drawn: dict[str, int] = field(default_factory=dict)
    surprises: list[UUID] = field(default_factory=list)
    calling: list[UUID] = field(default_factory=list)
    story: dict[UUID, list[str]] = field(default_factory=dict)

    def note(self, attempt: UUID, what: str) -> None:
        self.story.setdefault(attempt, []).append(what)

    def draw(self, name: str, kinds: Mapping[str, int]) -> str:
        """By the seed, what it is about, and how often it was drawn: not by who came first."""
        self.drawn[name] = self.drawn.get(name, 0) + 1
        return Dice("rail", self.seed, name, self.drawn[name]).weighted(kinds)

    def of(self, attempt: UUID) -> list[Debit]:
        own = [self.debits[attempt]] if attempt in self.debits else []
        return own + list(self.links.get(txn_id(attempt), {}).values())

    def scan(self, reference: str, amount: int) -> None:
        """Somebody's app pays a link."""
        paid = self.links.setdefault(reference, {})
        name = f"APP{len(paid)}{reference[3:]}"
        paid[name] = Debit(name="link", rail="upi", amount=amount, fate=Fate())
        paid[name].take(amount)


_WEIGHTS: Final = {name: weight for name, (weight, _) in FATES.items()}


class SimRail:
    """One of the rails over the same books."""

    def __init__(self, name: str, books: Books, clock: ManualClock) -> None:
        self._name, self._books, self._clock = name, books, clock

    @property
    def name(self) -> str:
        return self._name

    async def authorize(self, order: RailOrder) -> RailAnswer:
        books = self._books
        who = order.instrument.partition("@")[0]
        name = books.draw(who, _WEIGHTS)
        fate = FATES[name][1]
        await self._turns(order.instrument)
        if fate.crash == "before":
            await _die()
        if order.attempt in books.tombs:
            return _said(Outcome.NOT_FOUND)
        one = Debit(name=name, rail=self._name, amount=order.amount_minor, fate=fate)
        books.debits[order.attempt] = one
        books.note(order.attempt, f"{self._name} authorize {order.amount_minor}: {name}")
        aside = order.capture == (fate.after == "the other side" and self._name == "card")
        if fate.moves:
            if aside:
                one.held = order.amount_minor
            else:
                one.take(order.amount_minor)
        if fate.after == "calls at once":
            books.calling.append(order.attempt)
            for _ in range(WAITED):
                if one.asked:
                    break
                await self._clock.sleep(0)
            await self._turns("late" + order.instrument)
        elif fate.after:
            books.surprises.append(order.attempt)
        if fate.crash == "after":
            await _die()
        if fate.after == "the other side" and self._name != "card":
            return _said(Outcome.AUTHORIZED)
        return _said(fate.says or self._truth(one))

    async def capture(
        self, attempt: UUID, capture: UUID, amount_minor: int, *, final: bool = False
    ) -> RailAnswer:
        one = self._books.debits[attempt]
        await self._turns(str(capture))

        def move() -> None:
            one.held -= amount_minor
            one.take(amount_minor)
            one.held = 0 if final else one.held

        self._books.note(attempt, f"capture {amount_minor} final={final}")
        return self._moved(capture, "capture", move, possible=one.held >= amount_minor)

    async def reverse(self, attempt: UUID) -> RailAnswer:
        one = self._books.debits.get(attempt)
        await self._turns(str(attempt))
        if one is None:
            self._books.tombs.add(attempt)
            return _said(Outcome.NOT_FOUND)
        self._books.note(attempt, "reverse")
        one.asked += 1
        if one.fate.slow and one.asked <= one.fate.slow:
            return _said(Outcome.UNKNOWN)
        if one.taken and not one.held and one.net < one.amount and not one.reversed:
            return _said(Outcome.DECLINED)  # a part of it was captured, or refunded
        if one.held:
            partly = one.taken > 0
            one.held = 0
            one.reversed = not partly
            return _said(Outcome.SUCCEEDED if partly else Outcome.REVERSED)
        if one.taken:
            one.given += one.net
            one.reversed = True
            return _said(Outcome.REVERSED)
        return _said(Outcome.REVERSED if one.reversed else Outcome.DECLINED)

    async def status(self, attempt: UUID, amount_minor: int | None = None) -> RailAnswer:  # noqa: ARG002 - it has one amount
        one = self._books.debits.get(attempt)
        await self._turns(str(attempt))
        if one is None:
            self._books.tombs.add(attempt)
            return _said(Outcome.NOT_FOUND)
        one.asked += 1
        if one.asked <= one.fate.asks:
            answer = Outcome.UNKNOWN
        elif one.denials:
            one.denials -= 1
            answer = Outcome.DECLINED
        else:
            if one.fate.after in {"reverses itself", "debits again"} and one.debited == 1:
                one.given, one.held, one.reversed = one.taken, 0, True
            answer = self._truth(one)
        self._books.note(attempt, f"status: {answer}")
        return _said(answer)

    async def paid_by_link(self, reference: str) -> list[LinkPayment] | None:
        await self._turns(reference)
        if Dice("link", reference).chance(8) and self._books.draw(reference, {"mute": 1, "": 1}):
            return None
        found = self._books.links.get(reference, {})
        for one in found.values():
            one.rail = self._name
        return [
            LinkPayment(txn_id=name, amount_minor=one.amount, answer=_said(Outcome.SUCCEEDED))
            for name, one in found.items()
        ]

    async def refund(self, refund: RailRefund) -> RailAnswer:
        await self._turns(str(refund.refund))
        if refund.debit is None:
            one = self._books.debits[refund.attempt]
        else:
            one = self._books.links[txn_id(refund.attempt)][refund.debit]

        def move() -> None:
            one.given += refund.amount_minor

        if refund.refund in self._books.tombs:
            return _said(Outcome.NOT_FOUND)
        self._books.note(refund.attempt, f"refund {refund.amount_minor} as {refund.refund}")
        return self._moved(refund.refund, "refund", move, possible=not one.reversed)

    async def refund_status(self, refund: RailRefund) -> RailAnswer:
        key = refund.refund
        await self._turns(str(key))
        if key not in self._books.moves:
            self._books.tombs.add(key)
            return _said(Outcome.NOT_FOUND)
        self._books.note(refund.attempt, f"refund status: {self._books.moves[key][1]}")
        return _said(self._books.moves[key][1])

    def _moved(self, key: UUID, verb: str, move: object, *, possible: bool) -> RailAnswer:
        """Once by its id; a repeat is told the truth."""
        known = self._books.moves.get(key)
        if known is not None:
            return _said(known[1])
        kind = self._books.draw(f"{verb} {key}", MOVES) if possible else "declined"
        if kind == "not sent":
            return _said(Outcome.NOT_SENT)
        paid = kind in {"ok", "unknown, paid"}
        if paid and callable(move):
            move()
        truth = Outcome.SUCCEEDED if paid else Outcome.DECLINED
        self._books.moves[key] = (kind, truth)
        return _said(Outcome.UNKNOWN if kind.startswith("unknown") else truth)

    def _truth(self, one: Debit) -> Outcome:
        if one.reversed:
            return Outcome.REVERSED
        if one.held and not one.taken:
            return Outcome.AUTHORIZED
        return Outcome.SUCCEEDED if one.taken else one.fate.end

    async def _turns(self, about: str) -> None:
        """Others go on meanwhile, and time passes a little."""
        self._clock.advance(5)
        for _ in range(Dice("turns", about).between(0, 3)):
            await self._clock.sleep(0)


def _said(outcome: Outcome) -> RailAnswer:
    return RailAnswer(outcome=outcome, code=str(outcome), rail_reference="000000000000")


async def _die() -> None:
    """Whoever asks is killed here: as a process that ends."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()
