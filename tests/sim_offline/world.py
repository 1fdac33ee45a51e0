"""One world of vouchers: a city of shops and phones that trade with the network often gone, for some days."""

import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from edge_agent.accepting import Scanned, accept
from edge_agent.allowances import surrender, take_allowance, witness
from edge_agent.asking import ask, cancel
from edge_agent.enrol import enrol_payer, enrol_terminal
from edge_agent.errors import AgentError, VerdictError
from edge_agent.restore import restore
from edge_agent.server import ServerUnreachable
from edge_agent.sync import sync
from edge_agent.trust import read_pairing
from edge_agent.voiding import void
from offline.verdicts import Verdict
from offline.wire import SignedVoucher
from server_core.actor import Actor, Role
from server_core.db.work import Database, Reader
from server_core.ids import derived, parse
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.terminals import service as terminals
from server_core.trust import service as trust
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from tests.sim.dice import Dice
from tests.sim_offline import laws
from tests.sim_offline.agents import OffClock, Phone, Shop
from tests.sim_offline.books import Books, Sale
from tests.sim_offline.laws import Broken
from tests.sim_offline.wire import City, Wire

OPERATOR: Final = Actor(party=None, role=Role.OPERATOR)
BEGINS_MS: Final = 1_700_000_000_000
"""Years before the database's own clock, which says what is due to close: all of it, when a world asks."""
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SHOPS, PHONES, CHAINS = 24, 60, 16
FUND: Final = 10**9
TOTAL, EACH = 100_000, 50_000
GENERATION: Final = 1_700
"""Redemptions until everything is synced, closed and looked at."""
TRIES: Final = 60
IN_ORDER: Final = {Verdict.ACCEPTED, Verdict.ALLOWANCE_EXPIRED, Verdict.NOT_YET_VALID}
"""What a plain sale may come to: clocks are off."""
STEPS: Final = {
    "sale": 9_330, "sync": 340, "witness": 60, "void jobs": 30, "late": 90, "partition": 60,
    "power": 30, "jump": 30, "restore": 10, "lose phone": 10, "clock": 10,
}  # fmt: skip
SALES: Final = {
    "plain": 900, "scanned twice": 15, "shown twice": 15, "phone dies before": 10,
    "phone dies after": 10, "shop dies before": 10, "shop dies after": 10, "walks away": 10,
    "cancelled": 10, "given back": 10,
}  # fmt: skip


