"""First seen wins on a real PostgreSQL: once each, never beyond the hold, whatever comes twice."""

import asyncio
import itertools

import pytest

from offline.journal import CloseReason, chain
from offline.model import VoidReason
from offline.verdicts import Verdict
from offline.wire import SignedVoucher
from server_core.errors import DomainError
from server_core.events import store as events
from server_core.ids import derived
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.protocol.field import Phone, Shop, World

V = Verdict


async def test_a_voucher_moves_money_from_the_hold_to_the_shop(
    world: World, phone: Phone, shop: Shop
) -> None:
    assert await world.wallet(phone.party) == 800_000
    assert await shop.settle(phone.pay(shop, 12_345)) == [V.ACCEPTED]
    assert await world.payable(shop) == 12_345
    aid = phone.allowance.aid
    assert (await world.allowance(aid)).settled == 12_345
    async with world.db.reader() as reader:
        told = await events.of_aggregate(reader, derived("allowance", aid.hex()))
        [mine] = await vouchers.of_terminals(reader, world.merchant(shop))
        assert [one.aid for one in await vouchers.mine(reader, phone.actor)] == [aid]
    assert [one.type for one in told] == ["allowance.issued", "voucher.settled"]
    assert (mine.amount, mine.settled, mine.payer) == (12_345, True, phone.party.id)


async def test_the_same_batch_twice_settles_once(world: World, phone: Phone, shop: Shop) -> None:
    shop.accept(*(phone.pay(shop, 1_000 + i) for i in range(20)))
    first = await shop.send(shop.request())
    again = await shop.send(shop.request())
    assert {item.result for item in first.items} == {V.ACCEPTED}
    assert again.items == first.items
    assert (again.acked_seq, again.acked_head) == (20, shop.head)
    assert await world.payable(shop) == sum(1_000 + i for i in range(20))


