"""Create and confirm in one, and what a key means inside one batch and after a crash."""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest
from msgspec.structs import replace

from devices.clock import SystemClock
from server_core.errors import DomainError
from server_core.idempotency.model import LEASE_MS, WAIT_MS, Answer, Repeated
from server_core.payments import commands, jobs, service
from server_core.payments.confirming import Busy, Sent, confirm_many
from server_core.payments.model import (
    AttemptState,
    Create,
    Intent,
    Method,
    Pay,
    State,
)
from server_core.rails.calls import RailSettings
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome, RailAnswer
from server_core.rails.upi import UpiRail
from tests.server_core.payments.conftest import WITH_UPI
from tests.server_core.sandbox.running import sandbox


def pay(world, key: str = "k", amount: int = 500, **changes) -> Pay:
    offer = Create(
        actor=world.actor(world.asha), key=key, payee=world.shop.id, amount=amount, currency="INR"
    )
    return replace(Pay(offer=offer, method=Method.BOOK), **changes)


def by_bank(world, key: str = "k", vpa: str = "asha@okbank") -> Pay:
    return pay(world, key, method=Method.UPI, instrument=vpa)


async def at_once(world, *batch) -> list[object]:
    """The outcomes of one batch: one transaction."""
    async with world.db.work() as work:
        return await confirm_many(work, batch, rails=WITH_UPI)


async def intents(world) -> list[UUID]:
    async with world.db.reader() as reader:
        return [row["id"] for row in await reader.rows("SELECT id FROM intent")]


def code(outcome: object) -> str:
    assert isinstance(outcome, DomainError)
    return outcome.code


class TestOneBatch:
    async def test_equal_ones_pay_once_and_all_but_the_first_are_told_again(self, world) -> None:
        first, *others = await at_once(world, *[pay(world) for _ in range(5)])
        assert isinstance(first, Answer)
        assert (first.replayed, first.value.state) == (False, State.SUCCEEDED)
        assert others == [replace(first, replayed=True)] * 4
        assert await world.balance(world.shop) == 500

    async def test_one_after_another_too(self, world) -> None:
        [first] = await at_once(world, pay(world))
        assert await at_once(world, pay(world), pay(world)) == [replace(first, replayed=True)] * 2
        [poor] = await at_once(world, pay(world, "l", amount=100_001))
        [again] = await at_once(world, pay(world, "l", amount=100_001))
        assert isinstance(again, Repeated)
        assert (again.code, again.facts) == (poor.code, poor.facts)
        assert await world.balance(world.shop) == 500

    async def test_another_request_with_the_first_ones_key_is_refused(self, world) -> None:
        paid, other, same = await at_once(world, pay(world), pay(world, amount=501), pay(world))
        assert code(other) == "idempotency.key_reused"
        assert same == replace(paid, replayed=True)
        assert await world.balance(world.shop) == 500

    async def test_a_wrong_first_one_leaves_the_key_to_the_next(self, world) -> None:
        """As if they had come one after another."""
        wrong = pay(world, amount=0)
        outcomes = await at_once(world, wrong, pay(world), wrong, pay(world), pay(world, amount=7))
        assert code(outcomes[0]) == "money.amount"
        assert isinstance(outcomes[1], Answer)
        assert not outcomes[1].replayed
        assert code(outcomes[2]) == "idempotency.key_reused"
        assert outcomes[3] == replace(outcomes[1], replayed=True)
        assert code(outcomes[4]) == "idempotency.key_reused"
        assert await world.balance(world.shop) == 500

    async def test_wrong_ones_alone_are_each_told(self, world) -> None:
        outcomes = await at_once(world, *[pay(world, amount=0) for _ in range(3)])
        assert [code(one) for one in outcomes] == ["money.amount"] * 3
        assert not any(isinstance(one, Repeated) for one in outcomes)

    async def test_a_refusal_is_told_again(self, world) -> None:
        first, second = await at_once(world, *[pay(world, amount=100_001) for _ in range(2)])
        assert (code(first), code(second)) == ("payments.insufficient_funds",) * 2
        assert (isinstance(first, Repeated), isinstance(second, Repeated)) == (False, True)
        assert first.facts == second.facts
        assert len(await intents(world)) == 1

    async def test_a_rail_is_called_by_the_first_alone(self, world) -> None:
        first, *others = await at_once(world, *[by_bank(world) for _ in range(3)])
        assert isinstance(first, Sent)
        assert all(isinstance(one, Busy) and one.attempt is None for one in others)

    async def test_create_confirm_and_pay_side_by_side(self, world) -> None:
        intent = await world.ask(amount=300)
        confirm = world.pay(intent)
        outcomes = await at_once(world, pay(world), confirm, pay(world, "l"), confirm)
        assert [one.replayed for one in outcomes] == [False, False, False, True]
        assert await world.balance(world.shop) == 1_300
        shared = await at_once(world, replace(confirm, key="k"))
        assert code(shared[0]) == "idempotency.key_reused"

    async def test_two_parties_with_one_key_never_meet(self, world) -> None:
        theirs = pay(world)
        theirs = replace(theirs, offer=replace(theirs.offer, actor=world.actor(world.ravi)))
        paid, poor = await at_once(world, pay(world), theirs)
        assert isinstance(paid, Answer)
        assert code(poor) == "payments.insufficient_funds"


