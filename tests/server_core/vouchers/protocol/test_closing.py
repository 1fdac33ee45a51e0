"""Close: by the database's own clock, once, and every paisa of the hold is somewhere."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from offline.journal import CloseReason
from offline.verdicts import Verdict
from server_core.errors import DomainError
from server_core.events import store as events
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import State
from tests.server_core.vouchers.protocol.field import Phone, Shop, World

V = Verdict
UNCLAIMED = account_id(Code.UNCLAIMED, "house", "INR")
LIFE_S = 345_600 + 3_600


@pytest.fixture(autouse=True)
def issued_a_while_ago(world: World, request: pytest.FixtureRequest) -> Iterator[None]:
    """The database's clock cannot be moved: allowances are issued so that it is past their end."""
    database_now_ms = int(time.time() * 1000)  # noqa: TID251 - PostgreSQL's clock, not ours
    age_s = getattr(request, "param", LIFE_S + 60)
    world.clock.set_wall(database_now_ms - age_s * 1000)
    return iter(())


async def close(world: World, phone: Phone) -> tuple[int, int, int, int]:
    assert await jobs.tick(world.db) >= 1
    assert await jobs.tick(world.db) == 0
    done = await world.allowance(phone.allowance.aid)
    assert done.state is State.CLOSED
    assert done.settled + done.claimed + done.unclaimed + done.returned == done.hold
    return done.settled, done.claimed, done.unclaimed, done.returned


async def test_what_was_not_spent_goes_back(world: World, phone: Phone, shop: Shop) -> None:
    await shop.settle(phone.pay(shop, 30_000))
    assert await close(world, phone) == (30_000, 0, 0, 170_000)
    assert await world.wallet(phone.party) == 970_000
    async with world.db.reader() as reader:
        told = await events.of_aggregate(reader, derived("allowance", phone.allowance.aid.hex()))
    assert [one.type for one in told][-1] == "allowance.closed"


async def test_closed_is_final(world: World, phone: Phone, shop: Shop) -> None:
    late, known = phone.pay(shop, 100), phone.pay(shop, 200)
    assert await shop.settle(known) == [V.ACCEPTED]
    await close(world, phone)
    assert await shop.settle(late) == [V.SETTLEMENT_CLOSED]
    assert await shop.settle(known) == [V.DUPLICATE]
    assert await world.payable(shop) == 200


@pytest.mark.parametrize("issued_a_while_ago", [LIFE_S - 60], indirect=True)
async def test_inside_the_margin_nothing_closes_and_vouchers_still_settle(
    world: World, phone: Phone, shop: Shop
) -> None:
    assert await jobs.tick(world.db) == 0
    world.clock.set_wall(int(time.time() * 1000))  # noqa: TID251 - PostgreSQL's clock, not ours
    assert await jobs.tick(world.db) == 0
    assert (await world.allowance(phone.allowance.aid)).state is State.DRAINING
    assert await shop.settle(phone.pay(shop, 100)) == [V.ACCEPTED]


async def test_two_closers_at_once_close_once(world: World, phone: Phone) -> None:
    await asyncio.gather(*(jobs.tick(world.db) for _ in range(4)))
    assert await world.wallet(phone.party) == 1_000_000


async def witness(world: World, phone: Phone, *signed) -> int:
    texts = [one.to_text() for one in signed]
    return await vouchers.witness(world.db, world.keys, phone.actor, texts)


async def test_witnessed_value_goes_where_its_request_says(
    world: World, phone: Phone, shop: Shop
) -> None:
    expired, paid_online, other, voided, silent, settled = (
        phone.pay(shop, amount) for amount in (1_000, 2_000, 4_000, 8_000, 16_000, 32_000)
    )
    taken = phone.pay(shop, 500, nonce=other.voucher.nonce)
    assert await witness(world, phone, expired, paid_online, other, voided, silent, settled) == 6
    assert await witness(world, phone, expired, settled) == 2
    shop.close(expired.voucher.nonce, CloseReason.CANCELLED)
    shop.close(paid_online.voucher.nonce, CloseReason.PAID_ONLINE)
    assert await shop.settle(taken, settled) == [V.ACCEPTED, V.ACCEPTED]
    void = shop.void(voided).to_text()
    assert await vouchers.hand_in(world.db, world.keys, void) == "waiting"
    assert await close(world, phone) == (32_500, 0, 18_000, 149_500)
    assert await world.balance(UNCLAIMED) == 18_000
    # The shop brings the silent one too late, and claims it.
    assert await shop.settle(silent) == [V.SETTLEMENT_CLOSED]
    async with world.db.reader() as reader:
        waiting = {one.h for one in await vouchers.unclaimed(reader, world.merchant(shop))}
    assert waiting == {silent.h, paid_online.h}
    for _ in range(2):
        await vouchers.claim(world.db, world.merchant(shop), silent.h)
    assert await world.payable(shop) == 32_500 + 16_000
    assert await world.balance(UNCLAIMED) == 2_000


