"""Voids refund h whatever came first; close parts the rest of a hold, and CLOSED is final."""

import asyncio

import asyncpg
import pytest

from devices.clock import ManualClock, SystemClock
from offline.journal import CloseReason
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.vouchers import closing, jobs, remedies, rules
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.street import ACCEPTED

UNCLAIMED = account_id(Code.UNCLAIMED, "house", "INR")


class TestVoid:
    async def test_after_settlement_and_twice(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        shop.accept(sold)
        await shop.sync()
        text = shop.void_of(sold).to_text()
        states = await asyncio.gather(
            *(vouchers.hand_in(street.db, street.keys, text) for _ in range(5))
        )
        assert set(states) == {"applied"}
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 310_000)
        assert await street.hold(phone) == 190_000  # a void does not restore offline capacity

    async def test_before_its_voucher_it_waits(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        text = shop.void_of(sold).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "waiting"
        shop.accept(sold)
        assert await shop.sync() == [ACCEPTED]
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 310_000)

    async def test_in_the_same_batch(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        shop.accept(sold)
        shop.void(sold)
        assert await shop.sync() == [ACCEPTED, ACCEPTED]
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 310_000)

    async def test_a_foreign_terminals_void_moves_nothing(self, street) -> None:
        shop, other, phone = await street.shop(), await street.shop(), await street.phone()
        sold = phone.pay(shop, 10_000)
        shop.accept(sold)
        await shop.sync()
        text = other.void_of(sold).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "waiting"
        assert await street.owed(shop) == 10_000
        other.void(sold)
        await other.sync()
        assert await street.owed(shop) == 10_000

    async def test_a_shop_that_was_paid_out_refunds_later(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        sold, again = phone.pay(shop, 10_000), phone.pay(shop, 20_000)
        shop.accept(sold)
        await shop.sync()
        async with street.db.work() as work:
            nostro = ledger.account(Code.NOSTRO, "bank", "INR")
            await ledger.open_accounts(work, [nostro])
            payout = Transfer(
                id=work.ids.new(),
                debit=account_id(Code.PAYABLE, shop.terminal.party, "INR"),
                credit=nostro.id,
                amount=10_000,
            )
            assert (await ledger.post(work, [payout]))[0].ok
        text = shop.void_of(sold).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "waiting"
        assert await jobs.retry_voids(street.db) == 0
        shop.accept(again)
        await shop.sync()
        assert await jobs.retry_voids(street.db) == 1
        assert await jobs.retry_voids(street.db) == 0
        assert (await street.owed(shop), await street.wallet(phone)) == (10_000, 310_000)

    @pytest.mark.parametrize("text", ["", "OV1X:", "OV1V:AAAA", "OV1X:" + "0" * 3000, "é"])
    async def test_what_is_not_a_void(self, street, text: str) -> None:
        with pytest.raises(DomainError, match=r"vouchers\.void"):
            await vouchers.hand_in(street.db, street.keys, text)


class TestClose:
    """The database's own clock decides: these allowances were issued long enough ago."""

    @pytest.fixture(autouse=True)
    def _long_ago(self, street) -> None:
        street.db.clock = ManualClock(SystemClock().now_ms() - 5 * 86_400_000)

    async def close(self, street) -> None:
        assert await jobs.tick(street.db) >= 1
        assert await jobs.tick(street.db) == 0

    async def test_what_was_not_spent_goes_back(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        shop.accept(phone.pay(shop, 15_000))
        await shop.sync()
        await self.close(street)
        row = await street.row(phone)
        assert (row["state"], row["settled"], row["returned"]) == ("closed", 15_000, 185_000)
        assert (await street.wallet(phone), await street.hold(phone)) == (485_000, 0)

    async def test_nothing_closes_before_its_time(self, street) -> None:
        street.db.clock = ManualClock(SystemClock().now_ms() - 4 * 86_400_000 - 3_000_000)
        phone = await street.phone()
        assert await jobs.tick(street.db) == 0
        assert (await street.row(phone))["state"] != "closed"

    async def test_a_late_voucher_finds_it_closed(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        late = phone.pay(shop, 15_000)
        await self.close(street)
        shop.accept(late)
        assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED]
        assert await street.owed(shop) == 0

    async def test_a_witnessed_voucher_waits_for_its_merchant(self, street) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        texts = [phone.pay(shop, 15_000).to_text()]
        for _ in range(2):
            assert await vouchers.witness(street.db, street.keys, actor, texts) == 1
        await self.close(street)
        row = await street.row(phone)
        assert (row["unclaimed"], row["returned"]) == (15_000, 185_000)
        assert await street.balance(UNCLAIMED) == 15_000

    @pytest.mark.parametrize(
        ("reason", "returned"),
        [
            (CloseReason.EXPIRED, 200_000),
            (CloseReason.CANCELLED, 200_000),
            (CloseReason.PAID_ONLINE, 185_000),
        ],
    )
    async def test_a_witnessed_voucher_whose_terminal_let_it_go(
        self, street, reason, returned: int
    ) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        signed = phone.pay(shop, 15_000)
        shop.close(signed.voucher.nonce, reason)
        await shop.sync()
        await vouchers.witness(street.db, street.keys, actor, [signed.to_text()])
        await self.close(street)
        assert (await street.row(phone))["returned"] == returned

    async def test_a_voided_witness_goes_back(self, street) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        signed = phone.pay(shop, 15_000)
        await vouchers.witness(street.db, street.keys, actor, [signed.to_text()])
        await vouchers.hand_in(street.db, street.keys, shop.void_of(signed).to_text())
        await self.close(street)
        assert (await street.row(phone))["returned"] == 200_000

    async def test_a_frozen_hold_pays_who_came_second_in_order_of_receipt(self, street) -> None:
        shops = [await street.shop() for _ in range(4)]
        phone = await street.phone(cap_total=100_000)
        for shop, amount in zip(shops, (40_000, 30_000, 45_000, 20_000), strict=True):
            shop.accept(phone.clone().pay(shop, amount))
            await shop.sync()
            street.db.clock.advance(1_000)
        assert [await street.owed(shop) for shop in shops] == [40_000, 0, 0, 0]
        await self.close(street)
        row = await street.row(phone)
        # 60,000 is left: 30,000 in full, 45,000 in part; nothing goes back before they are paid.
        assert (row["settled"], row["claimed"], row["returned"]) == (40_000, 60_000, 0)
        assert [await street.owed(shop) for shop in shops] == [40_000, 30_000, 30_000, 0]

    async def test_a_void_of_a_claimed_voucher_is_refunded(self, street) -> None:
        one, two, phone = await street.shop(), await street.shop(), await street.phone()
        one.accept(phone.clone().pay(one, 10_000))
        second = phone.pay(two, 20_000)
        two.accept(second)
        await one.sync()
        await two.sync()
        await self.close(street)
        assert await street.owed(two) == 20_000
        text = two.void_of(second).to_text()
        assert await vouchers.hand_in(street.db, street.keys, text) == "applied"
        assert (await street.owed(two), await street.wallet(phone)) == (0, 490_000)

    async def test_a_void_of_what_its_merchant_claimed_is_refunded_once(self, street) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        signed = phone.pay(shop, 15_000)
        void = shop.void_of(signed).to_text()
        await vouchers.witness(street.db, street.keys, actor, [signed.to_text()])
        await self.close(street)
        shop.accept(signed)
        assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED]
        merchant = Actor(party=shop.terminal.party, role=Role.MERCHANT)
        await vouchers.claim(street.db, merchant, signed.h)
        assert (await street.owed(shop), await street.wallet(phone)) == (15_000, 485_000)
        for _ in range(2):
            assert await vouchers.hand_in(street.db, street.keys, void) == "applied"
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 500_000)

    async def test_a_void_that_waited_beside_a_claim_is_tried_again(self, street) -> None:
        actor = await street.payer()
        shop, phone = await street.shop(), await street.phone(actor)
        signed = phone.pay(shop, 15_000)
        await vouchers.witness(street.db, street.keys, actor, [signed.to_text()])
        await self.close(street)
        shop.accept(signed)
        await shop.sync()
        merchant = Actor(party=shop.terminal.party, role=Role.MERCHANT)
        await vouchers.claim(street.db, merchant, signed.h)

        async def held(work) -> None:  # as a hand-in leaves it that ran beside the claim
            await remedies.insert_voids(work, [rules.held(shop.void_of(signed))])

        await street.db.transact(held)
        assert await jobs.retry_voids(street.db) == 1
        assert (await street.owed(shop), await street.wallet(phone)) == (0, 500_000)

    async def test_two_closers_at_once(self, street) -> None:
        phones = [await street.phone() for _ in range(3)]
        await asyncio.gather(*(closing.close_due(street.db) for _ in range(4)))
        assert [await street.wallet(phone) for phone in phones] == [500_000] * 3


