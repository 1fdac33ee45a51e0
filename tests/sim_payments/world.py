"""One world of payments: people, shops and rails; stories at once, time that jumps, and the end of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from devices.clock import ManualClock, SystemClock
from devices.entropy import SeededEntropy
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import asking, jobs, service
from server_core.payments.model import Intent
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails
from server_core.refunds import jobs as refund_jobs
from server_core.strays import jobs as stray_jobs
from tests.sim.dice import Dice
from tests.sim_payments import laws
from tests.sim_payments.laws import Broken
from tests.sim_payments.rail import Books, SimRail
from tests.sim_payments.stories import PAID, Story

OPERATOR: Final = Actor(party=None, role=Role.OPERATOR)
SECOND, HOUR = 1_000, 3_600_000
DAY: Final = 24 * HOUR
RAILS: Final = ("upi", "upi.2", "card")
FUND: Final = 10**10
POOR: Final = 500
AT_ONCE: Final = 300
STORIES: Final = 100
SLICES: Final = 4
ROUNDS: Final = 300
JUMPS: Final = (1, 30 * SECOND, 95 * SECOND, 40 * 60 * SECOND, 3 * HOUR, 23 * HOUR)
SETTLING: Final = (
    2 * 60 * SECOND, 15 * 60 * SECOND, HOUR, *([2 * HOUR] * 3), 16 * HOUR, 3 * HOUR,
    *([DAY + HOUR] * 11),
)  # fmt: skip
"""What passes until all has settled: schedules, reversals at 22 h, holds of 7 days, looks a day later."""


class SimClock(ManualClock):
    """Stands until it is moved; whoever waits gives way, and is soon told that it took long."""

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self._monotonic_ms += 2 * SECOND
        await SystemClock().sleep(min(seconds, 0.005))


@dataclass(slots=True)
class World:
    """What one seed plays; `counts` is what came of it."""

    db: Database
    clock: SimClock
    seed: int
    stories: int = STORIES
    """Of a thousand payments, those that are more than one from wallet to shop."""
    counts: Counter[str] = field(default_factory=Counter)
    people: list[Party] = field(default_factory=list)
    shops: list[Party] = field(default_factory=list)
    told: dict[UUID, str] = field(default_factory=dict)
    keys: dict[tuple[int, str], UUID] = field(default_factory=dict)
    number_of: dict[UUID, int] = field(default_factory=dict)
    later: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    scans: list[tuple[str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    books: Books = field(init=False)
    rails: Rails = field(init=False)
    queue: Confirmations = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self.seed)
        by_name = {name: SimRail(name, self.books, self.clock) for name in RAILS}
        self.rails = Rails(
            by_name=by_name, clock=self.clock, entropy=SeededEntropy(f"router {self.seed}")
        )
        self.queue = Confirmations(self.db, self.rails)

    def actor(self, party: Party) -> Actor:
        role = Role.PAYER if party.kind is Kind.PERSON else Role.MERCHANT
        return Actor(party=party.id, role=role)

    def heard(self, intent: Intent, number: int, key: str) -> None:
        """What somebody was told: one key names one payment, and what was paid stays paid."""
        known = self.keys.setdefault((number, key), intent.id) if key else intent.id
        if known != intent.id:
            self.wrong.append(f"one key made two payments: {known} and {intent.id}")
        self.number_of[intent.id] = number
        if intent.state in PAID:
            self.told[intent.id] = str(intent.state)

    async def play(self, count: int) -> Broken | None:
        """`count` payments with all that follows; the first law that does not hold."""
        await self._open()
        dice = Dice("jumps", self.seed)
        for place in range(SLICES):
            numbers = range(count * place // SLICES, count * (place + 1) // SLICES)
            await self._at_once([Story(self, number).tell for number in numbers])
            broken = await self._between(dice.pick(JUMPS))
            if broken:
                return broken
        while self.later:
            broken = await self._between(HOUR)
            if broken:
                return broken
        for jump in SETTLING:
            await self._pass(jump)
        await self.queue.close()
        return await laws.settled(self)

    async def _between(self, jump: int) -> Broken | None:
        """Time goes on, the rails surprise, who has something to do later does it now."""
        broken = await laws.at_any_time(self)
        if broken:
            return broken
        await self._surprise()
        await self._pass(jump)
        acts, self.later = self.later, []
        await self._at_once(acts)
        return None

    async def _at_once(self, acts: list[Callable[[], Awaitable[object]]]) -> None:
        """So many at a time; what a story did not foresee is a broken law."""
        waiting = iter(acts)

        async def lane() -> None:
            for act in waiting:
                try:
                    await act()
                except Exception as error:  # noqa: BLE001 - it is told with its seed
                    self.wrong.append(f"nobody foresaw {error!r}")

        calls = asyncio.create_task(self._callbacks())
        await asyncio.gather(*(lane() for _ in range(min(AT_ONCE, len(acts)))))
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)

    async def _callbacks(self) -> None:
        """While stories are told: callbacks that overtake the answers which they are about."""
        while True:
            calling, self.books.calling = self.books.calling, []
            for attempt in calling:
                with suppress(DomainError):
                    await asking.ask(self.db, self.rails, attempt)
            await self.clock.sleep(0)

    async def _pass(self, jump: int) -> None:
        self.clock.advance(jump)
        for _ in range(ROUNDS):
            done = await jobs.expire(self.db)
            done += await jobs.reconcile(self.db, self.rails)
            done += await refund_jobs.reconcile(self.db, self.rails)
            done += await stray_jobs.tick(self.db, self.rails)
            if not done:
                return
        self.wrong.append("the jobs find the same work for ever")

    async def _surprise(self) -> None:
        """Late debits, denials, and what the rail's callbacks make of them; a callback comes twice."""
        for reference, amount in self.scans:
            self.books.scan(reference, amount)
        self.scans = []
        hastened, self.books.surprises = self.books.surprises, []
        async with self.db.work() as work:
            for attempt in hastened:
                one = self.books.debits[attempt]
                match one.fate.after:
                    case "debit":
                        one.take(one.amount)
                    case "denies":
                        one.denials = 2 if one.taken else 0
                    case "takes it back" if one.taken and not one.given:
                        one.given, one.reversed = one.taken, True
                    case "debits again":
                        if one.reversed and one.debited == 1:
                            one.reversed = False
                            one.take(one.amount)
                        elif one.debited == 1:
                            self.books.surprises.append(attempt)
                        continue
                    case "callback":
                        pass
                for _ in range(2):
                    await service.hasten(work, attempt)

    async def _open(self) -> None:
        async with self.db.work() as work:
            for name in (*RAILS, "fund"):
                await service.open_rail_account(work, name, "INR")
            for number in range(150):
                self.people.append(
                    await parties.add(work, OPERATOR, kind=Kind.PERSON, name=f"Payer {number}")
                )
            for number in range(20):
                kind = Kind.MERCHANT if number else Kind.PERSON
                self.shops.append(
                    await parties.add(work, OPERATOR, kind=kind, name=f"Shop {number}")
                )
            funds = [
                Transfer(
                    id=derived("fund", one.id), debit=account_id(Code.CLEARING, "fund", "INR"),
                    credit=parties.money_account(one, "INR"), amount=funded(place),
                )
                for place, one in enumerate(self.people)
            ]  # fmt: skip
            assert all(one.ok for one in await ledger.post(work, funds))


def funded(place: int) -> int:
    return POOR if place % 30 == 0 else FUND
