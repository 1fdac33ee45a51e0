"""Authorize now, capture later: whole, in parts, never more, and never after its time."""

import asyncio
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.parties import service as parties
from server_core.payments import commands, jobs, service, store
from server_core.payments.model import (
    HOLD_MS,
    Cancel,
    Capture,
    CaptureMethod,
    Intent,
    Method,
    Operation,
    State,
)
from tests.server_core.payments.conftest import NO_RAILS, World

ONCE, PARTS = CaptureMethod.MANUAL, CaptureMethod.MANUAL_MULTIPLE


async def held(world: World, amount: int = 15_000, how: CaptureMethod = ONCE) -> Intent:
    asked = await world.ask(amount, capture_method=how)
    return await world.confirm(world.pay(asked))


def take(
    world: World, held: Intent, amount: int | None = None, *, final: bool = True, **more: object
) -> Capture:
    known = {"actor": world.actor(world.shop), "key": world.key(), "intent": held.id}
    return Capture(**known | {"amount": amount, "final": final} | more)


async def captured(db: Database, command: Capture) -> Intent | str:
    try:
        return (await commands.capture(db, NO_RAILS, command)).value
    except DomainError as refused:
        return refused.code


async def stands(world: World, intent: Intent) -> Intent:
    async with world.db.reader() as reader:
        return await service.get(reader, world.actor(world.shop), intent.id)


async def pending(world: World) -> int:
    account = parties.money_account(world.asha, "INR")
    async with world.db.reader() as reader:
        return (await service.ledger.balances(reader, [account]))[account].available


async def test_the_money_is_set_aside_and_then_taken(world: World) -> None:
    intent = await held(world)
    assert intent.state is State.REQUIRES_CAPTURE
    assert (intent.captured, intent.capturable) == (0, 15_000)
    assert (await world.balance(world.asha), await pending(world)) == (100_000, 85_000)
    done = (await commands.capture(world.db, NO_RAILS, take(world, intent))).value
    assert (done.state, done.captured, done.capturable) == (State.SUCCEEDED, 15_000, 0)
    assert await world.balance(world.shop) == 15_000
    async with world.db.reader() as reader:
        tried = await store.attempts(reader, intent.id)
    assert [(one.operation, one.amount) for one in tried] == [
        (Operation.PAY, 15_000),
        (Operation.CAPTURE, 15_000),
    ]


async def test_a_part_is_taken_and_the_rest_given_back(world: World) -> None:
    intent = await held(world)
    done = (await commands.capture(world.db, NO_RAILS, take(world, intent, 4_000))).value
    assert (done.state, done.captured) == (State.SUCCEEDED, 4_000)
    assert (await world.balance(world.shop), await pending(world)) == (4_000, 96_000)


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(parts=st.lists(st.integers(1, 700), min_size=1, max_size=8), last=st.booleans())
async def test_parts_never_exceed_what_was_set_aside(
    world: World, parts: list[int], last: bool
) -> None:
    before = await world.balance(world.shop), await pending(world)
    intent, taken = await held(world, 1_000, PARTS), 0
    for place, part in enumerate(parts):
        final = last and place == len(parts) - 1
        said = await captured(world.db, take(world, intent, part, final=final))
        if isinstance(said, Intent):
            taken += part
            assert (said.captured, said.capturable) == (
                taken,
                0 if final else 1_000 - taken,
            )
        else:
            full = taken == 1_000
            assert said == ("payments.state" if full else "payments.over_capturable")
    async with world.db.work() as work:
        now = (await store.lock(work, [intent.id]))[intent.id]
    assert now.captured == taken
    assert await world.balance(world.shop) == before[0] + taken
    assert await pending(world) == before[1] - taken - now.capturable


async def test_the_same_key_captures_once(world: World) -> None:
    intent = await held(world, how=PARTS)
    command = take(world, intent, 1_000, final=False)
    every = await asyncio.gather(*(captured(world.db, command) for _ in range(20)))
    assert len(set(every)) == 1
    assert await world.balance(world.shop) == 1_000
    other = take(world, intent, 2_000, final=False, key=command.key)
    assert await captured(world.db, other) == "idempotency.key_reused"