class TestGuards:
    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO voucher_settled SELECT aid, counter, '\\x00', terminal, '\\x01', 1, 0"
            " FROM voucher_settled",
            "INSERT INTO voucher_settled SELECT aid, 99, h, terminal, '\\x01', 1, 0"
            " FROM voucher_settled",
            "INSERT INTO voucher_settled SELECT aid, 99, '\\x00', terminal, nonce, 1, 0"
            " FROM voucher_settled",
        ],
    )
    async def test_the_keys_hold_by_themselves(self, street, database_url, sql: str) -> None:
        shop, phone = await street.shop(), await street.phone()
        shop.accept(phone.pay(shop, 100))
        await shop.sync()
        owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
        try:
            with pytest.raises(asyncpg.UniqueViolationError):
                await owner.execute(sql)
        finally:
            await owner.close()

    async def test_the_hold_is_a_check(self, street) -> None:
        await street.phone()
        with pytest.raises(asyncpg.CheckViolationError):
            async with street.db.work() as work:
                await work.execute("UPDATE allowance SET settled = hold + 1")

    @pytest.mark.parametrize(
        "table", ["voucher_settled", "voucher_seen", "revocation", "journal_row"]
    )
    async def test_history_is_append_only(self, street, table: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with street.db.work() as work:
                await work.execute(f"DELETE FROM {table}")
