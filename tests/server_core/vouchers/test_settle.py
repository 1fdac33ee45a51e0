"""First seen wins, once only, never beyond the hold."""

import asyncio
from itertools import permutations

import pytest

from offline.journal import Apply
from offline.verdicts import Verdict
from server_core.errors import DomainError
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.street import ACCEPTED, DUPLICATE, OPERATOR, Phone


async def test_a_voucher_moves_from_the_hold_to_the_shop(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 15_000), phone.pay(shop, 5_000))
    assert await shop.sync() == [ACCEPTED, ACCEPTED]
    assert (await street.owed(shop), await street.hold(phone)) == (20_000, 180_000)
    assert await street.wallet(phone) == 300_000
    assert shop.answer.acked_seq == 2


async def test_the_same_batch_again_answers_the_same_and_moves_nothing(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 15_000))
    first = await shop.sync()
    assert await shop.sync(first=1) == first  # the answer was lost; a new nonce, the same rows
    assert await street.owed(shop) == 15_000


async def test_twenty_senders_of_one_batch_settle_it_once(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 15_000), phone.pay(shop, 1_000))
    answers = await asyncio.gather(*(shop.send(shop.request(first=1)) for _ in range(20)))
    assert answers == [[ACCEPTED, ACCEPTED]] * 20
    assert await street.owed(shop) == 16_000


async def test_a_used_server_nonce_is_refused(street) -> None:
    shop = await street.shop()
    data = shop.request()
    await shop.send(data)
    with pytest.raises(DomainError, match=r"trust\.nonce_used"):
        await shop.send(data)