async def test_unclaimed_money_is_paid_to_nobody_else_and_in_the_end_to_the_payer(
    world: World, phone: Phone, shop: Shop
) -> None:
    silent = phone.pay(shop, 9_000)
    await witness(world, phone, silent)
    await close(world, phone)
    stranger = await world.shop(await world.merchant_party("Stranger"))
    for who, h in ((stranger, silent.h), (shop, silent.h), (shop, bytes(32))):
        with pytest.raises(DomainError) as caught:
            await vouchers.claim(world.db, world.merchant(who), h)
        assert caught.value.code == "vouchers.unclaimed_unknown"
    async with world.db.work() as work:
        await work.execute("UPDATE voucher_unclaimed SET until = 1")
    assert await jobs.tick(world.db) == 1
    assert await jobs.tick(world.db) == 0
    assert await world.wallet(phone.party) == 1_000_000
    assert await shop.settle(silent) == [V.SETTLEMENT_CLOSED]
    with pytest.raises(DomainError) as caught:
        await vouchers.claim(world.db, world.merchant(shop), silent.h)
    assert caught.value.code == "vouchers.unclaimed_over"


async def test_a_frozen_hold_pays_the_second_shop_before_it_gives_back(
    world: World, phone: Phone, shop: Shop
) -> None:
    second, third = [await world.shop(await world.merchant_party(n)) for n in ("Dosa", "Paan")]
    clones = [phone.fork(), phone.fork()]
    mine = phone.pay(shop, 50_000)
    lost = clones[0].pay(second, 40_000), clones[1].pay(third, 30_000)
    phone_rest = [phone.pay(shop, 50_000), phone.pay(shop, 40_000)]
    await shop.settle(mine, *phone_rest)
    assert await third.settle(lost[1]) == [V.DOUBLE_SPEND]
    assert await second.settle(lost[0]) == [V.DOUBLE_SPEND]
    await witness(world, phone, lost[1])
    # 60,000 are left: the first received is paid whole, the next in part, nothing goes back.
    assert await close(world, phone) == (140_000, 60_000, 0, 0)
    assert (await world.payable(third), await world.payable(second)) == (30_000, 30_000)
    assert await world.wallet(phone.party) == 800_000


async def test_a_lost_voucher_that_was_voided_or_taken_after_the_stop_is_no_claim(
    world: World, phone: Phone, shop: Shop
) -> None:
    second = await world.shop(await world.merchant_party("Dosa"))
    clone, late = phone.fork(), phone.fork()
    await shop.settle(phone.pay(shop, 10_000))
    voided = clone.pay(second, 20_000)
    assert await second.settle(voided) == [V.DOUBLE_SPEND]
    await vouchers.hand_in(world.db, world.keys, second.void(voided).to_text())
    assert second.applied == 1
    assert await second.settle(late.pay(second, 30_000)) == [V.DOUBLE_SPEND]
    assert await close(world, phone) == (10_000, 0, 0, 190_000)


async def test_a_refund_that_the_shop_cannot_cover_waits_and_is_paid_later(
    world: World, phone: Phone, shop: Shop
) -> None:
    signed = phone.pay(shop, 9_000)
    await shop.settle(signed)
    payable, bank = (
        account_id(Code.PAYABLE, shop.party.id, "INR"),
        account_id(Code.CLEARING, "upi", "INR"),
    )
    async with world.db.work() as work:
        out = Transfer(id=derived("payout"), debit=payable, credit=bank, amount=5_000)
        assert (await ledger.post(work, [out]))[0].ok
    assert await vouchers.hand_in(world.db, world.keys, shop.void(signed).to_text()) == "waiting"
    for _ in range(3):
        assert await jobs.retry_voids(world.db) == 0
    assert await world.wallet(phone.party) == 800_000
    assert await shop.settle(phone.pay(shop, 6_000)) == [V.ACCEPTED]
    assert await jobs.retry_voids(world.db) == 1
    assert await jobs.retry_voids(world.db) == 0
    assert await world.wallet(phone.party) == 809_000
    async with world.db.reader() as reader:
        tries = await reader.value("SELECT count(*) FROM transfer WHERE code = 'void'")
    assert tries == 2, "a try that cannot succeed leaves no row"


async def test_a_witness_comes_only_from_its_payer_and_only_signed(
    world: World, phone: Phone, shop: Shop
) -> None:
    stranger = await world.phone(await world.person("Ravi"))
    signed = phone.pay(shop, 100)
    text = signed.to_text()
    bad = text[:-1] + ("0" if text[-1] != "0" else "1")
    cases = [
        (stranger.actor, [text], "vouchers.unknown"),
        (world.merchant(shop), [text], "vouchers.unknown"),
        (phone.actor, [], "vouchers.witness"),
        (phone.actor, [text] * 501, "vouchers.witness"),
        (phone.actor, [bad], "vouchers.witness"),
        (phone.actor, ["OV1V:"], "vouchers.witness"),
        (phone.actor, [text, "\ud800"], "vouchers.witness"),
    ]
    for actor, texts, code in cases:
        with pytest.raises(DomainError) as caught:
            await vouchers.witness(world.db, world.keys, actor, texts)
        assert caught.value.code == code
    async with world.db.reader() as reader:
        assert await reader.value("SELECT count(*) FROM voucher_witness") == 0
