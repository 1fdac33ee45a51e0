"""What an operator decides: freeze, late claims, voids above the limit, quarantine; and the fleet."""

import asyncio

import pytest

from devices.clock import ManualClock, SystemClock
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.ledger.model import Code, account_id
from server_core.terminals import service as terminals
from server_core.terminals.model import State
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import Bearer, ClaimState
from tests.server_core.vouchers.street import ACCEPTED, OPERATOR

HOUSE = account_id(Code.COMPENSATION, "hundi", "INR")


def merchant(shop) -> Actor:
    return Actor(party=shop.terminal.party, role=Role.MERCHANT)


async def events(street, name: str) -> list[dict]:
    async with street.db.reader() as reader:
        found = await reader.rows("SELECT payload FROM event WHERE type = $1", name)
    return [row["payload"] for row in found]


class TestFreeze:
    async def test_terminals_refuse_it_from_their_next_sync_on(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        early, later = phone.pay(shop, 100), phone.pay(shop, 100)
        shop.accept(early)
        await vouchers.freeze_one(street.db, OPERATOR, phone.allowance.aid)
        assert await shop.sync() == [ACCEPTED]
        shop.apply()
        shop.accept(later)
        assert await shop.sync() == [ACCEPTED, Verdict.REVOKED]

    async def test_its_payer_may_take_another_after_it_is_let_go(self, street) -> None:
        phone = await street.phone()
        aid = phone.allowance.aid
        for _ in range(2):
            assert (await vouchers.freeze_one(street.db, OPERATOR, aid)).frozen
        for _ in range(2):
            assert not (await vouchers.unfreeze(street.db, OPERATOR, aid)).frozen
        assert not (await street.row(phone))["frozen"]
        assert len(await events(street, "allowance.frozen")) == 1
        assert len(await events(street, "allowance.unfrozen")) == 1

    async def test_with_evidence_it_stays_frozen_until_it_is_closed(self, street) -> None:
        shop, other, phone = await street.shop(), await street.shop(), await street.phone()
        twin = phone.clone()
        shop.accept(phone.pay(shop, 100))
        other.accept(twin.pay(other, 200))
        assert (await shop.sync(), await other.sync()) == ([ACCEPTED], [Verdict.DOUBLE_SPEND])
        with pytest.raises(DomainError, match=r"vouchers\.evidence"):
            await vouchers.unfreeze(street.db, OPERATOR, phone.allowance.aid)
        assert (await street.row(phone))["frozen"]

    @pytest.mark.parametrize("role", [Role.PAYER, Role.MERCHANT, Role.TERMINAL])
    async def test_only_operators_decide(self, street, role: Role) -> None:
        phone, shop = await street.phone(), await street.shop()
        actor = Actor(party=phone.allowance.party, role=role, assurance=2)
        aid = phone.allowance.aid
        for call in (
            vouchers.freeze_one(street.db, actor, aid),
            vouchers.unfreeze(street.db, actor, aid),
            vouchers.decide(street.db, actor, bytes(32), Bearer.HOUSE),
            vouchers.approve_void(street.db, actor, bytes(32), shop.terminal.id),
        ):
            with pytest.raises(DomainError, match=r"vouchers\.operator"):
                await call
        async with street.db.work() as work:
            with pytest.raises(DomainError, match=r"terminals\.operator"):
                await terminals.release(work, actor, shop.terminal.id)


class TestLate:
    """The database's own clock decides: these allowances were issued long enough ago."""

    @pytest.fixture(autouse=True)
    def _long_ago(self, street) -> None:
        street.db.clock = ManualClock(SystemClock().now_ms() - 5 * 86_400_000)

    async def late(self, street, amount: int = 15_000):
        """A voucher that nobody witnessed, sent after the close."""
        shop, phone = await street.shop(), await street.phone()
        sold = phone.pay(shop, amount)
        assert await jobs.tick(street.db) >= 1
        shop.accept(sold)
        assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED]
        return shop, phone, sold

    async def claim(self, street, shop, sold) -> ClaimState:
        return (await vouchers.claim(street.db, merchant(shop), sold.h)).state

    async def test_it_waits_until_it_is_decided(self, street) -> None:
        shop, phone, sold = await self.late(street)
        for _ in range(2):
            assert await self.claim(street, shop, sold) is ClaimState.WAITING
        async with street.db.reader() as reader:
            assert [one.h for one in await vouchers.late_waiting(reader, 10)] == [sold.h]
        assert await street.owed(shop) == 0
        before = await street.wallet(phone)
        done = await asyncio.gather(
            *(vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER) for _ in range(5))
        )
        assert {one.decision for one in done} == {Bearer.PAYER}
        assert (await street.owed(shop), await street.wallet(phone)) == (15_000, before - 15_000)
        assert await self.claim(street, shop, sold) is ClaimState.PAID
        assert len(await events(street, "voucher.claim_opened")) == 1
        assert len(await events(street, "voucher.claimed")) == 1

    async def test_the_house_may_bear_it(self, street) -> None:
        shop, phone, sold = await self.late(street)
        before = await street.wallet(phone)
        await self.claim(street, shop, sold)
        await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.HOUSE)
        assert (await street.owed(shop), await street.wallet(phone)) == (15_000, before)
        assert await street.balance(HOUSE) == 15_000

    async def test_refused_it_moves_nothing_and_stays_so(self, street) -> None:
        shop, _, sold = await self.late(street)
        await self.claim(street, shop, sold)
        await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.SHOP)
        assert await self.claim(street, shop, sold) is ClaimState.REFUSED
        with pytest.raises(DomainError, match=r"vouchers\.claim_decided"):
            await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER)
        assert await street.owed(shop) == 0

    async def test_a_wallet_that_is_short_may_be_asked_again(self, street) -> None:
        actor = await street.payer(funds=200_000)
        shop, phone = await street.shop(), await street.phone(actor)
        sold = phone.pay(shop, 15_000)
        await jobs.tick(street.db)
        shop.accept(sold)
        await shop.sync()
        await self.claim(street, shop, sold)
        again = await street.phone(actor, cap_total=200_000)  # sets all of the wallet aside
        with pytest.raises(DomainError, match=r"vouchers\.payer_short"):
            await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER)
        assert await street.owed(shop) == 0
        await jobs.tick(street.db)
        assert await street.wallet(again) == 200_000
        await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER)
        assert await street.owed(shop) == 15_000

    async def test_a_sale_is_paid_once_though_two_vouchers_answer_it(self, street) -> None:
        shop = await street.shop()
        phones = [await street.phone(), await street.phone()]
        sold = [one.pay(shop, 15_000, nonce=bytes(8)) for one in phones]
        await jobs.tick(street.db)
        shop.accept(*sold)
        assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED] * 2
        for one in sold:
            await self.claim(street, shop, one)
        await vouchers.decide(street.db, OPERATOR, sold[0].h, Bearer.PAYER)
        with pytest.raises(DomainError, match=r"vouchers\.challenge_paid"):
            await vouchers.decide(street.db, OPERATOR, sold[1].h, Bearer.HOUSE)
        assert await street.owed(shop) == 15_000

    async def test_only_its_own_shop_claims_it(self, street) -> None:
        _, _, sold = await self.late(street)
        other = await street.shop()
        for actor in (merchant(other), Actor(party=other.terminal.party, role=Role.PAYER)):
            with pytest.raises(DomainError, match=r"vouchers\.unclaimed_unknown"):
                await vouchers.claim(street.db, actor, sold.h)

    async def test_what_its_terminal_gave_back_is_not_paid(self, street) -> None:
        shop, _, sold = await self.late(street)
        await self.claim(street, shop, sold)
        text = shop.void_of(sold).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "waiting"
        for bearer in (Bearer.PAYER, Bearer.HOUSE):
            with pytest.raises(DomainError, match=r"vouchers\.unclaimed_over"):
                await vouchers.decide(street.db, OPERATOR, sold.h, bearer)
        assert await street.owed(shop) == 0

    async def test_paid_late_it_may_still_be_voided(self, street) -> None:
        shop, phone, sold = await self.late(street)
        before = await street.wallet(phone)
        await self.claim(street, shop, sold)
        await vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER)
        text = shop.void_of(sold).to_text()
        for _ in range(2):
            assert await vouchers.hand_in(street.db, street.keys, text) == "applied"
        assert (await street.owed(shop), await street.wallet(phone)) == (0, before)

    async def test_a_void_and_a_decision_at_once_move_it_once(self, street) -> None:
        for _ in range(5):
            shop, phone, sold = await self.late(street)
            before = await street.wallet(phone)
            await self.claim(street, shop, sold)
            await asyncio.gather(
                vouchers.decide(street.db, OPERATOR, sold.h, Bearer.PAYER),
                vouchers.hand_in(street.db, street.keys, shop.void_of(sold).to_text()),
                return_exceptions=True,
            )
            assert (await street.owed(shop), await street.wallet(phone)) == (0, before)


