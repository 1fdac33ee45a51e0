"""Wallet to wallet: one commit, once only, whatever comes twice, at once, or wrongly."""

import asyncio

import pytest
from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import store as events
from server_core.payments import service
from server_core.payments.model import Create, Method, Purpose, State
from tests.server_core.payments.conftest import NO_RAILS


async def refused(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def test_a_payment_moves_money_and_says_so(world) -> None:
    intent = await world.ask()
    paid = await world.confirm(world.pay(intent))
    assert (paid.state, paid.payer) == (State.SUCCEEDED, world.asha.id)
    assert await world.balance(world.asha) == 85_000
    assert await world.balance(world.shop) == 15_000
    async with world.db.reader() as reader:
        told = await events.of_aggregate(reader, intent.id)
    assert [event.type for event in told] == ["payment.created", "payment.succeeded"]
    assert [event.sequence for event in told] == [1, 2]


async def test_fifty_confirms_with_one_key_pay_once(world) -> None:
    command = world.pay(await world.ask())
    answers = await asyncio.gather(*(world.confirm(command) for _ in range(50)))
    assert {answer.state for answer in answers} == {State.SUCCEEDED}
    assert len(set(answers)) == 1
    assert await world.balance(world.shop) == 15_000


async def test_fifty_confirms_with_fifty_keys_pay_once(world) -> None:
    intent = await world.ask()
    commands = [world.pay(intent) for _ in range(50)]
    results = await asyncio.gather(*map(world.confirm, commands), return_exceptions=True)
    states = [r.code if isinstance(r, DomainError) else r.state for r in results]
    assert sorted(states) == ["payments.state"] * 49 + ["succeeded"]
    assert await world.balance(world.shop) == 15_000


async def test_a_key_is_for_one_request(world) -> None:
    first, second = await world.ask(), await world.ask()
    command = world.pay(first)
    await world.confirm(command)
    other = replace(command, intent=second.id)
    assert await refused(world.confirm(other)) == "idempotency.key_reused"
    results = await asyncio.gather(
        *(world.confirm(one) for one in (command, other)), return_exceptions=True
    )
    assert isinstance(results[1], DomainError)
    assert await world.balance(world.shop) == 15_000


async def test_one_callers_key_is_not_anothers(world) -> None:
    first, second = await world.ask(), await world.ask(amount=100, by=world.asha)
    command = world.pay(first)
    await world.confirm(command)
    poor = world.pay(second, world.ravi, key=command.key)
    assert await refused(world.confirm(poor)) == "payments.insufficient_funds"


async def test_a_refusal_is_kept_for_its_key_and_another_key_may_try_again(world) -> None:
    intent = await world.ask(amount=100_001)
    command = world.pay(intent)
    assert await refused(world.confirm(command)) == "payments.insufficient_funds"
    gift = await world.ask(amount=1, by=world.asha)
    assert gift.state is State.REQUIRES_CONFIRMATION
    with pytest.raises(DomainError) as caught:
        await world.confirm(command)
    assert caught.value.facts["available"] == 100_000
    async with world.db.reader() as reader:
        stands = await service.get(reader, world.actor(world.shop), intent.id)
        assert (stands.state, stands.payer) == (State.REQUIRES_PAYMENT_METHOD, None)
        [attempt] = await service.attempts(reader, world.actor(world.shop), intent.id)
    assert attempt.code == "exceeds_funds"


async def test_wallets_are_never_overdrawn_by_a_crowd(world) -> None:
    intents = [await world.ask(amount=30_000) for _ in range(6)]
    results = await asyncio.gather(
        *(world.confirm(world.pay(intent)) for intent in intents), return_exceptions=True
    )
    assert sum(not isinstance(one, DomainError) for one in results) == 3
    assert await world.balance(world.asha) == 10_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": ""}, "idempotency.key_missing"),
        ({"key": "a b"}, "idempotency.key_malformed"),
        ({"key": "k" * 256}, "idempotency.key_malformed"),
        ({"method": Method.UPI}, "payments.instrument"),
        ({"method": Method.UPI, "instrument": "nobody"}, "payments.instrument"),
        ({"instrument": "asha@bank"}, "payments.instrument"),
        ({"method": Method.OFFLINE}, "payments.method"),
    ],
)
async def test_a_wrong_confirm_changes_nothing_and_leaves_the_key_free(
    world, changes: dict, code: str
) -> None:
    command = world.pay(await world.ask())
    assert await refused(world.confirm(replace(command, **changes))) == code
    assert (await world.confirm(command)).state is State.SUCCEEDED


