"""Refunds of wallet payments: whole, in parts, never more than was captured, once per key."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.idempotency import jobs as idempotency_jobs
from server_core.idempotency.model import TTL_MS
from server_core.payments import commands
from server_core.payments import service as payments
from server_core.payments.model import Capture, CaptureMethod, Intent
from server_core.refunds import service
from server_core.refunds.model import Ask, Refund, State
from tests.server_core.payments.conftest import NO_RAILS, World


async def paid(world: World, amount: int = 15_000) -> Intent:
    return await world.confirm(world.pay(await world.ask(amount)))


def back(world: World, intent: Intent, amount: int | None = None, **more: object) -> Ask:
    known = {"actor": world.actor(world.shop), "key": world.key(), "intent": intent.id}
    return Ask(**known | {"amount": amount} | more)


async def refunded(world: World, command: Ask) -> Refund | str:
    try:
        return (await service.refund(world.db, NO_RAILS, command)).value
    except DomainError as refused:
        return refused.code


async def stands(world: World, intent: Intent) -> Intent:
    async with world.db.reader() as reader:
        return await payments.get(reader, world.actor(world.shop), intent.id)


async def test_the_whole_goes_back(world: World) -> None:
    intent = await paid(world)
    made = await refunded(world, back(world, intent))
    assert isinstance(made, Refund)
    assert (made.state, made.amount) == (State.SUCCEEDED, 15_000)
    assert (await world.balance(world.asha), await world.balance(world.shop)) == (100_000, 0)
    assert (await stands(world, intent)).refunded == 15_000
    assert await refunded(world, back(world, intent)) == "refunds.nothing_left"


async def test_three_refunds_of_40_on_100_at_once(world: World) -> None:
    intent = await paid(world, 100)
    said = await asyncio.gather(*(refunded(world, back(world, intent, 40)) for _ in range(3)))
    assert [one for one in said if isinstance(one, str)] == ["refunds.exceeds_captured"]
    assert (await stands(world, intent)).refunded == 80
    assert await world.balance(world.shop) == 20


async def test_the_same_key_is_one_refund(world: World) -> None:
    intent = await paid(world)
    command = back(world, intent, 1_000)
    every = await asyncio.gather(*(refunded(world, command) for _ in range(20)))
    assert len({one.id for one in every if isinstance(one, Refund)}) == 1
    assert not [one for one in every if isinstance(one, str)]
    assert await world.balance(world.shop) == 14_000
    assert await refunded(world, replace(command, amount=2_000)) == "idempotency.key_reused"


async def test_the_key_makes_one_refund_after_its_answer_is_forgotten(world: World) -> None:
    intent = await paid(world)
    command = back(world, intent, 1_000)
    first = await refunded(world, command)
    world.db.clock.advance(TTL_MS + 1)
    await idempotency_jobs.tick(world.db)
    assert await refunded(world, command) == first
    assert await refunded(world, replace(command, amount=2_000)) == "idempotency.key_reused"
    assert await world.balance(world.shop) == 14_000


@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(parts=st.lists(st.integers(1, 70), min_size=1, max_size=6))
async def test_parts_never_exceed_what_was_captured(world: World, parts: list[int]) -> None:
    before = await world.balance(world.shop)
    intent, gone = await paid(world, 100), 0
    for part in parts:
        said = await refunded(world, back(world, intent, part))
        if isinstance(said, Refund):
            gone += part
        else:
            left = "refunds.exceeds_captured"
            assert (said, part > 100 - gone) == (left, True)
    assert (await stands(world, intent)).refunded == gone <= 100
    assert await world.balance(world.shop) == before + 100 - gone


async def test_only_what_was_captured_goes_back(world: World) -> None:
    asked = await world.ask(1_000, capture_method=CaptureMethod.MANUAL_MULTIPLE)
    intent = await world.confirm(world.pay(asked))
    assert await refunded(world, back(world, intent)) == "refunds.nothing_left"
    take = Capture(
        actor=world.actor(world.shop), key=world.key(), intent=intent.id, amount=300, final=False
    )
    await commands.capture(world.db, NO_RAILS, take)
    assert await refunded(world, back(world, intent, 301)) == "refunds.exceeds_captured"
    assert isinstance(await refunded(world, back(world, intent, 300)), Refund)


async def test_a_payee_that_does_not_hold_it_keeps_it(world: World) -> None:
    """What was paid to a person and spent since cannot be given back."""
    intent = await world.confirm(world.pay(await world.ask(15_000, by=world.ravi)))
    await world.confirm(world.pay(await world.ask(10_000), payer=world.ravi))
    asked = back(world, intent, actor=world.actor(world.ravi))
    assert await refunded(world, asked) == "refunds.insufficient_funds"
    assert (await stands_for(world, intent)).refunded == 0


async def stands_for(world: World, intent: Intent) -> Intent:
    async with world.db.reader() as reader:
        return await payments.get(reader, world.actor(world.ravi), intent.id)


async def test_who_may_not(world: World) -> None:
    intent = await paid(world)
    payer = back(world, intent, actor=world.actor(world.asha))
    assert await refunded(world, payer) == "refunds.not_the_payee"
    stranger = back(world, intent, actor=Actor(party=world.ravi.id, role=Role.PAYER))
    assert await refunded(world, stranger) == "payments.unknown"
    made = await refunded(world, back(world, intent, 1))
    assert isinstance(made, Refund)
    async with world.db.reader() as reader:
        assert await service.get(reader, world.actor(world.asha), made.id) == made
        with pytest.raises(DomainError, match=r"refunds\.unknown"):
            await service.get(reader, world.actor(world.ravi), made.id)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 0}, "money.amount"),
        ({"amount": 15_001}, "refunds.exceeds_captured"),
        ({"note": "x" * 141}, "refunds.note"),
        ({"note": "a\nb"}, "refunds.note"),
        ({"key": ""}, "idempotency.key_missing"),
    ],
)
async def test_what_is_refused(world: World, change: dict[str, object], code: str) -> None:
    intent = await paid(world)
    assert await refunded(world, back(world, intent, **change)) == code
    assert (await stands(world, intent)).refunded == 0
