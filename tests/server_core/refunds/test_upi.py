"""Refunds over a rail: set aside, asked for once, landed by what the rail says; over sockets."""

import asyncio

import pytest

from server_core.errors import DomainError
from server_core.idempotency.model import LEASE_MS
from server_core.parties import service as parties
from server_core.payments.model import Method
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome, RailAnswer
from server_core.refunds import jobs, landing, service
from server_core.refunds.model import Refund, State
from tests.server_core.payments.conftest import World
from tests.server_core.payments.test_upi import by_bank, clearing, no_network, rails
from tests.server_core.refunds.test_book import back, stands

__all__ = ["no_network", "rails"]


async def paid(world: World, rails: Rails):
    return await world.confirm(by_bank(world, await world.ask()), rails)


async def refund(world: World, rails: Rails, command) -> Refund | str:
    try:
        return (await service.refund(world.db, rails, command)).value
    except DomainError as refused:
        return refused.code


async def available(world: World) -> int:
    account = parties.money_account(world.shop, "INR")
    async with world.db.reader() as reader:
        return (await service.ledger.balances(reader, [account]))[account].available


async def test_the_bank_gives_it_back(world, rails) -> None:
    intent = await paid(world, rails)
    made = await refund(world, rails, back(world, intent, 5_000))
    assert isinstance(made, Refund)
    assert (made.state, made.method) == (State.SUCCEEDED, Method.UPI)
    assert (await world.balance(world.shop), await clearing(world)) == (10_000, 110_000)
    assert (await stands(world, intent)).refunded == 5_000


async def test_without_a_network_nothing_goes_back_and_a_new_key_tries_again(
    world, rails, no_network
) -> None:
    intent = await paid(world, rails)
    command = back(world, intent)
    for _ in range(2):
        assert await refund(world, no_network, command) == "refunds.rail_unavailable"
    assert (await stands(world, intent)).refunded == 0
    assert await available(world) == 15_000
    again = await refund(world, rails, back(world, intent))
    assert isinstance(again, Refund)
    assert again.state is State.SUCCEEDED


class Silent:
    """A rail that takes a refund and says nothing until it is asked so often."""

    name = "upi"

    def __init__(self, asks: int, then: Outcome) -> None:
        self.asks, self.then, self.sent = asks, then, 0

    async def refund(self, _) -> RailAnswer:
        self.sent += 1
        return RailAnswer(outcome=Outcome.UNKNOWN)

    async def refund_status(self, *_) -> RailAnswer:
        self.asks -= 1
        return RailAnswer(outcome=Outcome.UNKNOWN if self.asks >= 0 else self.then, code="X1")


@pytest.mark.parametrize(
    ("then", "state", "shop", "says"),
    [
        (Outcome.SUCCEEDED, State.SUCCEEDED, 0, None),
        (Outcome.DECLINED, State.FAILED, 15_000, "refunds.failed"),
        (Outcome.NOT_FOUND, State.FAILED, 15_000, "refunds.rail_unavailable"),
    ],
)
async def test_no_clear_answer_is_asked_about_and_never_sent_again(
    world, rails, then, state, shop, says
) -> None:
    intent = await paid(world, rails)
    silent = Silent(2, then)
    slow = Rails(by_name={"upi": silent})
    command = back(world, intent)
    made = await refund(world, slow, command)
    assert isinstance(made, Refund)
    assert made.state is State.PENDING
    assert (await available(world), (await stands(world, intent)).refunded) == (0, 15_000)
    assert await refund(world, slow, back(world, intent, 1)) == "refunds.exceeds_captured"
    for _ in range(4):
        world.db.clock.advance(2 * 3600 * 1000)
        await jobs.reconcile(world.db, slow)
    async with world.db.reader() as reader:
        over = await service.get(reader, world.actor(world.shop), made.id)
    assert (over.state, await available(world)) == (state, shop)
    assert (await stands(world, intent)).refunded == 15_000 - shop
    assert silent.sent == 1
    told = await refund(world, slow, command)
    assert told == says if says else isinstance(told, Refund)


async def test_a_refund_that_was_landed_twice_moves_once(world, rails) -> None:
    intent = await paid(world, rails)
    slow = Rails(by_name={"upi": Silent(9, Outcome.SUCCEEDED)})
    made = await refund(world, slow, back(world, intent))
    assert isinstance(made, Refund)
    yes, no = (RailAnswer(outcome=one) for one in (Outcome.SUCCEEDED, Outcome.DECLINED))
    landed = await asyncio.gather(
        *(landing.land(world.db, made.id, one) for one in (yes, yes, no)), return_exceptions=True
    )
    states = {one.state for one in landed if isinstance(one, Refund)}
    assert len(states) <= 1
    now = await stands(world, intent)
    assert await available(world) == 15_000 - now.refunded


async def test_after_a_crash_before_the_answer_the_rail_is_asked(world, rails) -> None:
    intent = await paid(world, rails)

    class Lost(Silent):
        async def refund(self, _) -> RailAnswer:
            self.sent += 1
            raise ConnectionResetError

    lost = Lost(0, Outcome.SUCCEEDED)
    lossy = Rails(by_name={"upi": lost})
    command = back(world, intent)
    with pytest.raises(ConnectionResetError):
        await service.refund(world.db, lossy, command)
    world.db.clock.advance(LEASE_MS + 1)
    made = await refund(world, lossy, command)
    assert isinstance(made, Refund)
    assert (made.state, lost.sent, await available(world)) == (State.SUCCEEDED, 1, 0)