@pytest.fixture
async def rails(world):
    with sandbox() as address:
        quick = RailSettings(authorize_s=5, rest_s=2)
        async with UpiRail.connect(address, clock=world.db.clock, settings=quick) as upi:
            yield Rails(by_name={"upi": upi})


class Counted:
    """A rail that counts what is sent through it."""

    def __init__(self, rail: UpiRail) -> None:
        self.rail, self.sent, self.asked = rail, 0, 0
        self.under_way = asyncio.Event()

    async def authorize(self, order) -> RailAnswer:
        self.sent += 1
        self.under_way.set()
        return await self.rail.authorize(order)

    async def status(self, attempt: UUID, amount_minor: int) -> RailAnswer:
        self.asked += 1
        return await self.rail.status(attempt, amount_minor)


class TestOverARail:
    async def test_a_command_that_is_cut_off_in_the_call_is_found_again(self, world, rails) -> None:
        counted = Counted(rails.by_name["upi"])
        rails = Rails(by_name={"upi": counted})
        command = by_bank(world, vpa="slow.400@okbank")
        task = asyncio.ensure_future(commands.confirm(world.db, world.queue, rails, command))
        await counted.under_way.wait()
        await asyncio.wait({task}, timeout=0.1)  # the request has left, its answer has not come
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        world.db.clock.advance(LEASE_MS)
        taken_over = await commands.confirm(world.db, world.queue, rails, command)
        assert (taken_over.value.state, taken_over.replayed) == (State.SUCCEEDED, False)
        again = await commands.confirm(world.db, world.queue, rails, command)
        assert again == replace(taken_over, replayed=True)
        assert (counted.sent, counted.asked) == (1, 1)
        assert await world.balance(world.shop) == 500

    async def test_a_time_out_that_succeeded_late(self, world, rails) -> None:
        command = by_bank(world, vpa="late.1@okbank")
        unclear = await commands.confirm(world.db, world.queue, rails, command)
        assert unclear.value.state is State.PROCESSING
        assert await commands.confirm(world.db, world.queue, rails, command) == replace(
            unclear, replayed=True
        )
        for _ in range(3):
            world.db.clock.advance(3_600_000)
            await jobs.reconcile(world.db, rails)
        final = await commands.confirm(world.db, world.queue, rails, command)
        assert (final.value.state, final.replayed) == (State.SUCCEEDED, True)
        assert await world.balance(world.shop) == 500

    async def test_what_the_rail_never_took_is_sent_anew_on_the_same_intent(
        self, world, rails
    ) -> None:
        command = by_bank(world)
        assert isinstance(await world.queue.submit(command), Sent)  # killed before the call
        world.db.clock.advance(LEASE_MS)
        with pytest.raises(DomainError, match=r"payments\.rail_unavailable") as told:
            await commands.confirm(world.db, world.queue, rails, command)
        assert told.value.facts["payment"].startswith("pay_")
        paid = await commands.confirm(world.db, world.queue, rails, command)
        assert (paid.value.state, paid.replayed) == (State.SUCCEEDED, False)
        assert await intents(world) == [paid.value.id]
        async with world.db.reader() as reader:
            tries = await service.attempts(reader, world.actor(world.asha), paid.value.id)
        assert [one.state for one in tries] == [AttemptState.NOT_SENT, AttemptState.SUCCEEDED]

    async def test_a_key_used_anew_never_takes_over_the_old_requests_attempt(
        self, world, rails
    ) -> None:
        """The old attempt is still open a day later; the new request's process dies in its call."""
        old, new = await world.ask(amount=100), await world.ask(amount=200)
        given = {"key": "k", "method": Method.UPI, "instrument": "deemed.9@okbank"}
        await world.confirm(world.pay(old, **given), rails)
        async with world.db.work() as work:
            await work.execute("DELETE FROM idempotency")
        again = world.pay(new, **given | {"instrument": "asha@okbank"})
        assert isinstance(await world.queue.submit(again), Sent)
        world.db.clock.advance(LEASE_MS)
        busy = await world.queue.submit(again)
        assert isinstance(busy, Busy)
        async with world.db.reader() as reader:
            [attempt] = await service.attempts(reader, world.actor(world.asha), new.id)
        assert busy.attempt == attempt.id

    async def test_a_waiting_duplicate_of_what_was_never_sent_does_not_send_it_itself(
        self, world
    ) -> None:
        world.db.clock = SystemClock()
        gone, sent = asyncio.Event(), []

        class Down:
            async def authorize(self, order) -> RailAnswer:
                sent.append(order.attempt)
                await gone.wait()
                return RailAnswer(outcome=Outcome.NOT_SENT)

        rails = Rails(by_name={"upi": Down()})
        asked = [
            asyncio.ensure_future(commands.confirm(world.db, world.queue, rails, by_bank(world)))
            for _ in range(20)
        ]
        await asyncio.wait(asked, timeout=0.4)
        gone.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert sorted(map(code, outcomes)) == (
            ["idempotency.undecided"] * 19 + ["payments.rail_unavailable"]
        )
        assert len(sent) == 1

    async def test_a_duplicate_waits_ten_seconds_and_no_longer(self, world) -> None:
        command = by_bank(world)
        assert isinstance(await world.queue.submit(command), Sent)
        began = world.db.clock.monotonic_ms()
        with pytest.raises(DomainError, match=r"idempotency\.still_running") as told:
            await commands.confirm(world.db, world.queue, Rails(by_name={}), command)
        assert WAIT_MS <= world.db.clock.monotonic_ms() - began < WAIT_MS + 1_000
        assert told.value.facts == {"retry_after_s": 15}