async def test_who_may_not_confirm(world) -> None:
    intent = await world.ask()
    as_shop = replace(world.pay(intent), actor=world.actor(world.shop))
    assert await refused(world.confirm(as_shop)) == "payments.role"
    own = await world.ask(by=world.asha)
    assert await refused(world.confirm(world.pay(own))) == "payments.to_oneself"
    offered = await service.create(
        world.db,
        Create(
            actor=world.actor(world.ravi), key=world.key(), payee=world.shop.id, amount=5,
            currency="INR",
        ),
    )  # fmt: skip
    assert await refused(world.confirm(world.pay(offered))) == "payments.unknown"
    missing = replace(world.pay(intent), intent=world.asha.id)
    assert await refused(world.confirm(missing)) == "payments.unknown"


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "5", 2**53, 2**53 + 1, 2**63, None])
async def test_wrong_amounts_never_become_intents(world, amount: object) -> None:
    assert await refused(world.ask(amount=amount)) == "money.amount"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "XXX"}, "money.unknown_currency"),
        ({"currency": "inr"}, "money.unknown_currency"),
        ({"description": "a\nb"}, "payments.description"),
        ({"description": "x" * 141}, "payments.description"),
        ({"life_ms": 0}, "payments.expiry"),
        ({"purpose": Purpose.TOP_UP}, "payments.top_up_self"),
        ({"actor": Actor(party=None, role=Role.SYSTEM)}, "payments.role"),
    ],
)
async def test_a_wrong_create_says_what_is_wrong(world, changes: dict, code: str) -> None:
    command = Create(
        actor=world.actor(world.shop), key="k", payee=world.shop.id, amount=5, currency="INR"
    )
    assert await refused(service.create(world.db, replace(command, **changes))) == code
    assert (await service.create(world.db, command)).state is State.REQUIRES_CONFIRMATION


async def test_a_limit_is_the_keys_answer(world) -> None:
    command = Create(
        actor=world.actor(world.shop), key="k", payee=world.shop.id, amount=10_000_001,
        currency="INR",
    )  # fmt: skip
    for _ in range(2):
        assert await refused(service.create(world.db, command)) == "payments.over_limit"
    mended = replace(command, amount=5)
    assert await refused(service.create(world.db, mended)) == "idempotency.key_reused"
    assert (await service.create(world.db, replace(mended, key="l"))).amount == 5


async def test_create_repeats_as_it_was(world) -> None:
    command = Create(
        actor=world.actor(world.shop), key="k", payee=world.shop.id, amount=5, currency="INR"
    )
    made = await asyncio.gather(*(service.create(world.db, command) for _ in range(8)))
    assert len({one.id for one in made}) == 1
    assert await refused(service.create(world.db, replace(command, amount=6))) == (
        "idempotency.key_reused"
    )


async def test_expiry_is_exact_and_said_by_its_job(world) -> None:
    intent = await world.ask(life_ms=1_000)
    world.db.clock.advance(1_000)
    assert await refused(world.confirm(world.pay(intent))) == "payments.expired"
    async with world.db.work() as work:
        assert await service.expire(work) == 1
    assert await refused(world.confirm(world.pay(intent))) == "payments.state"


async def test_cancel_and_confirm_at_once_one_wins(world) -> None:
    for _ in range(5):
        intent = await world.ask(amount=100)
        results = await asyncio.gather(
            service.cancel(world.db, NO_RAILS, world.actor(world.shop), intent.id),
            world.confirm(world.pay(intent)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, DomainError) for one in results) == 1
        async with world.db.reader() as reader:
            stands = await service.get(reader, world.actor(world.shop), intent.id)
        assert stands.state in {State.CANCELED, State.SUCCEEDED}


async def test_an_answer_outlives_its_key_in_the_intents_state(world, db: Database) -> None:
    command = world.pay(await world.ask())
    await world.confirm(command)
    async with db.work() as work:
        await work.execute("DELETE FROM idempotency")
    assert await refused(world.confirm(command)) == "payments.state"
    assert await world.balance(world.shop) == 15_000