async def test_three_captures_of_40_on_100_at_once(world: World) -> None:
    intent = await held(world, 100, PARTS)
    said = await asyncio.gather(
        *(captured(world.db, take(world, intent, 40, final=False)) for _ in range(3))
    )
    assert [one for one in said if isinstance(one, str)] == ["payments.over_capturable"]
    assert await world.balance(world.shop) == 80


@pytest.mark.parametrize("order", list(permutations(["capture", "cancel", "expire"])))
async def test_capture_cancel_and_expiry_at_the_same_instant(
    world: World, order: tuple[str, ...]
) -> None:
    """Whoever is first has it; each of the others finds it over. The sum is the same in all."""
    intent = await held(world)
    world.db.clock.advance(HOLD_MS - 1)
    acts = {
        "capture": lambda: captured(world.db, take(world, intent)),
        "cancel": lambda: canceled(world, intent),
        "expire": lambda: expired(world),
    }
    await asyncio.gather(*(acts[name]() for name in order))
    over = await stands(world, intent)
    assert over.capturable == 0
    taken = 15_000 if over.state is State.SUCCEEDED else 0
    assert over.captured == taken
    assert (await world.balance(world.shop), await pending(world)) == (taken, 100_000 - taken)


async def canceled(world: World, intent: Intent) -> None:
    try:
        await commands.cancel(
            world.db, NO_RAILS, Cancel(actor=world.actor(world.shop), intent=intent.id)
        )
    except DomainError as refused:
        if refused.code != "payments.state":
            raise


async def expired(world: World) -> None:
    world.db.clock.advance(1)
    await jobs.expire(world.db)


async def test_expiry_is_exact_before_its_job(world: World) -> None:
    intent = await held(world)
    world.db.clock.advance(HOLD_MS)
    assert await captured(world.db, take(world, intent)) == "payments.expired"
    assert await jobs.expire(world.db) == 1
    over = await stands(world, intent)
    assert (over.state, over.capturable) == (State.EXPIRED, 0)
    assert await pending(world) == 100_000


async def test_what_was_captured_in_part_is_paid_when_its_time_is_over(world: World) -> None:
    intent = await held(world, how=PARTS)
    await commands.capture(world.db, NO_RAILS, take(world, intent, 4_000, final=False))
    world.db.clock.advance(HOLD_MS)
    await jobs.expire(world.db)
    over = await stands(world, intent)
    assert (over.state, over.captured) == (State.SUCCEEDED, 4_000)
    assert await pending(world) == 96_000


async def test_the_payee_gives_it_back_and_nobody_else(world: World) -> None:
    intent = await held(world)
    with pytest.raises(DomainError, match=r"payments\.not_the_payee"):
        await service.cancel(world.db, NO_RAILS, world.actor(world.asha), intent.id)
    over = await service.cancel(world.db, NO_RAILS, world.actor(world.shop), intent.id)
    assert (over.state, await pending(world)) == (State.CANCELED, 100_000)
    assert await service.cancel(world.db, NO_RAILS, world.actor(world.shop), intent.id) == over


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 15_001}, "payments.over_capturable"),
        ({"amount": 0}, "money.amount"),
        ({"amount": -1}, "money.amount"),
        ({"amount": 1, "final": False}, "payments.capture_once"),
        ({"intent": derived("nothing")}, "payments.unknown"),
    ],
)
async def test_what_is_refused(world: World, change: dict[str, object], code: str) -> None:
    intent = await held(world)
    assert await captured(world.db, take(world, intent, **change)) == code


async def test_who_may_not(world: World) -> None:
    intent = await held(world)
    payer = take(world, intent, actor=world.actor(world.asha))
    assert await captured(world.db, payer) == "payments.not_the_payee"
    stranger = Actor(party=world.ravi.id, role=Role.PAYER)
    assert await captured(world.db, take(world, intent, actor=stranger)) == "payments.unknown"
    plain = await world.confirm(world.pay(await world.ask()))
    assert await captured(world.db, take(world, plain)) == "payments.state"


async def test_a_rail_of_one_step_sets_nothing_aside(world: World) -> None:
    asked = await world.ask(capture_method=ONCE)
    with pytest.raises(DomainError, match="captured later"):
        await world.confirm(world.pay(asked, method=Method.UPI, instrument="asha@okbank"))