class TestAfterTheKeysTime:
    async def forget(self, world) -> None:
        async with world.db.work() as work:
            await work.execute("DELETE FROM idempotency")

    async def test_it_is_the_same_payment(self, world) -> None:
        first = await commands.confirm(world.db, world.queue, Rails(by_name={}), pay(world))
        await self.forget(world)
        outcomes = await at_once(world, pay(world), pay(world), pay(world, amount=501))
        assert outcomes[:2] == [replace(first, replayed=True)] * 2
        assert code(outcomes[2]) == "idempotency.key_reused"
        assert await world.balance(world.shop) == 500

    async def test_another_request_alone_leaves_the_key_to_the_one_it_is_of(self, world) -> None:
        first = await commands.confirm(world.db, world.queue, Rails(by_name={}), pay(world))
        await self.forget(world)
        [other] = await at_once(world, pay(world, amount=501))
        assert code(other) == "idempotency.key_reused"
        assert await at_once(world, pay(world)) == [replace(first, replayed=True)]

    async def test_what_was_refused_is_tried_again_on_the_intent_it_made(self, world) -> None:
        [poor] = await at_once(world, pay(world, amount=100_001))
        assert code(poor) == "payments.insufficient_funds"
        await self.forget(world)
        [again] = await at_once(world, pay(world, amount=100_001))
        assert code(again) == "payments.insufficient_funds"
        assert not isinstance(again, Repeated)
        assert len(await intents(world)) == 1

    async def test_an_intent_that_was_made_is_not_made_again(self, world) -> None:
        command = pay(world).offer
        made = await commands.create(world.db, command)
        await self.forget(world)
        again = await asyncio.gather(*(commands.create(world.db, command) for _ in range(8)))
        assert {(one.value, one.replayed) for one in again} == {(made.value, True)}
        await self.forget(world)
        with pytest.raises(DomainError, match=r"idempotency\.key_reused"):
            await commands.create(world.db, replace(command, amount=1))
        assert isinstance(made.value, Intent)