async def test_one_batch_sent_five_times_at_once_settles_once(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.accept(*(phone.pay(shop, 100) for _ in range(10)))
    answers = await asyncio.gather(*(shop.send(shop.request()) for _ in range(5)))
    assert len({answer.items for answer in answers}) == 1
    assert await world.payable(shop) == 1_000


async def test_a_request_is_used_once(phone: Phone, shop: Shop) -> None:
    shop.accept(phone.pay(shop, 100))
    request = shop.request()
    await shop.send(request)
    with pytest.raises(DomainError) as caught:
        await shop.send(request)
    assert caught.value.code == "trust.nonce_used"


async def test_another_payees_voucher_is_not_settled(
    world: World, phone: Phone, shop: Shop
) -> None:
    other = await world.shop(await world.merchant_party("Dosa Hut"))
    sibling = await world.shop(shop.party)
    assert await other.settle(phone.pay(shop, 100)) == [V.PAYEE_MISMATCH]
    assert await sibling.settle(phone.pay(shop, 100)) == [V.PAYEE_MISMATCH]
    assert await world.report() == []


async def test_a_double_spend_pays_the_first_keeps_evidence_and_freezes(
    world: World, phone: Phone, shop: Shop
) -> None:
    other = await world.shop(await world.merchant_party("Dosa Hut"))
    clone = phone.fork()
    mine, theirs = phone.pay(shop, 12_000), clone.pay(other, 14_000)
    assert await shop.settle(mine) == [V.ACCEPTED]
    assert await other.settle(theirs) == [V.DOUBLE_SPEND]
    assert await other.settle(theirs) == [V.DOUBLE_SPEND]
    [evidence] = await world.evidence()
    assert {evidence.h, evidence.other} == {mine.h, theirs.h}
    assert evidence.verdict == V.DOUBLE_SPEND_LOCAL
    held = await world.allowance(phone.allowance.aid)
    assert (held.frozen, held.settled, str(held.state)) == (True, 12_000, "issued")
    async with world.db.reader() as reader:
        assert await vouchers.frozen_payers(reader) == {phone.party.id}
    assert (await world.payable(shop), await world.payable(other)) == (12_000, 0)
    # Other counters of a frozen allowance still settle at a terminal that has not applied the stop.
    assert other.applied == 1
    assert shop.applied == 0
    assert await shop.settle(phone.pay(shop, 500)) == [V.ACCEPTED]


async def test_two_terminals_race_with_the_two_halves_of_a_double_spend(
    world: World, phone: Phone, shop: Shop
) -> None:
    other = await world.shop(await world.merchant_party("Dosa Hut"))
    clone = phone.fork()
    shop.accept(*(phone.pay(shop, 1_000) for _ in range(30)))
    other.accept(*(clone.pay(other, 1_000) for _ in range(30)))
    answers = await asyncio.gather(shop.sync(), other.sync())
    verdicts = [item.result for answer in answers for item in answer.items]
    assert verdicts.count(V.ACCEPTED) == 30
    assert verdicts.count(V.DOUBLE_SPEND) == 30
    assert await world.payable(shop) + await world.payable(other) == 30_000
    assert (await world.allowance(phone.allowance.aid)).frozen


async def test_a_broken_sum_is_evidence_and_never_a_refusal(
    world: World, phone: Phone, shop: Shop
) -> None:
    first = phone.pay(shop, 1_000)
    second = phone.pay(shop, 2_000, cum=2_500)
    assert await shop.settle(first, second) == [V.ACCEPTED, V.ACCEPTED]
    [evidence] = await world.evidence()
    assert evidence.verdict == V.CUMULATIVE_INCONSISTENT
    assert (await world.allowance(phone.allowance.aid)).frozen


async def test_never_beyond_the_hold(world: World, phone: Phone, shop: Shop) -> None:
    """A device that lies about cum may sign more than it was given; the hold pays no more."""
    lies = [phone.pay(shop, 50_000, cum=50_000 + i) for i in range(6)]
    verdicts = await shop.settle(*lies)
    assert verdicts == [V.ACCEPTED] * 4 + [V.HOLD_EXHAUSTED] * 2
    assert await world.payable(shop) == 200_000
    small = phone.pay(shop, 1, cum=200_000)
    assert (await shop.settle(small))[0] in {V.HOLD_EXHAUSTED, V.REVOKED}


async def test_an_unknown_or_altered_allowance_settles_nothing(
    world: World, phone: Phone, shop: Shop
) -> None:
    signed = phone.pay(shop, 100)
    async with world.db.work() as work:
        await work.execute("UPDATE allowance SET raw = $1", b"another")
    assert await shop.settle(signed) == [V.ALLOWANCE_UNKNOWN]
    async with world.db.work() as work:
        await work.execute("UPDATE allowance SET raw = $1", signed.allowance_raw)


async def test_a_flipped_bit_and_a_bad_row_are_one_bad_item_each(
    world: World, phone: Phone, shop: Shop
) -> None:
    good, forged = phone.pay(shop, 100), phone.pay(shop, 200)
    sig = bytes([forged.sig_v[0] ^ 1]) + forged.sig_v[1:]
    forged = SignedVoucher.of(
        forged.kid, forged.allowance_raw, forged.sig_a, forged.voucher_raw, sig
    )
    shop.accept(forged)
    shop.rows.append(b"\x83\x01\x09\x00")
    shop.chains.append(chain(shop.id, shop.epoch, 2, shop.head, shop.rows[-1]))
    verdicts = await shop.settle(good)
    assert verdicts == [V.ACCEPTED]
    answer = await shop.send(shop.request(first=1))
    assert [item.result for item in answer.items] == [
        V.VOUCHER_SIGNATURE, V.UNSUPPORTED_VERSION, V.ACCEPTED,
    ]  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_any_order_of_arrival_settles_each_once(
    world: World, phone: Phone, order: tuple[int, ...]
) -> None:
    shops = [await world.shop(await world.merchant_party(f"Shop {i}")) for i in range(3)]
    signed = [phone.pay(shop, 10_000 + i) for i, shop in enumerate(shops)]
    for i in order:
        assert await shops[i].settle(signed[i]) == [V.ACCEPTED]
    assert await world.evidence() == []
    assert [await world.payable(shop) for shop in shops] == [10_000, 10_001, 10_002]


async def test_a_challenge_pays_once_and_not_after_it_was_closed(
    world: World, phone: Phone, shop: Shop
) -> None:
    nonce, late = shop.nonce(), shop.nonce()
    first, second = phone.pay(shop, 100, nonce=nonce), phone.pay(shop, 200, nonce=nonce)
    shop.close(late, CloseReason.CANCELLED)
    third = phone.pay(shop, 300, nonce=late)
    assert await shop.settle(first, second, third) == [
        V.ACCEPTED, V.CHALLENGE_USED, V.CHALLENGE_USED,
    ]  # fmt: skip
    after = phone.pay(shop, 400, nonce=late)
    assert await shop.settle(after) == [V.CHALLENGE_USED]
    assert await world.payable(shop) == 100


async def test_a_close_after_its_voucher_takes_nothing_back(
    world: World, phone: Phone, shop: Shop
) -> None:
    signed = phone.pay(shop, 100)
    shop.accept(signed)
    shop.close(signed.voucher.nonce)
    answer = await shop.sync()
    assert [item.result for item in answer.items] == [V.ACCEPTED, V.ACCEPTED]
    assert await world.payable(shop) == 100


@pytest.mark.parametrize("moment", ["before", "same", "after", "payer"])
async def test_a_void_refunds_in_full_once_whatever_came_first(
    world: World, phone: Phone, shop: Shop, moment: str
) -> None:
    signed = phone.pay(shop, 7_000)
    text = shop.void(signed, VoidReason.RETURNED).to_text()
    if moment == "before":
        assert await vouchers.hand_in(world.db, world.keys, text) == "waiting"
    if moment == "same":
        shop.accept(signed)
        shop.void_row(signed, VoidReason.RETURNED)
        await shop.sync()
    else:
        assert await shop.settle(signed) == [V.ACCEPTED]
    if moment == "after":
        shop.void_row(signed, VoidReason.RETURNED)
        await shop.sync()
    answers = await asyncio.gather(
        *(vouchers.hand_in(world.db, world.keys, text) for _ in range(3))
    )
    assert set(answers) == {"applied"}
    assert await world.payable(shop) == 0
    assert await world.wallet(phone.party) == 807_000
    assert (await world.allowance(phone.allowance.aid)).settled == 7_000


async def test_a_strangers_void_refunds_nothing_and_stands_in_nobodys_way(
    world: World, phone: Phone, shop: Shop
) -> None:
    rogue = await world.shop(await world.merchant_party("Rogue"))
    signed = phone.pay(shop, 7_000)
    strange = rogue.void(signed).to_text()
    assert await vouchers.hand_in(world.db, world.keys, strange) == "waiting"
    assert await shop.settle(signed) == [V.ACCEPTED]
    assert await vouchers.hand_in(world.db, world.keys, strange) == "waiting"
    assert await world.payable(shop) == 7_000
    own = shop.void(signed).to_text()
    assert await vouchers.hand_in(world.db, world.keys, own) == "applied"
    assert await world.payable(shop) == 0


async def test_a_void_that_lies_about_its_voucher_is_not_applied(
    world: World, phone: Phone, shop: Shop
) -> None:
    signed = phone.pay(shop, 7_000)
    await shop.settle(signed)
    lie = shop.void(signed, counter=9).to_text()
    assert await vouchers.hand_in(world.db, world.keys, lie) == "waiting"
    assert await world.payable(shop) == 7_000
