"""A settled voucher is a payment: seen, refunded like any other, and never given back twice."""

import asyncio

import pytest

from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.payments import service as payments
from server_core.payments.model import Method, State
from server_core.rails.connected import Rails
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from server_core.vouchers import service as vouchers

NO_RAILS = Rails(by_name={})


async def sold(street, amount: int = 10_000):
    shop, phone = await street.shop(), await street.phone()
    one = phone.pay(shop, amount)
    shop.accept(one)
    await shop.sync()
    return shop, phone, one


def merchant(shop) -> Actor:
    return Actor(party=shop.terminal.party, role=Role.MERCHANT)


async def payment_of(street, shop):
    async with street.db.reader() as reader:
        [found] = await payments.mine(reader, merchant(shop), before=None, limit=10)
        [attempt] = await payments.attempts(reader, merchant(shop), found.id)
    return found, attempt


async def back(street, shop, intent, amount: int | None, key: str) -> str:
    ask = Ask(actor=merchant(shop), key=key, intent=intent.id, amount=amount)
    try:
        return (await refunds.refund(street.db, NO_RAILS, ask)).value.state
    except DomainError as refused:
        return refused.code


async def test_it_is_seen_by_both(street) -> None:
    shop, _phone, _ = await sold(street)
    found, attempt = await payment_of(street, shop)
    assert (found.state, found.amount, found.captured) == (State.SUCCEEDED, 10_000, 10_000)
    assert (attempt.method, attempt.rail) == (Method.OFFLINE, None)
    async with street.db.reader() as reader:
        payer = Actor(party=found.payer, role=Role.PAYER)
        assert await payments.mine(reader, payer, before=None, limit=10) == [found]


async def test_a_part_of_it_goes_back_into_the_wallet(street) -> None:
    shop, phone, _ = await sold(street)
    before = await street.wallet(phone)
    found, _ = await payment_of(street, shop)
    assert await back(street, shop, found, 4_000, "one") == "succeeded"
    assert await back(street, shop, found, 6_001, "two") == "refunds.exceeds_captured"
    assert (await street.owed(shop), await street.wallet(phone) - before) == (6_000, 4_000)


async def test_a_void_after_refunds_gives_the_rest(street) -> None:
    shop, phone, one = await sold(street)
    before = await street.wallet(phone)
    found, _ = await payment_of(street, shop)
    await back(street, shop, found, 4_000, "one")
    text = shop.void_of(one).to_text()
    for _ in range(2):
        assert await vouchers.hand_in(street.db, street.keys, text) == "applied"
    assert (await street.owed(shop), await street.wallet(phone) - before) == (0, 10_000)
    assert await back(street, shop, found, None, "two") == "refunds.nothing_left"


async def test_a_void_of_what_was_refunded_whole_moves_nothing(street) -> None:
    shop, phone, one = await sold(street)
    before = await street.wallet(phone)
    found, _ = await payment_of(street, shop)
    await back(street, shop, found, None, "one")
    text = shop.void_of(one).to_text()
    assert await vouchers.hand_in(street.db, street.keys, text) == "applied"
    assert (await street.owed(shop), await street.wallet(phone) - before) == (0, 10_000)


@pytest.mark.parametrize("parts", [2, 4])
async def test_void_and_refunds_at_once(street, parts) -> None:
    shop, phone, one = await sold(street)
    before = await street.wallet(phone)
    found, _ = await payment_of(street, shop)
    text = shop.void_of(one).to_text()
    await asyncio.gather(
        *(back(street, shop, found, 10_000 // parts, f"k{n}") for n in range(parts + 1)),
        vouchers.hand_in(street.db, street.keys, text),
        vouchers.hand_in(street.db, street.keys, text),
    )
    assert (await street.owed(shop), await street.wallet(phone) - before) == (0, 10_000)