class TestVoidAboveTheLimit:
    async def test_an_operator_lets_it_through(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        shop.accept(sold)
        await shop.sync()
        async with street.db.work() as work:
            await terminals.revoke(work, OPERATOR, shop.terminal.id)
        text = shop.void_of(sold).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "waiting"
        assert await jobs.retry_voids(street.db) == 0
        async with street.db.reader() as reader:
            assert [one.h for one in await vouchers.voids_waiting(reader, 10)] == [sold.h]
        for _ in range(2):
            said = await vouchers.approve_void(street.db, OPERATOR, sold.h, shop.terminal.id)
            assert said == "applied"
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 310_000)
        async with street.db.reader() as reader:
            assert await vouchers.voids_waiting(reader, 10) == []

    async def test_a_foreign_terminals_is_nothing_to_approve(self, street) -> None:
        shop, other, phone = await street.shop(), await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        shop.accept(sold)
        await shop.sync()
        await vouchers.hand_in(street.db, street.keys, other.void_of(sold).to_text())
        with pytest.raises(DomainError, match=r"vouchers\.void_unknown"):
            await vouchers.approve_void(street.db, OPERATOR, sold.h, other.terminal.id)
        assert await street.owed(shop) == 10_000


class TestFleet:
    async def test_what_is_known_of_a_terminal(self, street) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        sold, unsent = phone.pay(shop, 10_000), phone.pay(shop, 7_000)
        shop.accept(sold)
        await shop.sync()
        texts = [sold.to_text(), unsent.to_text()]
        await vouchers.witness(street.db, street.keys, actor, texts)
        await vouchers.freeze_one(street.db, OPERATOR, phone.allowance.aid)
        async with street.db.reader() as reader:
            [one] = await vouchers.fleet(reader, merchant(shop), limit=10)
        assert one.terminal.id == shop.terminal.id
        assert (one.behind, one.unapplied, one.unsent) == (0, 1, {"INR": 7_000})

    async def test_a_shop_sees_its_own_and_an_operator_all(self, street) -> None:
        shops = [await street.shop() for _ in range(3)]
        async with street.db.reader() as reader:
            every = await vouchers.fleet(reader, OPERATOR, limit=100)
            assert {one.id for one in (s.terminal for s in shops)} <= {
                one.terminal.id for one in every
            }
            first, *rest = [one.terminal.id for one in every]
            after = await vouchers.fleet(reader, OPERATOR, after=first, limit=100)
            assert [one.terminal.id for one in after] == rest
            [own] = await vouchers.fleet(reader, merchant(shops[0]), limit=100)
            assert own.terminal.id == shops[0].terminal.id
            payer = Actor(party=shops[0].terminal.party, role=Role.PAYER)
            assert await vouchers.fleet(reader, payer, limit=100) == []

    async def test_a_quarantine_ends_by_an_operator(self, street) -> None:
        shop = await street.shop()
        async with street.db.work() as work:
            await terminals.quarantine(work, shop.terminal)
        async with street.db.reader() as reader:
            held = await vouchers.fleet(reader, OPERATOR, state=State.QUARANTINED, limit=10)
        assert [one.terminal.id for one in held] == [shop.terminal.id]
        for _ in range(2):
            async with street.db.work() as work:
                released = await terminals.release(work, OPERATOR, shop.terminal.id)
            assert released.state is State.ACTIVE
        assert len(await events(street, "terminal.released")) == 1
        async with street.db.work() as work:
            await terminals.revoke(work, OPERATOR, shop.terminal.id)
            with pytest.raises(DomainError, match=r"terminals\.revoked"):
                await terminals.release(work, OPERATOR, shop.terminal.id)
