"""The journal's laws: resend, gap, fork, restore, and the revocation list's APPLY."""

import asyncio
from dataclasses import replace

import pytest

from offline.journal import Apply, NewEpoch
from offline.model import VoidReason
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.terminals import service as terminals
from server_core.terminals.model import State
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.protocol.field import OPERATOR, Phone, Shop, World

V = Verdict


async def state(world: World, shop: Shop) -> State:
    async with world.db.reader() as reader:
        return (await terminals.get(reader, shop.id)).state


async def codes(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def test_a_gap_settles_nothing_and_says_where_to_go_on(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.accept(*(phone.pay(shop, 100) for _ in range(5)))
    answer = await shop.send(shop.request(first=3))
    assert (answer.verdict, answer.items, answer.acked_seq) == (V.JOURNAL_GAP, (), 0)
    assert await world.payable(shop) == 0
    await shop.sync()
    assert await world.payable(shop) == 500
    assert await state(world, shop) is State.ACTIVE


async def test_after_a_lost_answer_the_overlap_is_answered_and_the_rest_is_new(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.accept(phone.pay(shop, 100), phone.pay(shop, 200))
    await shop.send(shop.request())
    shop.accept(phone.pay(shop, 300))
    answer = await shop.sync()
    assert [item.result for item in answer.items] == [V.ACCEPTED] * 3
    assert shop.acked == 3
    assert await world.payable(shop) == 600


async def test_more_than_one_batch(world: World, phone: Phone, shop: Shop) -> None:
    for number in range(1_200):
        shop.close(number.to_bytes(8))
    last = phone.pay(shop, 700)
    assert await shop.settle(last) == [V.ACCEPTED]
    assert shop.acked == 1_201


async def test_a_copied_file_forks_is_quarantined_and_still_drains(
    world: World, phone: Phone, shop: Shop
) -> None:
    await shop.settle(phone.pay(shop, 100))
    copy = shop.copy()
    copy.nonces = 1_000
    assert await shop.settle(phone.pay(shop, 200)) == [V.ACCEPTED]
    signed = phone.pay(copy, 400)
    copy.accept(signed)
    answer = await copy.send(copy.request())
    assert answer.verdict is V.JOURNAL_FORK
    [item] = answer.items
    assert (item.row_hash, item.result) == (copy.head, V.ACCEPTED)
    assert answer.acked_seq == 2
    assert await state(world, shop) is State.QUARANTINED
    assert await world.payable(shop) == 700
    again = await copy.send(copy.request())
    assert [one.result for one in again.items] == [V.DUPLICATE]
    # The first one goes on with its own history.
    assert await shop.settle(phone.pay(shop, 1)) == [V.ACCEPTED]
    assert await world.payable(shop) == 701


async def test_a_quarantined_terminal_that_skips_ahead_still_drains(
    world: World, phone: Phone, shop: Shop
) -> None:
    copy = shop.copy()
    copy.nonces = 1_000
    shop.close(b"12345678")
    await shop.sync()
    copy.accept(phone.pay(copy, 400), phone.pay(copy, 500))
    await copy.send(copy.request())
    copy.accept(phone.pay(copy, 600))
    answer = await copy.send(copy.request(first=3))
    assert answer.verdict is V.JOURNAL_FORK
    assert [one.result for one in answer.items] == [V.ACCEPTED]
    assert await world.payable(shop) == 1_500


async def test_a_head_that_is_not_the_rows_head_is_a_fork(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.accept(phone.pay(shop, 100))
    answer = await shop.send(shop.request(head=b"x" * 32))
    assert answer.verdict is V.JOURNAL_FORK
    assert await state(world, shop) is State.QUARANTINED


async def test_a_restored_terminal_goes_on_and_its_old_epoch_takes_only_resends(
    world: World, phone: Phone, shop: Shop
) -> None:
    await shop.settle(phone.pay(shop, 100))
    unsent = phone.pay(shop, 200)
    shop.accept(unsent)
    left = shop.copy()
    shop.restore()
    answer = await shop.sync()
    assert answer.verdict is V.ACCEPTED
    assert [item.result for item in answer.items] == [V.ACCEPTED, V.ACCEPTED]
    assert await world.payable(shop) == 300
    assert await state(world, shop) is State.ACTIVE
    acked = replace(left, rows=left.rows[:1], chains=left.chains[:1], acked=0)
    resend = await acked.send(acked.request())
    assert (resend.verdict, [item.result for item in resend.items]) == (V.ACCEPTED, [V.ACCEPTED])
    fork = await left.send(left.request(first=1))
    assert fork.verdict is V.JOURNAL_FORK
    assert await state(world, shop) is State.QUARANTINED
    assert await world.payable(shop) == 300


async def test_an_epoch_that_names_a_row_we_lack_is_a_gap_and_a_false_one_a_fork(
    world: World, phone: Phone, shop: Shop
) -> None:
    await shop.settle(phone.pay(shop, 100))
    early = shop.copy()
    early.accept(phone.pay(shop, 200))
    early.acked = 2
    early.restore()
    assert (await early.send(early.request())).verdict is V.JOURNAL_GAP
    assert await state(world, shop) is State.ACTIVE
    false = shop.copy()
    false.chains[0] = b"y" * 32
    false.restore()
    assert (await false.send(false.request())).verdict is V.JOURNAL_FORK


async def test_restored_before_any_sync_and_restored_twice(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.accept(phone.pay(shop, 100))
    shop.restore()
    assert (await shop.sync()).verdict is V.ACCEPTED
    shop.restore()
    assert (await shop.sync()).verdict is V.ACCEPTED
    assert await shop.settle(phone.pay(shop, 50)) == [V.ACCEPTED]
    assert await world.payable(shop) == 150


async def test_an_epoch_row_in_the_middle_means_nothing(world: World, shop: Shop) -> None:
    shop.close(b"12345678")
    shop.append(NewEpoch(new_epoch=b"x" * 8, old_epoch=b"y" * 8, old_seq=0, old_chain=bytes(32)))
    answer = await shop.sync()
    assert [item.result for item in answer.items] == [V.ACCEPTED, V.MALFORMED]


async def stop(world: World, phone: Phone) -> None:
    await vouchers.revoke_device(world.db, phone.actor, phone.device.id)


async def test_rows_before_apply_settle_and_rows_after_are_revoked(
    world: World, phone: Phone, shop: Shop
) -> None:
    before, after = phone.pay(shop, 100), phone.pay(shop, 200)
    await stop(world, phone)
    assert (await shop.sync()).revocations
    shop.accept(after)
    answer = await shop.sync()
    assert [item.result for item in answer.items] == [V.ACCEPTED, V.REVOKED]
    assert await shop.settle(before) == [V.REVOKED]
    other = await world.shop()
    early, late = phone.pay(other, 300), phone.pay(other, 400)
    other.accept(early)
    said = await other.sync()
    assert [item.result for item in said.items] == [V.ACCEPTED]
    assert await other.settle(late) == [V.REVOKED]
    assert (await world.allowance(phone.allowance.aid)).settled == 300


async def test_a_terminal_that_was_told_and_has_not_applied_settles_nothing(
    world: World, phone: Phone, shop: Shop
) -> None:
    await stop(world, phone)
    told = await shop.send(shop.request())
    assert told.revocations
    shop.accept(phone.pay(shop, 100))
    answer = await shop.send(shop.request())
    assert (answer.verdict, answer.items) == (V.REVOCATION_NOT_APPLIED, ())
    assert answer.revocations == told.revocations
    assert await world.payable(shop) == 0
    await shop.sync()  # takes the repeated delta over
    assert shop.applied == 1
    answer = await shop.sync()
    assert [item.result for item in answer.items] == [V.ACCEPTED, V.ACCEPTED]


async def test_an_apply_that_is_claimed_and_not_there_is_a_fork(
    world: World, phone: Phone, shop: Shop
) -> None:
    await stop(world, phone)
    await shop.send(shop.request())
    shop.accept(phone.pay(shop, 100))
    answer = await shop.send(shop.request(applied=1))
    assert answer.verdict is V.JOURNAL_FORK
    assert await state(world, shop) is State.QUARANTINED


async def test_an_apply_later_than_claimed_is_a_fork(
    world: World, phone: Phone, shop: Shop
) -> None:
    """The header says that APPLY stands up to row 501; it stands behind it."""
    await stop(world, phone)
    await shop.send(shop.request())
    for number in range(501):
        shop.close(number.to_bytes(8))
    first = await shop.send(shop.request(applied=1))
    assert (first.verdict, first.acked_seq) == (V.ACCEPTED, 500)
    shop.acked = 500
    shop.accept(phone.pay(shop, 100))
    shop.append(Apply(epoch=1))
    assert (await shop.send(shop.request(applied=1))).verdict is V.JOURNAL_FORK


async def test_an_apply_that_the_header_hides_is_a_fork(
    world: World, phone: Phone, shop: Shop
) -> None:
    shop.append(Apply(epoch=1))
    assert (await shop.send(shop.request(applied=0))).verdict is V.JOURNAL_FORK


async def test_a_long_list_comes_in_deltas(world: World, shop: Shop, monkeypatch) -> None:
    from server_core.vouchers import syncing

    monkeypatch.setattr(syncing, "MAX_REVOKED", 2)
    for i in range(5):
        phone = await world.phone(await world.person(f"P{i}"))
        await phone.take()
        await stop(world, phone)
    for expected in (2, 4, 5, 5):
        await shop.sync()
        assert shop.applied == expected


async def test_a_revoked_terminal_drains_and_its_voids_wait_for_the_operator(
    world: World, phone: Phone, shop: Shop
) -> None:
    signed = phone.pay(shop, 100)
    async with world.db.work() as work:
        await terminals.revoke(work, OPERATOR, shop.id)
    assert await shop.settle(signed) == [V.ACCEPTED]
    void = shop.void(signed, VoidReason.RETURNED).to_text()
    assert await vouchers.hand_in(world.db, world.keys, void) == "waiting"
    assert await world.payable(shop) == 100
    assert await state(world, shop) is State.REVOKED


async def test_only_its_merchant_or_an_operator_revokes_a_terminal(
    world: World, shop: Shop
) -> None:
    stranger = Actor(party=shop.party.id, role=Role.PAYER)
    async with world.db.work() as work:
        assert await codes(terminals.revoke(work, stranger, shop.id)) == "terminals.unknown"
        assert (await terminals.revoke(work, world.merchant(shop), shop.id)).state is State.REVOKED


async def test_what_is_no_terminals_request_is_an_error_and_changes_nothing(
    world: World, phone: Phone, shop: Shop
) -> None:
    async def send(data: bytes) -> str:
        return await codes(vouchers.sync(world.db, world.keys, world.entropy, data))

    shop.accept(phone.pay(shop, 100))
    other = await world.shop()
    stolen = replace(shop, key=other.key).request().to_bytes()
    unknown = replace(shop, id=b"none").request().to_bytes()
    forged_nonce = shop.request(nonce=bytes(16)).to_bytes()
    assert await send(b"") == "vouchers.sync"
    assert await send(b"\xff" * 100) == "vouchers.sync"
    assert await send(shop.request().to_bytes() + b"\x00") == "vouchers.sync"
    assert await send(stolen) == "vouchers.sync_signature"
    assert await send(unknown) == "terminals.unknown"
    assert await send(forged_nonce) == "trust.nonce_used"
    late = shop.request().to_bytes()
    world.clock.advance(301_000)
    assert await send(late) == "trust.nonce_used"
    assert await world.payable(shop) == 0
    assert (await shop.sync()).verdict is V.ACCEPTED


async def test_two_syncs_of_one_terminal_at_once_are_one_history(
    world: World, phone: Phone, shop: Shop
) -> None:
    """The second half may overtake the first: then it is a gap, and nothing is lost."""
    shop.accept(*(phone.pay(shop, 10) for _ in range(6)))
    whole = shop.copy()
    half = replace(shop, rows=shop.rows[:3], chains=shop.chains[:3])
    await asyncio.gather(half.send(half.request()), whole.send(whole.request()))
    await shop.sync()
    assert await world.payable(shop) == 60
    assert await state(world, shop) is State.ACTIVE