class TestDoubleSpend:
    @pytest.mark.parametrize("order", list(permutations(range(3))))
    async def test_first_seen_wins_in_every_order(self, street, order) -> None:
        shops = [await street.shop() for _ in range(3)]
        phone = await street.phone()
        for shop, one in zip(shops, (phone.clone(), phone.clone(), phone), strict=True):
            shop.accept(one.pay(shop, 10_000))
        verdicts = [await shops[i].sync() for i in order]
        assert verdicts == [[ACCEPTED], [Verdict.DOUBLE_SPEND], [Verdict.DOUBLE_SPEND]]
        assert [await street.owed(shops[i]) for i in order] == [10_000, 0, 0]
        assert (await street.row(phone))["frozen"]
        async with street.db.reader() as reader:
            kept = await vouchers.evidence(reader)
            assert await vouchers.frozen_payers(reader) == {phone.allowance.party}
        assert len(kept) == 2
        assert {one.verdict for one in kept} == {"OV_DOUBLE_SPEND_LOCAL"}

    async def test_both_halves_at_once(self, street) -> None:
        one, two, phone = await street.shop(), await street.shop(), await street.phone()
        one.accept(phone.clone().pay(one, 10_000))
        two.accept(phone.pay(two, 10_000))
        verdicts = await asyncio.gather(one.sync(), two.sync())
        assert sorted(verdicts) == [[ACCEPTED], [Verdict.DOUBLE_SPEND]]
        assert await street.owed(one) + await street.owed(two) == 10_000

    async def test_other_counters_still_settle_and_evidence_is_kept_once(self, street) -> None:
        one, two, phone = await street.shop(), await street.shop(), await street.phone()
        twin = phone.clone()
        one.accept(phone.pay(one, 10_000), phone.pay(one, 2_000))
        two.accept(twin.pay(two, 10_000))
        assert await one.sync() == [ACCEPTED, ACCEPTED]
        assert await two.sync() == [Verdict.DOUBLE_SPEND]
        two.apply()
        assert await two.sync(first=1) == [Verdict.DOUBLE_SPEND, ACCEPTED]
        one.accept(phone.pay(one, 3_000))
        assert await one.sync() == [ACCEPTED]  # it was not told of the freeze before it took it
        async with street.db.reader() as reader:
            evidence = await vouchers.evidence(reader)
        assert len({(e.h, e.other) for e in evidence}) == len(evidence)
        assert await street.owed(one) == 15_000

    async def test_a_broken_sum_is_evidence_and_never_a_refusal(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        first = phone.pay(shop, 10_000)
        phone.cum -= 5_000
        shop.accept(first, phone.pay(shop, 10_000))
        assert await shop.sync() == [ACCEPTED, ACCEPTED]
        assert (await street.row(phone))["frozen"]
        assert await street.owed(shop) == 20_000

    async def test_who_signed_twice_takes_no_allowance(self, street) -> None:
        actor = await street.payer()
        one, two, phone = await street.shop(), await street.shop(), await street.phone(actor)
        one.accept(phone.clone().pay(one, 100))
        two.accept(phone.pay(two, 100))
        await one.sync()
        await two.sync()
        _, other = await street.link(actor)
        with pytest.raises(DomainError, match=r"vouchers\.frozen"):
            await street.issue(actor, other, key="again")


class TestRefusals:
    async def test_the_hold_is_the_cap_whatever_was_signed(self, street) -> None:
        shop, phone = await street.shop(), await street.phone(cap_total=20_000, cap_each=20_000)
        twin = phone.clone()
        shop.accept(phone.pay(shop, 15_000))
        twin.counter, twin.cum = 1, 1  # a device that lies about its sum
        shop.accept(twin.pay(shop, 15_000))
        assert await shop.sync() == [ACCEPTED, Verdict.HOLD_EXHAUSTED]
        assert (await street.owed(shop), await street.hold(phone)) == (15_000, 5_000)

    async def test_a_refused_item_does_not_occupy_its_counter(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        nonce = b"12345678"
        shop.close(nonce)
        assert await shop.sync() == [ACCEPTED]
        twin = phone.clone()
        shop.accept(twin.pay(shop, 500, nonce=nonce), phone.pay(shop, 700))
        assert await shop.sync() == [Verdict.CHALLENGE_USED, ACCEPTED]

    async def test_one_challenge_pays_once(self, street) -> None:
        shop, one, two = await street.shop(), await street.phone(), await street.phone()
        nonce = b"87654321"
        shop.accept(one.pay(shop, 500, nonce=nonce), two.pay(shop, 500, nonce=nonce))
        assert await shop.sync() == [ACCEPTED, Verdict.CHALLENGE_USED]

    async def test_another_terminals_voucher(self, street) -> None:
        shop, other, phone = await street.shop(), await street.shop(), await street.phone()
        shop.accept(phone.pay(other, 500))
        assert await shop.sync() == [Verdict.PAYEE_MISMATCH]
        assert await street.owed(shop) == 0

    async def test_an_allowance_that_we_did_not_issue(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        async with street.db.work() as work:
            await work.execute("UPDATE allowance SET raw = $1", b"another")
        shop.accept(phone.pay(shop, 500))
        assert await shop.sync() == [Verdict.ALLOWANCE_UNKNOWN]

    async def test_a_voucher_that_nobody_signed(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        mallory = Phone((await street.link(await street.payer()))[0], phone.allowance)
        shop.accept(mallory.pay(shop, 500))
        assert await shop.sync() == [Verdict.VOUCHER_SIGNATURE]
        assert await street.row(phone) | {"frozen": False} == await street.row(phone)

    async def test_the_same_voucher_twice_in_one_batch(self, street) -> None:
        shop, phone = await street.shop(), await street.phone()
        signed = phone.pay(shop, 500)
        shop.accept(signed, signed)
        assert await shop.sync() == [ACCEPTED, DUPLICATE]


class TestRevocation:
    async def frozen(self, street):
        one, two, phone = await street.shop(), await street.shop(), await street.phone()
        one.accept(phone.clone().pay(one, 100))
        two.accept(phone.pay(two, 100))
        await one.sync()
        await two.sync()
        return one, two, phone

    async def test_rows_before_apply_settle_and_rows_after_do_not(self, street) -> None:
        _, two, phone = await self.frozen(street)
        two.accept(phone.pay(two, 200))
        two.apply()
        two.accept(phone.pay(two, 300))
        assert await two.sync() == [ACCEPTED, ACCEPTED, Verdict.REVOKED]

    async def test_nothing_settles_before_the_last_answer_is_applied(self, street) -> None:
        _, two, phone = await self.frozen(street)
        two.accept(phone.pay(two, 200))
        assert await two.sync() == [Verdict.REVOCATION_NOT_APPLIED]
        assert two.answer.revocations  # the answer repeats the list
        two.apply()
        assert await two.sync() == [ACCEPTED, ACCEPTED]

    async def test_an_apply_that_comes_later_than_claimed_is_a_fork(self, street) -> None:
        _, two, phone = await self.frozen(street)
        two.apply()
        two.accept(phone.pay(two, 200))
        assert await two.sync() == [ACCEPTED, Verdict.REVOKED]
        two.write(Apply(epoch=9))
        assert await two.sync(applied=3) == [Verdict.JOURNAL_FORK]

    async def test_a_claim_without_its_apply_is_a_fork(self, street) -> None:
        _, two, phone = await self.frozen(street)
        two.accept(phone.pay(two, 200))
        assert await two.sync(applied=1) == [Verdict.JOURNAL_FORK]


async def test_operators_are_not_payers(street) -> None:
    with pytest.raises(DomainError, match=r"vouchers\.role"):
        await street.issue(OPERATOR, None)
