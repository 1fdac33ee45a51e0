"""A payment's status: nothing lost between reading and listening, nothing told twice."""

from inspect import isawaitable
from uuid import UUID

import pytest
from graphql import parse, subscribe
from msgspec.structs import replace

from graph.schema import SCHEMA, compiled
from graph.subscriptions import after
from server_core.errors import DomainError
from server_core.events import store as events
from server_core.events.model import Event
from server_core.ids import public
from server_core.payments import service as payments
from server_core.payments.model import State

STATUS = parse("subscription ($id: ID!) { paymentStatus(id: $id) { state payer { name } } }")


def event(intent, state: str, attempt: int | None = None, payer: UUID | None = None) -> Event:
    payload = {"state": state, "payer": str(payer) if payer else None}
    if attempt is not None:
        payload["attempt"] = str(attempt)
    return Event(
        seq=1, id=intent.id, aggregate_type="payment", aggregate_id=intent.id, sequence=1,
        type="payment.any", version=1, payload=payload, recorded_at=0, correlation=None,
        causation=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("now", "attempts", "state", "attempt", "then"),
    [
        ("requires_confirmation", 0, "requires_confirmation", None, "requires_confirmation"),
        ("requires_confirmation", 0, "processing", 1, "processing"),
        ("requires_confirmation", 0, "canceled", None, "canceled"),
        ("requires_confirmation", 0, "succeeded", 1, "succeeded"),
        ("processing", 1, "processing", 1, "processing"),
        ("processing", 1, "requires_payment_method", 1, "requires_payment_method"),
        ("requires_payment_method", 1, "processing", 1, "requires_payment_method"),
        ("requires_payment_method", 1, "processing", 2, "processing"),
        ("requires_payment_method", 2, "requires_payment_method", 1, "requires_payment_method"),
        ("requires_payment_method", 1, "expired", None, "expired"),
        ("succeeded", 2, "processing", 2, "succeeded"),
        ("succeeded", 2, "processing", 1, "succeeded"),
        ("canceled", 0, "requires_confirmation", None, "canceled"),
        ("processing", 1, "a state of tomorrow", 1, "processing"),
    ],
)
async def test_only_what_is_new_changes_it(world, now, attempts, state, attempt, then) -> None:
    intent = replace(await world.bill(), state=State(now), attempts=attempts)
    told = after(intent, event(intent, state, attempt))
    assert told.state == then
    assert (told == intent) is (then == now)


async def publish(world, intent) -> None:
    async with world.core.db.reader() as reader:
        await world.core.bus.publish(await events.of_aggregate(reader, intent.id))


async def stream(world, who, payment: str):
    started = subscribe(
        compiled(),
        STATUS,
        variable_values={"id": payment},
        context_value=world.context(who, batched=False),
        executor_class=SCHEMA.execution_context_class,
    )
    return await started if isawaitable(started) else started


async def test_first_the_state_then_each_change_to_the_end(world) -> None:
    intent = await world.bill()
    told = await stream(world, world.shop, public("pay", intent.id))
    first = await anext(told)
    assert first.data["paymentStatus"] == {"state": "REQUIRES_CONFIRMATION", "payer": None}
    await world.pay(world.asha, intent)
    await publish(world, intent)  # with what was read already, which is not told twice
    second = await anext(told)
    assert second.data["paymentStatus"] == {"state": "SUCCEEDED", "payer": {"name": "Asha"}}
    with pytest.raises(StopAsyncIteration):
        await anext(told)


async def test_what_is_final_is_told_once(world) -> None:
    intent = await world.bill()
    await payments.cancel(world.core.db, world.core.rails, world.actor(world.shop), intent.id)
    told = [
        result.data["paymentStatus"]["state"]
        async for result in await stream(world, world.shop, public("pay", intent.id))
    ]
    assert told == ["CANCELED"]


async def test_one_who_falls_behind_reads_anew(world) -> None:
    intent = await world.bill()
    told = await stream(world, world.shop, public("pay", intent.id))
    await anext(told)
    async with world.core.db.reader() as reader:
        created = await events.of_aggregate(reader, intent.id)
    await world.core.bus.publish(created * 300)  # more than it can hold: the rest is dropped
    await world.pay(world.asha, intent)
    assert (await anext(told)).data["paymentStatus"]["state"] == "SUCCEEDED"


async def test_who_was_only_shown_it_is_told_no_more_once_another_pays(world) -> None:
    intent = await world.bill()
    told = await stream(world, world.ravi, public("pay", intent.id))
    await anext(told)
    await world.pay(world.asha, intent)
    await publish(world, intent)
    with pytest.raises(DomainError) as caught:
        await anext(told)
    assert caught.value.code == "payments.unknown"


async def test_a_foreign_payment_has_no_status(world) -> None:
    intent = await world.bill()
    await world.pay(world.asha, intent)
    for stranger in (public("pay", intent.id), "pay_x"):
        with pytest.raises(DomainError):
            await anext(await stream(world, world.ravi, stranger))