@dataclass(slots=True)
class World:
    """What one seed plays; `counts` is what came of it."""

    city: City
    seed: int
    folder: Path
    dice: Dice
    books: Books = field(default_factory=Books)
    shops: list[Shop] = field(default_factory=list)
    phones: list[Phone] = field(default_factory=list)
    refused: dict[bytes, str] = field(default_factory=dict)
    """What a shop was shown as paid and the server did not settle, by h."""
    accepted: int = 0
    people: int = 0
    everybody_honest: bool = True

    @property
    def counts(self) -> Counter[str]:
        return self.city.counts

    @property
    def clock(self) -> ManualClock:
        return self.city.clock

    @property
    def watched(self) -> set[UUID]:
        """Whose money must be right at the end: everybody's, where nobody cheats."""
        return {*self.books.funds, *(one.party for one in self.shops)}

    def honest(self, _sale: Sale) -> bool:
        return True

    async def paid(self, _reader: Reader) -> set[bytes] | None:
        """The vouchers that came to money; None where all must have that shops keep."""
        return None

    def stories_of(self, party: UUID) -> tuple[str, ...]:
        told = [one for one in self.books.sales.values() if one.payer == party]
        return tuple(line for one in told[-20:] for line in laws._story(one))

    # The play

    async def play(self, redemptions: int) -> Broken | None:
        await self._settle_in()
        while self.accepted < redemptions:
            upto = min(redemptions, self.accepted + GENERATION)
            while self.accepted < upto:
                broken = await self.step()
                if broken:
                    return broken
            broken = await self._come_home()
            if broken:
                return broken
        self.clock.advance(200 * DAY)
        while await jobs.tick(self.city.db):
            pass
        async with self.city.db.snapshot() as reader:
            return await laws.at_the_end(self, reader)

    async def step(self) -> Broken | None:
        """One thing that happens; what the server took part in is looked at."""
        self.clock.advance(self.dice.between(1, 5) * SECOND)
        what = self.dice.weighted(self.steps())
        online = await self._do(what)
        if not online:
            return None
        async with self.city.db.reader() as reader:
            return await laws.after_a_step(reader)

    def steps(self) -> dict[str, int]:
        return STEPS

    async def _do(self, what: str) -> bool:
        dice, city = self.dice, self.city
        match what:
            case "sale":
                return await self.sale(dice.pick(self.shops), dice.pick(self.phones))
            case "sync":
                await self.sync(dice.pick(self.shops))
            case "witness":
                await self._online(self._witness, dice.pick(self.phones))
            case "void jobs":
                await jobs.retry_voids(city.db)
            case "late":
                await city.deliver_late()
            case "partition":
                who = dice.pick([*self.shops, *self.phones]).name
                city.cut ^= {who}
                self.counts["fault: partition"] += who in city.cut
                return False
            case "power":
                dice.pick(self.shops).dies(power=True)
                self.counts["fault: power cut"] += 1
                return False
            case "jump":
                self.clock.advance(dice.between(1, 40) * MINUTE)
                return False
            case "clock":
                one = dice.pick(self.phones)
                one.clock.skew_ms = dice.between(-3 * DAY, 3 * DAY) if dice.chance(2) else 0
                self.counts["fault: a phone's clock leaps"] += 1
                return False
            case "restore":
                await self._restore(dice.pick(self.shops))
            case "lose phone":
                await self._lose(dice.pick(self.phones))
        return True

    # Sales

    async def sale(self, shop: Shop, phone: Phone) -> bool:
        """One customer at one counter; whether the server was asked for anything."""
        amount = self.dice.between(100, 1_900)
        try:
            asked = ask(shop.terminal, amount)
        except (VerdictError, AgentError) as e:
            self.counts[f"not asked: {_why(e)}"] += 1
            await self.sync(shop)
            return True
        how = self.dice.weighted(SALES)
        signed = self.signs(phone, asked.text, how)
        if signed is None:
            cancel(shop.terminal)
            await self._online(self.renew, phone)
            return True
        sale = self.books.sale(signed, phone.party, shop.party, shop.terminal.me.terminal)
        sale.story.append(f"{phone.name} at {shop.name}: {how}")
        self._at_the_counter(shop, phone, signed, sale, how)
        return False

    def signs(self, phone: Phone, text: str, how: str) -> SignedVoucher | None:
        """The voucher, or None from a phone that cannot pay this now."""
        try:
            if how.startswith("phone dies"):
                phone.dies_while_paying(text, before=how.endswith("before"))
                self.counts[f"fault: {how}"] += 1
            signed = phone.payer.pay(text)
            if how == "shown twice" and phone.payer.pay(text).to_bytes() != signed.to_bytes():
                raise AssertionError("the same request is not the same voucher")
        except (VerdictError, AgentError) as e:
            if _why(e) == "edge.store_contradiction":
                raise
            self.counts[f"not signed: {_why(e)}"] += 1
            return None
        return signed

    def _at_the_counter(
        self, shop: Shop, phone: Phone, signed: SignedVoucher, sale: Sale, how: str
    ) -> None:
        text = signed.to_text()
        if how == "walks away":
            self.counts["fault: walks away"] += 1
            return
        if how == "cancelled":
            cancel(shop.terminal)
            self.counts["fault: cancelled"] += 1
        if how.startswith("shop dies"):
            self.counts[f"fault: {how}"] += 1
            if how.endswith("before"):
                shop.dies_while(lambda: accept(shop.terminal, text))
            else:
                accept(shop.terminal, text)
                shop.dies()
        result = self.scan(shop, sale, text)
        if how == "plain" and self.everybody_honest and result.verdict not in IN_ORDER:
            raise RuntimeError(f"an honest sale is {result.verdict}: {sale.story}")
        if result.verdict is not Verdict.ACCEPTED and not sale.shown:
            self._void(shop, phone, sale, text)
        if how == "scanned twice" and sale.shown:
            again = accept(shop.terminal, text)
            if not (again.paid and again.verdict is Verdict.ALREADY_ACCEPTED):
                raise AssertionError(f"scanned again it is {again.verdict}")
        if how == "given back" and sale.shown:
            given = void(shop.terminal, text, give_back=True)
            sale.given_back = True
            sale.story.append("given back")
            self.counts["given back"] += 1
            if self.dice.chance(2):
                phone.payer.keep(given.text)
        elif sale.shown and result.receipt is not None and self.dice.chance(20):
            phone.payer.keep(result.receipt)

    def scan(self, shop: Shop, sale: Sale, text: str) -> Scanned:
        """Scan, and write down what the shop was shown."""
        result = accept(shop.terminal, text)
        sale.story.append(f"{shop.name} says {result.verdict}")
        known = result.verdict is Verdict.ALREADY_ACCEPTED and result.earlier is not None
        if (result.paid or known) and not sale.shown:
            sale.shown = True
            self.accepted += 1
        if not result.paid:
            self.counts[f"at the counter: {result.verdict}"] += 1
        return result

    def _void(self, shop: Shop, phone: Phone, sale: Sale, text: str) -> None:
        """The cancellation of what was refused, if it may be cancelled."""
        try:
            given = void(shop.terminal, text)
        except VerdictError as e:
            self.counts[f"not cancelled: {e.verdict}"] += 1
            return
        self.counts["cancelled after a refusal"] += 1
        sale.story.append("cancelled")
        if self.dice.chance(2):
            phone.payer.keep(given.text)

    # The network

    async def _online(self, act: Callable[[Phone], Awaitable[object]], phone: Phone) -> None:
        try:
            await act(phone)
        except ServerUnreachable:
            self.counts["no network for a phone"] += 1
        except (AgentError, VerdictError) as e:
            self.counts[f"phone: {_why(e)}"] += 1
            if _why(e) in {"vouchers.holds", "linking.unknown", "vouchers.frozen"}:
                await self._replace(phone)

    async def sync(self, shop: Shop) -> bool:
        try:
            await sync(shop.terminal, shop.wire)
        except ServerUnreachable:
            self.counts["no network for a shop"] += 1
            return False
        except (AgentError, VerdictError) as e:
            self.counts[f"sync: {_why(e)}"] += 1
            return False
        return True

    async def renew(self, phone: Phone) -> None:
        """Give back what is left and take a new allowance."""
        held = phone.payer.store.usable()
        if held is not None and phone.payer.now_s() <= held.signed.allowance.spend_until:
            await surrender(phone.payer, phone.wire)
        elif held is not None and phone.clock.skew_ms:
            phone.clock.skew_ms = 0  # its owner sets the clock
        await take_allowance(phone.payer, phone.wire, ccy="INR", cap_total=TOTAL, cap_each=EACH)
        self.counts["allowances"] += 1

    async def _witness(self, phone: Phone) -> None:
        await witness(phone.payer, phone.wire)

    async def _restore(self, shop: Shop) -> None:
        """The files are put back as they are, by the command: a new history, and one sync before a sale."""
        await self.city.deliver_late(shop.name)
        restore(shop.terminal)
        self.counts["fault: restored"] += 1
        await self.sync(shop)

    async def _lose(self, phone: Phone) -> None:
        """Its owner reports the phone lost: what it signed before is still good."""
        actor = Actor(party=phone.party, role=Role.PAYER, assurance=2,
                      authenticated_at=self.clock.now_ms())  # fmt: skip
        device = parse("dev", phone.payer.me.device, field="device")
        await vouchers.revoke_device(self.city.db, actor, device)
        self.counts["fault: phone lost"] += 1
        phone.lost = True
        await self._replace(phone)

    async def _replace(self, phone: Phone) -> None:
        phone.close()
        self.phones[self.phones.index(phone)] = await self.new_phone()

    # Coming and going

    async def _settle_in(self) -> None:
        merchants = [await self._merchant() for _ in range(CHAINS)]
        for place in range(SHOPS):
            self.shops.append(await self._shop(f"S{place}", merchants[place % CHAINS]))
        for _ in range(PHONES):
            self.phones.append(await self.new_phone())

    async def _merchant(self) -> UUID:
        self.people += 1
        async with self.city.db.work() as work:
            made = await parties.add(
                work, OPERATOR, kind=Kind.MERCHANT, name=f"Shop {self.people}", mcc="5411"
            )
        return made.id

    async def _shop(self, name: str, party: UUID) -> Shop:
        city = self.city
        skew = self.dice.between(-100, 100) * SECOND if self.dice.chance(2) else 0
        made = Shop(
            name, self.folder / name, party, OffClock(self.clock, skew),
            SeededEntropy(f"{self.seed} {name}"), Wire(city, name),
        )  # fmt: skip
        async with city.db.work() as work:
            pairing = await terminals.pair(work, city.entropy, city.keys, OPERATOR, merchant=party)
        store, faults = made.store(), city.faults
        city.faults = False
        await enrol_terminal(
            store, made.keys, made.wire, read_pairing(pairing), clock=made.clock,
            entropy=made.entropy, currency="INR",
        )  # fmt: skip
        store.db.close()
        made.start()
        await sync(made.terminal, made.wire)
        city.faults = faults
        return made

    async def new_phone(self) -> Phone:
        """A new person with a new phone, and money."""
        self.people += 1
        name, city = f"P{self.people}", self.city
        async with city.db.work() as work:
            party = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=name)
            source = ledger.account(Code.CLEARING, "upi", "INR")
            await ledger.open_accounts(work, [source])
            await ledger.post(
                work,
                [
                    Transfer(
                        id=derived("fund", party.id), debit=source.id,
                        credit=account_id(Code.WALLET, party.id, "INR"), amount=FUND,
                    )
                ],
            )  # fmt: skip
        self.books.funds[party.id] = FUND
        skew = self.dice.between(-10, 10) * MINUTE if self.dice.chance(3) else 0
        made = Phone(
            name, self.folder / name, party.id, OffClock(self.clock, skew),
            SeededEntropy(f"{self.seed} {name}"), Wire(city, name, party.id),
        )  # fmt: skip
        store, faults = made.store(), city.faults
        city.faults = False
        await enrol_payer(
            store, made.keys, made.wire, label=name, fingerprint=None, clock=made.clock
        )
        store.db.close()
        made.start()
        city.faults = faults
        await self._online(self.renew, made)
        return made

    async def _come_home(self) -> Broken | None:
        """Everybody is online again: all is synced, looked at, and after its time closed."""
        self.city.cut.clear()
        await self.city.deliver_late()
        for phone in self.phones:
            if self.dice.chance(10):
                continue  # some never tell
            for _ in range(TRIES):
                await self._online(self._witness, phone)
                if not phone.payer.store.unwitnessed(1):
                    break
        for shop in self.dice.some(self.shops, len(self.shops)):
            shop.terminal.close_open(due_only=False)
            if not await self._home(shop):
                return Broken("a terminal comes home", shop.name)
        await self.city.deliver_late()
        async with self.city.db.snapshot() as reader:
            broken = await laws.told(self, reader) or await laws.after_a_step(reader)
        if broken:
            return broken
        self.clock.advance(5 * DAY)
        while await jobs.tick(self.city.db) + await jobs.retry_voids(self.city.db):
            pass
        async with self.city.db.snapshot() as reader:
            return await laws.after_a_step(reader) or await laws.of_the_holds(reader)

    async def _home(self, shop: Shop) -> bool:
        for _ in range(TRIES):
            await self.sync(shop)
            state = shop.terminal.store.state()
            if state.acked_seq == state.head_seq or state.quarantined:
                return True
        return False

    def close(self) -> None:
        for shop in self.shops:
            shop.terminal.store.db.close()
        for phone in self.phones:
            phone.close()


def _why(error: Exception) -> str:
    return str(error.verdict if isinstance(error, VerdictError) else getattr(error, "code", error))


async def build(
    kind: type[World], db: Database, clock: ManualClock, seed: int, folder: Path
) -> World:
    """A city with its own keys, nobody in it yet."""
    entropy = SeededEntropy(f"city {seed}")
    with tempfile.TemporaryDirectory() as home:
        keys = trust.load(Path(home), entropy=entropy, clock=clock, passphrase=None)
    city = City(db, keys, clock, Dice(seed, "line"), entropy, Counter())
    return kind(city, seed, folder, Dice(seed, "world"))
