"""A payment whose rail denies what it had confirmed ends as an operator decides, once."""

import asyncio

import pytest

from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.payments import service
from server_core.payments.attempts import HOUSE
from server_core.payments.model import AttemptState, Decision, State
from server_core.rails.connected import Rails
from server_core.refunds import conflicts
from tests.server_core.payments.conftest import OPERATOR, World
from tests.server_core.payments.test_rails import (
    BACK,
    HOUR,
    NO,
    YES,
    Told,
    by_bank,
    events,
    later,
    over,
    owed,
    refused,
    stands,
)  # fmt: skip


async def conflicted(world: World, *after: object):
    """A payment of 150.00 over a rail that then says it gave it back; `after` is what it says next."""
    rail = Told(authorize=[YES], status=[BACK, *after], reverse=[BACK])
    rails = await over(world, Rails(by_name={"upi": rail}))
    paid = await world.confirm(by_bank(world, await world.ask()), rails)
    async with world.db.work() as work:
        _, [attempt] = await stands(world, paid)
        await service.hasten(work, attempt.id)
    await later(world, rails)
    intent, _ = await stands(world, paid)
    assert intent.state is State.CONFLICTED
    return rails, intent


async def decided(world: World, intent, decision: Decision, actor: Actor = OPERATOR):
    return await world.db.transact(lambda work: conflicts.decide(work, actor, intent.id, decision))


async def paid_by_the_house(world: World) -> int:
    account = account_id(Code.COMPENSATION, HOUSE, "INR")
    async with world.db.reader() as reader:
        return (await ledger.balances(reader, [account]))[account].balance


async def spend(world: World, amount: int) -> None:
    away = Transfer(
        id=derived("spent", world.shop.id),
        debit=parties.money_account(world.shop, "INR"),
        credit=account_id(Code.NOSTRO, "upi", "INR"),
        amount=amount,
    )
    async with world.db.work() as work:
        await ledger.open_accounts(work, [ledger.account(Code.NOSTRO, "upi", "INR")])
        [outcome] = await ledger.post(work, [away])
    assert outcome.ok, outcome


@pytest.mark.parametrize(
    ("decision", "state", "shop", "rail", "house"),
    [
        (Decision.TAKEN, State.SUCCEEDED, 15_000, 15_000, 0),
        (Decision.WRITTEN_OFF, State.SUCCEEDED, 15_000, 0, 15_000),
        (Decision.TAKEN_BACK, State.CANCELED, 0, 0, 0),
    ],
)
async def test_who_bears_it(world: World, decision, state, shop, rail, house) -> None:
    before = await owed(Code.CLEARING, "upi", world)
    _, intent = await conflicted(world)
    done = await decided(world, intent, decision)
    assert done.state is state
    assert await world.balance(world.shop) == shop
    assert await owed(Code.CLEARING, "upi", world) - before == rail
    assert await paid_by_the_house(world) == house
    assert (await events(world, intent)).count("payment.conflict_decided") == 1
    assert await refused(decided(world, intent, decision)) == "payments.state"


async def test_two_operators_at_once_decide_once(world: World) -> None:
    _, intent = await conflicted(world)
    outcomes = await asyncio.gather(
        decided(world, intent, Decision.WRITTEN_OFF),
        decided(world, intent, Decision.TAKEN_BACK),
        return_exceptions=True,
    )
    assert sum(isinstance(one, DomainError) for one in outcomes) == 1
    assert (await world.balance(world.shop) == 0) != (await paid_by_the_house(world) == 15_000)


async def test_what_the_rail_took_after_all_is_its_payers_again(world: World) -> None:
    before = await owed(Code.CLEARING, "upi", world)
    rails, intent = await conflicted(world, YES, YES)
    await decided(world, intent, Decision.TAKEN_BACK)
    _, [attempt] = await stands(world, intent)
    assert attempt.state is AttemptState.REVERSED
    async with world.db.work() as work:
        await service.hasten(work, attempt.id)
    await later(world, rails)
    await later(world, rails, HOUR)
    told = await events(world, intent)
    assert (told.count("stray.found"), told.count("stray.given_back")) == (1, 1)
    assert await owed(Code.CLEARING, "upi", world) == before


async def test_a_second_conflict_ends_as_the_first(world: World) -> None:
    rails, intent = await conflicted(world, BACK)
    await decided(world, intent, Decision.WRITTEN_OFF)
    _, [attempt] = await stands(world, intent)
    async with world.db.work() as work:
        await service.hasten(work, attempt.id)
    await later(world, rails)
    assert (await stands(world, intent))[0].state is State.CONFLICTED
    assert await refused(decided(world, intent, Decision.TAKEN_BACK)) == "payments.decided"
    assert (await decided(world, intent, Decision.WRITTEN_OFF)).state is State.SUCCEEDED
    assert (await world.balance(world.shop), await paid_by_the_house(world)) == (15_000, 15_000)


async def test_nobody_else_decides_and_only_what_is_in_conflict(world: World) -> None:
    _, intent = await conflicted(world, NO)
    shop = Actor(party=world.shop.id, role=Role.MERCHANT)
    assert await refused(decided(world, intent, Decision.TAKEN, shop)) == "payments.operators_only"
    fine = await world.confirm(world.pay(await world.ask()))
    assert await refused(decided(world, fine, Decision.TAKEN_BACK)) == "payments.state"
    assert await refused(decided(world, world.shop, Decision.TAKEN)) == "payments.unknown"


async def test_a_payee_who_has_spent_it_cannot_give_it_back(world: World) -> None:
    _, intent = await conflicted(world)
    await spend(world, 15_000)
    assert await refused(decided(world, intent, Decision.TAKEN_BACK)) == "payments.payee_short"
    assert (await stands(world, intent))[0].state is State.CONFLICTED
    assert (await decided(world, intent, Decision.WRITTEN_OFF)).state is State.SUCCEEDED
