"""A stray is held apart once and given back once, under one id until the rail refuses it for good."""

import asyncio
from uuid import UUID

import pytest

from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, account_id
from server_core.rails.connected import Rails
from server_core.rails.model import LinkPayment, Outcome, RailAnswer, RailRefund
from server_core.strays import jobs, service
from server_core.strays.model import RETRY_MS, Found, State
from tests.server_core.payments.conftest import World

INTENT = derived("intent", "stray")
SUSPENSE = account_id(Code.SUSPENSE, "upi", "INR")


class Refunds:
    """A rail that answers each asking to give back by a script, and keeps the ids that it heard."""

    def __init__(self, *script: Outcome) -> None:
        self.script, self.ids = list(script), []

    async def refund(self, refund: RailRefund) -> RailAnswer:
        self.ids.append(refund.refund)
        left = self.script
        return RailAnswer(outcome=left.pop(0) if len(left) > 1 else left[0])

    async def paid_by_link(self, _reference: str) -> list[LinkPayment]:
        return []


def found(intent: UUID) -> Found:
    return Found(
        attempt=derived("attempt", intent), intent=intent, rail="upi", debit="AXB1", amount=700, currency="INR",
        code="00", rail_reference="412345678901",
    )  # fmt: skip


async def held(world: World) -> int:
    async with world.db.reader() as reader:
        return (await ledger.balances(reader, [SUSPENSE]))[SUSPENSE].balance


@pytest.mark.parametrize(
    ("script", "ids"),
    [
        ([Outcome.SUCCEEDED], 1),
        ([Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.SUCCEEDED], 1),
        ([Outcome.DECLINED, Outcome.UNKNOWN, Outcome.SUCCEEDED], 2),
        ([Outcome.NOT_FOUND, Outcome.DECLINED, Outcome.SUCCEEDED], 3),
    ],
)
async def test_until_the_rail_has_given_it_back(world: World, script, ids) -> None:
    one, rail = found(INTENT), Refunds(*script)
    async with world.db.work() as work:
        assert await service.found(work, one)
    async with world.db.work() as work:
        assert not await service.found(work, one)
    assert await held(world) == 700
    rails = Rails(by_name={"upi": rail})
    for _ in range(5):
        await jobs.tick(world.db, rails)
        world.db.clock.advance(RETRY_MS)
    assert await held(world) == 0
    assert (len(rail.ids), len(set(rail.ids))) == (len(script), ids)
    async with world.db.reader() as reader:
        [stray] = await service.of_intent(reader, one.intent)
    assert stray.state is State.GIVEN_BACK


async def test_two_jobs_at_once_book_it_once(world: World) -> None:
    one, rails = found(INTENT), Rails(by_name={"upi": Refunds(Outcome.SUCCEEDED)})
    async with world.db.work() as work:
        await service.found(work, one)
    async with world.db.reader() as reader:
        [stray] = await service.of_intent(reader, one.intent)
    await asyncio.gather(*(service.give_back(world.db, rails, stray) for _ in range(4)))
    assert await held(world) == 0


async def test_a_rail_that_is_not_connected_is_tried_later(world: World) -> None:
    async with world.db.work() as work:
        await service.found(work, found(INTENT))
    assert await jobs.tick(world.db, Rails(by_name={})) == 1
    assert await jobs.tick(world.db, Rails(by_name={})) == 0
    assert await held(world) == 700
    world.db.clock.advance(RETRY_MS)
    await jobs.tick(world.db, Rails(by_name={"upi": Refunds(Outcome.SUCCEEDED)}))
    assert await held(world) == 0
