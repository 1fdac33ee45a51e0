"""Over a rail: two commits with the call between them, against the sandbox switch over sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from devices.clock import SystemClock
from server_core.errors import DomainError
from server_core.idempotency.model import LEASE_MS
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, account_id
from server_core.payments import jobs, landing, service
from server_core.payments.confirming import Sent
from server_core.payments.model import (
    AttemptState,
    Create,
    Method,
    Purpose,
    State,
)
from server_core.rails.calls import RailSettings
from server_core.rails.connected import Rails
from server_core.rails.upi import UpiRail
from tests.server_core.sandbox.running import sandbox

CLEARING = account_id(Code.CLEARING, Method.UPI, "INR")
QUICK = RailSettings(authorize_s=0.4, rest_s=2)


@pytest.fixture
async def rails(world) -> AsyncIterator[Rails]:
    with sandbox() as address:
        async with UpiRail.connect(address, clock=world.db.clock, settings=QUICK) as upi:
            yield Rails(by_name={"upi": upi})


@pytest.fixture
async def no_network(world) -> AsyncIterator[Rails]:
    async with UpiRail.connect("http://127.0.0.1:9", clock=world.db.clock, settings=QUICK) as upi:
        yield Rails(by_name={"upi": upi})


async def clearing(world) -> int:
    async with world.db.reader() as reader:
        return (await ledger.balances(reader, [CLEARING]))[CLEARING].balance


async def stands(world, intent):
    async with world.db.reader() as reader:
        now = await service.get(reader, world.actor(world.shop), intent.id)
        return now, await service.attempts(reader, world.actor(world.shop), intent.id)


def by_bank(world, intent, vpa: str = "asha@okbank"):
    return world.pay(intent, method=Method.UPI, instrument=vpa)


async def refused(awaitable) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value


async def test_a_bank_payment_lands_in_the_shops_account(world, rails) -> None:
    intent = await world.ask()
    paid = await world.confirm(by_bank(world, intent), rails)
    assert paid.state is State.SUCCEEDED
    assert (await world.balance(world.shop), await clearing(world)) == (15_000, 115_000)
    _, [attempt] = await stands(world, intent)
    assert (attempt.state, attempt.code) == (AttemptState.SUCCEEDED, "00")
    assert len(attempt.rail_reference) == 12


async def test_a_top_up_fills_ones_own_wallet(world, rails) -> None:
    intent = await service.create(
        world.db,
        Create(
            actor=world.actor(world.asha), key="t", payee=world.asha.id, amount=500,
            currency="INR", purpose=Purpose.TOP_UP,
        ),
    )  # fmt: skip
    by_wallet = await refused(world.confirm(world.pay(intent)))
    assert by_wallet.code == "payments.top_up_method"
    await world.confirm(by_bank(world, intent), rails)
    assert await world.balance(world.asha) == 100_500


async def test_fifty_confirms_with_one_key_debit_once(world, rails) -> None:
    world.db.clock = SystemClock()  # duplicates wait for the first one, in real time
    command = by_bank(world, await world.ask())
    answers = await asyncio.gather(*(world.confirm(command, rails) for _ in range(50)))
    assert {answer.state for answer in answers} == {State.SUCCEEDED}
    assert await world.balance(world.shop) == 15_000


async def test_a_decline_gives_everything_back_and_may_be_tried_again(world, rails) -> None:
    intent = await world.ask()
    command = by_bank(world, intent, "decline.Z9@okbank")
    for _ in range(2):  # the second is the kept answer
        said = await refused(world.confirm(command, rails))
        assert (said.code, said.facts) == ("payments.declined", {"rail_code": "Z9"})
    assert (await world.balance(world.shop), await clearing(world)) == (0, 100_000)
    assert (await world.confirm(by_bank(world, intent), rails)).state is State.SUCCEEDED


async def test_what_never_left_may_be_tried_again(world, no_network, rails) -> None:
    intent = await world.ask()
    command = by_bank(world, intent)
    said = await refused(world.confirm(command, no_network))
    assert said.code == "payments.rail_unavailable"
    assert (await world.confirm(command, rails)).state is State.SUCCEEDED  # the key is free
    assert await world.balance(world.shop) == 15_000


async def test_a_late_landing_leaves_a_key_that_was_used_anew(world, rails) -> None:
    intent, other = await world.ask(), await world.ask(amount=200)
    command = by_bank(world, intent, "deemed@okbank")
    await world.confirm(command, rails)
    async with world.db.work() as work:
        await work.execute("DELETE FROM idempotency")  # its time is over
    second = world.pay(other, key=command.key)
    paid = await world.confirm(second)
    world.db.clock.advance(3_600_000)
    await jobs.reconcile(world.db, rails)
    assert (await stands(world, intent))[0].state is State.SUCCEEDED
    assert await world.confirm(second) == paid


@pytest.mark.parametrize("vpa", ["deemed@okbank", "timeout@okbank", "garbage@okbank"])
async def test_an_unclear_answer_is_asked_about_and_never_sent_again(world, rails, vpa) -> None:
    intent = await world.ask()
    command = by_bank(world, intent, vpa)
    waiting = await world.confirm(command, rails)
    assert waiting.state is State.PROCESSING
    assert await world.balance(world.shop) == 0
    again = await refused(world.confirm(by_bank(world, intent), rails))
    assert again.code == "payments.state"
    assert await jobs.reconcile(world.db, rails) == 0  # not before the switch allows it
    for _ in range(4):
        world.db.clock.advance(3_600_000)
        await jobs.reconcile(world.db, rails)
    now, [attempt] = await stands(world, intent)
    assert (now.state, attempt.state) == (State.SUCCEEDED, AttemptState.SUCCEEDED)
    assert await world.balance(world.shop) == 15_000
    assert (await world.confirm(command, rails)).state is State.SUCCEEDED


async def test_what_was_lost_on_the_way_is_found_not_to_exist(world, rails) -> None:
    intent = await world.ask()
    assert (await world.confirm(by_bank(world, intent, "lost@okbank"), rails)).state is (
        State.PROCESSING
    )
    world.db.clock.advance(LEASE_MS)
    await jobs.reconcile(world.db, rails)
    now, [attempt] = await stands(world, intent)
    assert (now.state, attempt.state) == (State.REQUIRES_PAYMENT_METHOD, AttemptState.NOT_SENT)
    assert (await world.balance(world.shop), await clearing(world)) == (0, 100_000)


async def test_what_stays_unclear_is_reversed_in_time(world, rails) -> None:
    intent = await world.ask()
    command = by_bank(world, intent, "stuck@okbank")
    await world.confirm(command, rails)
    for _ in range(30):
        world.db.clock.advance(3_600_000)
        await jobs.reconcile(world.db, rails)
    now, [attempt] = await stands(world, intent)
    assert (now.state, attempt.state) == (State.REQUIRES_PAYMENT_METHOD, AttemptState.REVERSED)
    assert (await world.balance(world.shop), await clearing(world)) == (0, 100_000)
    assert (await refused(world.confirm(command, rails))).code == "payments.declined"


async def test_an_attempt_that_cannot_be_asked_about_waits_and_stops_nobody(world, rails) -> None:
    intent = await world.ask()
    await world.confirm(by_bank(world, intent, "deemed@okbank"), rails)
    world.db.clock.advance(3_600_000)
    assert await jobs.reconcile(world.db, Rails(by_name={})) == 1  # no such rail: not raised
    assert await jobs.reconcile(world.db, rails) == 0  # put off, so that it is not always first
    world.db.clock.advance(jobs.RETRY_MS)
    await jobs.reconcile(world.db, rails)
    assert (await stands(world, intent))[0].state is State.SUCCEEDED


async def test_a_hold_ends_in_an_account_that_was_closed_meanwhile(world, rails) -> None:
    intent = await world.ask()
    await world.confirm(by_bank(world, intent, "deemed@okbank"), rails)
    async with world.db.work() as work:
        shop = account_id(Code.PAYABLE, world.shop.id, "INR")
        await ledger.set_limits(work, shop, floor=0, cap=None, closed=True)
    world.db.clock.advance(3_600_000)
    await jobs.reconcile(world.db, rails)
    assert (await stands(world, intent))[0].state is State.SUCCEEDED
    assert await world.balance(world.shop) == 15_000


class TestCrashBetweenTheCommits:
    """The process died after transaction 1: the money is held, the rail may or may not know."""

    async def test_the_rail_was_called(self, world, rails) -> None:
        intent = await world.ask()
        sent = await world.queue.submit(by_bank(world, intent))
        assert isinstance(sent, Sent)
        await rails.by_name["upi"].authorize(sent.order)
        world.db.clock.advance(LEASE_MS)
        assert await jobs.reconcile(world.db, rails) == 1
        assert (await stands(world, intent))[0].state is State.SUCCEEDED
        assert await world.balance(world.shop) == 15_000

    async def test_the_rail_was_not_called(self, world, rails) -> None:
        intent = await world.ask()
        command = by_bank(world, intent)
        assert isinstance(await world.queue.submit(command), Sent)
        world.db.clock.advance(LEASE_MS)
        said = await refused(world.confirm(command, rails))  # takes over by asking
        assert said.code == "payments.rail_unavailable"
        assert (await world.confirm(by_bank(world, intent), rails)).state is State.SUCCEEDED
        assert await world.balance(world.shop) == 15_000

    async def test_two_take_over_at_once(self, world, rails) -> None:
        command = by_bank(world, await world.ask())
        sent = await world.queue.submit(command)
        await rails.by_name["upi"].authorize(sent.order)
        world.db.clock.advance(LEASE_MS)
        answers = await asyncio.gather(
            world.confirm(command, rails),
            world.confirm(command, rails),
            jobs.reconcile(world.db, rails),
        )
        assert {answers[0].state, answers[1].state} == {State.SUCCEEDED}
        assert await world.balance(world.shop) == 15_000


async def test_a_late_answer_to_a_landed_attempt_changes_nothing(world, rails) -> None:
    intent = await world.ask()
    await world.confirm(by_bank(world, intent), rails)
    _, [attempt] = await stands(world, intent)
    answer = await rails.by_name["upi"].status(attempt.id)
    assert (await landing.land(world.db, rails, attempt.id, answer)).state is State.SUCCEEDED
    assert await world.balance(world.shop) == 15_000


async def test_an_intents_expiry_never_voids_an_attempt_in_flight(world, rails) -> None:
    intent = await world.ask(life_ms=60_000)
    await world.confirm(by_bank(world, intent, "deemed@okbank"), rails)
    world.db.clock.advance(120_000)
    assert await jobs.expire(world.db) == 0
    assert (await stands(world, intent))[0].state is State.PROCESSING


async def test_an_unconnected_rail_is_no_route(world) -> None:
    foreign = await service.create(
        world.db,
        Create(
            actor=world.actor(world.shop), key="usd", payee=world.shop.id, amount=5, currency="USD"
        ),
    )
    said = await refused(world.confirm(by_bank(world, foreign)))
    assert (said.code, said.facts) == ("payments.no_route", {"reason": "currency"})
