"""A terminal's journal at the server: one history, told again without harm, forked never unnoticed."""

import pytest

from offline.journal import GENESIS, NewEpoch, chain
from offline.verdicts import Verdict
from server_core.errors import DomainError
from server_core.terminals import service as terminals
from server_core.terminals.model import State
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.street import ACCEPTED, DUPLICATE, ENTROPY


async def state(street, shop) -> State:
    async with street.db.reader() as reader:
        return (await terminals.get(reader, shop.terminal.id)).state


def restored(shop, *, at: int | None = None, link: bytes | None = None):
    """The same shop after `restore`: a new epoch whose first row names a row of the old one."""
    old_epoch, old_links = shop.epoch, list(shop.links)
    seq = len(old_links) if at is None else at
    shop.epoch, shop.journal, shop.links, shop.acked = ENTROPY.bytes(8), [], [], 0
    shop.write(
        NewEpoch(
            new_epoch=shop.epoch, old_epoch=old_epoch, old_seq=seq,
            old_chain=link or (old_links[seq - 1] if seq else GENESIS),
        )
    )  # fmt: skip
    return shop


async def test_an_empty_sync_brings_time_and_a_nonce(street) -> None:
    shop = await street.shop()
    assert await shop.sync() == []
    assert shop.answer.server_time == street.db.clock.now_ms() // 1000
    assert street.keys.nonce_expiry(shop.answer.next_nonce) is not None


async def test_a_gap_is_asked_for_again_and_settles_nothing(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100), phone.pay(shop, 200))
    assert await shop.sync(first=2) == [Verdict.JOURNAL_GAP]
    assert await street.owed(shop) == 0
    assert await shop.sync(first=1) == [ACCEPTED, ACCEPTED]


async def test_batches_overlap_without_harm(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100))
    await shop.sync()
    shop.accept(phone.pay(shop, 200))
    assert await shop.sync(first=1) == [ACCEPTED, ACCEPTED]
    assert await street.owed(shop) == 300


async def test_another_row_at_a_known_seq_is_a_fork(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    twin = phone.clone()
    shop.accept(phone.pay(shop, 100))
    await shop.sync()
    shop.journal, shop.links = [], []
    twin.counter, twin.cum = 1, 100
    shop.accept(twin.pay(shop, 200))  # a copied database went on by itself
    assert await shop.sync(first=1) == [Verdict.JOURNAL_FORK]
    assert await state(street, shop) is State.QUARANTINED
    assert await street.owed(shop) == 300  # each of its vouchers is judged by its h all the same
    async with street.db.reader() as reader:
        told = {row.counter: row.verdict for row in await vouchers.report(reader)}
    assert told == {1: "OV_ACCEPTED", 2: "OV_ACCEPTED"}


async def test_a_restored_terminal_goes_on_in_a_new_epoch(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    sold = phone.pay(shop, 100)
    shop.accept(sold)
    await shop.sync()
    restored(shop)
    shop.accept(sold, phone.pay(shop, 200))
    assert await shop.sync() == [ACCEPTED, DUPLICATE, ACCEPTED]
    assert await state(street, shop) is State.ACTIVE
    assert await street.owed(shop) == 300


async def test_a_terminal_that_never_synced_may_be_restored(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    await shop.sync()
    restored(shop, at=0)
    shop.accept(phone.pay(shop, 100))
    assert await shop.sync() == [ACCEPTED, ACCEPTED]


async def test_an_epoch_that_names_another_row_than_ours_is_a_fork(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100))
    await shop.sync()
    restored(shop, at=1, link=bytes(32))
    assert await shop.sync() == [Verdict.JOURNAL_FORK]


async def test_the_old_epoch_takes_only_resends(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100))
    await shop.sync()
    old = shop.epoch, list(shop.journal), list(shop.links)
    await restored(shop).sync()
    shop.epoch, shop.journal, shop.links = old
    assert await shop.sync(first=1) == [ACCEPTED]
    shop.accept(phone.pay(shop, 900))
    assert await shop.sync(first=1) == [Verdict.JOURNAL_FORK]
    assert await state(street, shop) is State.QUARANTINED


async def test_only_the_registered_key_speaks_for_a_terminal(street) -> None:
    shop, other = await street.shop(), await street.shop()
    shop.key = other.key
    with pytest.raises(DomainError, match=r"vouchers\.sync_signature"):
        await shop.sync()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x00" * 64, b"\x9f\xff", b"\xff" * 2000])
async def test_what_is_not_a_request_is_named(street, data: bytes) -> None:
    with pytest.raises(DomainError, match=r"vouchers\.sync:"):
        await vouchers.sync(street.db, street.keys, ENTROPY, data)


async def test_one_bad_row_is_one_bad_item(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100))
    shop.journal.append(b"\x82\x01\x18\x63")
    shop.links.append(chain(shop.terminal.id, shop.epoch, 2, shop.links[-1], shop.journal[-1]))
    shop.accept(phone.pay(shop, 200))
    assert await shop.sync() == [ACCEPTED, Verdict.UNSUPPORTED_VERSION, ACCEPTED]


async def test_a_forked_journals_apply_still_stops_what_comes_after_it(street) -> None:
    one, two, phone = await street.shop(), await street.shop(), await street.phone()
    one.accept(phone.clone().pay(one, 100))
    two.accept(phone.pay(two, 100))
    await one.sync()
    await two.sync()
    two.journal, two.links = [], []
    two.accept(phone.pay(two, 400))
    two.apply()
    two.accept(phone.pay(two, 500))
    assert await two.sync(first=1) == [Verdict.JOURNAL_FORK]
    assert await street.owed(two) == 400


async def test_a_forked_journals_void_still_gives_back(street) -> None:
    """The payer holds it: what the shop's files forgot since does not undo a signed promise."""
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 100))
    await shop.sync()
    shop.journal, shop.links = [], []
    sold = phone.pay(shop, 400)
    shop.accept(sold)
    shop.void(sold)
    assert await shop.sync(first=1) == [Verdict.JOURNAL_FORK]
    assert await street.owed(shop) == 100


async def test_only_a_journal_that_was_taken_counts_as_a_sync(street) -> None:
    shop, phone = await street.shop(), await street.phone()

    async def synced_at() -> int:
        async with street.db.reader() as reader:
            return await reader.value(
                "SELECT synced_at FROM terminal WHERE id = $1", shop.terminal.id
            )

    enrolled = await synced_at()
    assert enrolled == shop.terminal.enrolled_at
    street.db.clock.advance(60_000)
    shop.accept(phone.pay(shop, 100), phone.pay(shop, 200))
    assert await shop.sync(first=2) == [Verdict.JOURNAL_GAP]
    assert await synced_at() == enrolled
    assert await shop.sync(first=1) == [ACCEPTED, ACCEPTED]
    assert await synced_at() == street.db.clock.now_ms() > enrolled
