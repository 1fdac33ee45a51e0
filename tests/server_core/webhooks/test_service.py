"""Endpoints by their owner, secrets that are never in clear, replay, pull, fan-out."""

import asyncio
import base64
from uuid import UUID

import asyncpg
import pytest

from devices.entropy import SystemEntropy
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.events import cursors
from server_core.ids import public
from server_core.webhooks import jobs, reading, service, store
from server_core.webhooks.fanning import fan_out
from server_core.webhooks.model import (
    MAX_ENDPOINTS,
    OLD_SECRETS,
    OVERLAP_MS,
    STALL_MS,
    Draft,
    Endpoint,
    EndpointState,
    Made,
)
from tests.server_core.webhooks import receiver as behave
from tests.server_core.webhooks.conftest import OPERATOR, World

ENTROPY = SystemEntropy()


async def rotate(world: World, endpoint: Endpoint, key: str | None = None, **more) -> Made:
    async with world.db.work() as work:
        return await service.rotate(
            work, world.fields, ENTROPY, more.get("actor", world.actor()), endpoint.id,
            key=key or world.key(),
        )  # fmt: skip


async def enable(world: World, endpoint: Endpoint) -> Endpoint:
    async with world.db.work() as work:
        return await service.enable(work, world.actor(), endpoint.id)


async def disable(world: World, endpoint: Endpoint) -> Endpoint:
    async with world.db.work() as work:
        return await service.disable(work, world.actor(), endpoint.id)


async def replay(world: World, endpoint: Endpoint, **how) -> reading.Replayed:
    async with world.db.work() as work:
        return await reading.replay(work, world.actor(), endpoint.id, **how)


async def code(doing) -> str:
    with pytest.raises(DomainError) as refused:
        await doing
    return refused.value.code


async def test_an_endpoint_is_made_read_changed_and_deleted(world: World) -> None:
    made = await world.endpoint("/hook", "payment.*", "payment.*", "voucher.settled@1")
    assert made.secret.startswith("whsec_")
    assert len(base64.b64decode(made.secret[6:])) == 32
    assert made.endpoint.filters == ("payment.*", "voucher.settled@1")
    async with world.db.work() as work:
        changed = await service.update(
            work, world.actor(), made.endpoint.id, filters=["*"], description="till"
        )
    assert (changed.filters, changed.description) == (("*",), "till")
    assert await world.get(made.endpoint) == changed
    async with world.db.work() as work:
        await service.delete(work, world.actor(), made.endpoint.id)
    async with world.db.work() as work:
        assert await service.mine(work, world.actor()) == []
        assert await code(service.get(work, world.actor(), made.endpoint.id)) == "webhooks.unknown"
        assert await code(enable(world, made.endpoint)) == "webhooks.unknown"
        assert await store.secrets(work, [made.endpoint.id]) == []
    await world.pay()
    await world.deliver()
    assert world.receiver.got == []


async def test_another_s_endpoint_does_not_exist(world: World) -> None:
    made = await world.endpoint()
    other, payer = world.actor(world.other), Actor(party=world.asha.id, role=Role.PAYER)
    one, nobody = made.endpoint.id, UUID(int=7)

    def commands(work, actor: Actor, endpoint: UUID):
        yield service.get(work, actor, endpoint)
        yield service.update(work, actor, endpoint, description="x")
        yield service.disable(work, actor, endpoint)
        yield service.enable(work, actor, endpoint)
        yield service.rotate(work, world.fields, ENTROPY, actor, endpoint, key="k")
        yield service.delete(work, actor, endpoint)
        yield reading.pull(work, actor, endpoint)
        yield reading.attempts(work, actor, endpoint, nobody)
        yield reading.replay(work, actor, endpoint, missing=True)
        yield reading.replay_one(work, actor, endpoint, nobody)

    async with world.db.work() as work:
        for theirs in commands(work, other, one):
            assert await code(theirs) == "webhooks.unknown"
        for missing in commands(work, world.actor(), nobody):
            assert await code(missing) == "webhooks.unknown"
        for refused in commands(work, payer, one):
            assert await code(refused) == "webhooks.role"
        assert await code(service.mine(work, payer)) == "webhooks.role"
        assert await code(service.mine(work, world.actor(), world.other.id)) == "webhooks.role"
        assert await code(service.every(work, world.actor())) == "webhooks.role"
        assert await code(reading.dead(work, world.actor())) == "webhooks.role"
        assert (
            await code(service.rotate_key(work, world.fields, ENTROPY, world.actor()))
            == "webhooks.role"
        )
        assert await service.mine(work, other) == []
        assert [found.id for found in await service.every(work, OPERATOR)] == [one]
    draft = Draft(url="https://shop.example.com/", events=["*"])
    for actor, owner in ((payer, None), (other, world.shop.id), (OPERATOR, None)):
        async with world.db.work() as work:
            making = service.create(work, world.fields, ENTROPY, actor, draft, key="k", owner=owner)
            assert await code(making) == "webhooks.role"


@pytest.mark.parametrize(
    ("draft", "refusal"),
    [
        (Draft(url="http://shop.example.com/", events=["*"]), "webhooks.url"),
        (Draft(url="https://10.0.0.1/", events=["*"]), "webhooks.url"),
        (Draft(url="https://shop.example.com/", events=["payment.paid"]), "webhooks.event_type"),
        (Draft(url="https://shop.example.com/", events=[]), "webhooks.filters"),
        (
            Draft(url="https://shop.example.com/", events=["*"], description="x" * 141),
            "webhooks.description",
        ),
    ],
)
async def test_a_wrong_draft_is_refused(world: World, draft: Draft, refusal: str) -> None:
    async with world.db.work() as work:
        making = service.create(work, world.fields, ENTROPY, world.actor(), draft, key="k")
        assert await code(making) == refusal


async def test_fifty_endpoints_are_enough(world: World) -> None:
    for _ in range(MAX_ENDPOINTS):
        await world.endpoint()
    assert await code(world.endpoint()) == "webhooks.too_many"
    await world.endpoint(party=world.other)


async def test_a_key_makes_one_endpoint_and_one_secret(world: World) -> None:
    first = await world.endpoint(key="same")
    again = await world.endpoint(key="same")
    assert (again.endpoint, again.secret, again.replayed) == (first.endpoint, first.secret, True)
    assert not first.replayed
    assert await code(world.endpoint("/other", key="same")) == "idempotency.key_reused"
    both = await asyncio.gather(*(world.endpoint(key="at-once") for _ in range(2)))
    assert both[0].secret == both[1].secret
    one = await rotate(world, first.endpoint, key="turn")
    two = await rotate(world, first.endpoint, key="turn")
    assert (one.secret, two.replayed) == (two.secret, True)
    assert await code(rotate(world, both[0].endpoint, key="turn")) == "idempotency.key_reused"
    async with world.db.reader() as reader:
        assert len(await store.secrets(reader, [first.endpoint.id])) == 2
    for _ in range(OLD_SECRETS + 1):
        await rotate(world, first.endpoint)
    assert await code(world.endpoint(key="same")) == "webhooks.secret_over"


async def test_old_secrets_are_bounded_and_forgotten(world: World) -> None:
    made = await world.endpoint()
    for _ in range(OLD_SECRETS + 5):
        await rotate(world, made.endpoint)
    async with world.db.reader() as reader:
        held = await store.secrets(reader, [made.endpoint.id])
    assert len(held) == OLD_SECRETS + 1
    assert [one.expires_at is None for one in held].count(True) == 1
    assert await jobs.reap(world.db) == 0
    world.clock.advance(OVERLAP_MS)
    assert await jobs.reap(world.db) == OLD_SECRETS
    async with world.db.reader() as reader:
        assert len(await store.secrets(reader, [made.endpoint.id])) == 1


async def test_the_house_s_key_turns_with_an_overlap(world: World) -> None:
    async with world.db.work() as work:
        [first] = await service.signing_keys(work, world.fields, ENTROPY)
        second = await service.rotate_key(work, world.fields, ENTROPY, OPERATOR)
        assert {one.kid for one in await store.keys(work)} == {first.kid, second.kid}
    await world.endpoint()
    await world.pay()
    await world.deliver()
    assert world.receiver.got[0].headers["webhook-signature"].count("v1a,") == 2
    world.clock.advance(OVERLAP_MS)
    async with world.db.work() as work:
        assert [one.kid for one in await store.keys(work)] == [second.kid]
        for _ in range(OLD_SECRETS):
            await service.rotate_key(work, world.fields, ENTROPY, OPERATOR)
        turning = service.rotate_key(work, world.fields, ENTROPY, OPERATOR)
        assert await code(turning) == "webhooks.keys_full"


async def test_no_secret_is_in_clear_in_any_table(world: World, database_url: str) -> None:
    made = await world.endpoint(key="k")
    rotated = await rotate(world, made.endpoint)
    await world.pay()
    await world.deliver()
    async with world.db.work() as work:
        [key] = await service.signing_keys(work, world.fields, ENTROPY)
    raw = [base64.b64decode(one.secret[6:]) for one in (made, rotated)]
    raw.append(service.open_key(world.fields, key))
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'cell0'")
    dump = ""
    for row in tables:
        name = row["tablename"]
        for line in await owner.fetch(f'SELECT t::text AS line FROM "{name}" t'):
            dump += f"{name} {line['line']}\n"
    await owner.close()
    assert "webhook_secret" in dump
    assert "webhook_attempt" in dump
    for secret in raw:
        text = base64.b64encode(secret).decode()
        for form in (
            secret.hex(),
            text,
            text.rstrip("="),
            base64.urlsafe_b64encode(secret).decode(),
        ):
            assert form not in dump
    assert "whsec_" not in dump


async def test_a_sealed_secret_opens_at_its_own_place_only(world: World) -> None:
    one, two = await world.endpoint(), await world.endpoint()
    async with world.db.work() as work:
        await work.execute(
            "UPDATE webhook_secret SET sealed = (SELECT sealed FROM webhook_secret"
            " WHERE endpoint = $1) WHERE endpoint = $2", one.endpoint.id, two.endpoint.id,
        )  # fmt: skip
        [moved] = await store.secrets(work, [two.endpoint.id])
        with pytest.raises(Exception, match="another place"):
            service.open_secret(world.fields, moved)


async def test_a_secret_that_does_not_open_is_its_endpoint_s_trouble_alone(world: World) -> None:
    bad, good = await world.endpoint("/bad"), await world.endpoint("/good")
    async with world.db.work() as work:
        await work.execute(
            "UPDATE webhook_secret SET sealed = $2 WHERE endpoint = $1", bad.endpoint.id, b"x" * 80
        )
    await world.pay()
    await world.deliver()
    assert len(world.receiver.at("/good")) == 1
    assert world.receiver.at("/bad") == [], "nothing goes out unsigned"
    [message] = await world.messages(bad.endpoint)
    async with world.db.reader() as reader:
        [tried] = await reading.attempts(reader, OPERATOR, bad.endpoint.id, message.id)
    assert (tried.error, message.state) == ("secret", "pending")
    assert await world.states(good.endpoint) == ["delivered"]


async def test_only_a_party_s_own_events_reach_it_and_only_what_it_asked_for(world: World) -> None:
    mine = await world.endpoint("/mine", "payment.succeeded")
    theirs = await world.endpoint("/theirs", party=world.other)
    await world.pay("created", "succeeded")
    await world.pay(payee=world.other)
    await world.pay(payee=world.asha)
    await world.deliver()
    assert [got.json["type"] for got in world.receiver.at("/mine")] == ["payment.succeeded"]
    [got] = world.receiver.at("/theirs")
    assert got.json["data"]["payee"] == public("pty", world.other.id)
    assert "code" not in got.json["data"]
    assert await world.states(mine.endpoint) == await world.states(theirs.endpoint) == ["delivered"]


async def test_what_happened_before_it_was_made_is_not_its_news(world: World) -> None:
    await world.pay()
    made = await world.endpoint()
    await world.pay()
    await world.deliver()
    assert len(await world.messages(made.endpoint)) == 1


async def test_fan_out_and_cursor_are_one_commit(world: World) -> None:
    made = await world.endpoint()
    await world.pay("created", "succeeded")
    while await fan_out(world.db):
        pass
    before = await world.messages(made.endpoint)
    async with world.db.work() as work:
        position = await cursors.hold(work, "webhooks")
        assert position == before[-1].seq
        # A consumer that has lost its place: nothing is queued twice.
        await cursors.move(work, "webhooks", 0)
    while await fan_out(world.db):
        pass
    assert await world.messages(made.endpoint) == before
    async with world.db.work() as work:
        await cursors.hold(work, "webhooks")
        await world.pay()
        assert await fan_out(world.db) == 0, "another holds the cursor"


async def test_two_fan_outs_at_once_queue_each_event_once(world: World) -> None:
    made = await world.endpoint()
    for _ in range(20):
        await world.pay("created", "succeeded")
    for _ in range(10):
        await asyncio.gather(fan_out(world.db), fan_out(world.db))
    assert len(await world.messages(made.endpoint)) == 40


async def test_disabled_is_missed_and_a_replay_brings_it_in_order(world: World) -> None:
    made = await world.endpoint()
    stopped = await disable(world, made.endpoint)
    assert (stopped.state, stopped.reason) == (EndpointState.DISABLED, "owner")
    payments = [await world.pay("created", "processing", "succeeded") for _ in range(5)]
    await world.deliver()
    assert world.receiver.got == []
    assert await world.states(made.endpoint) == ["missed"] * 15
    assert await code(replay(world, made.endpoint, missing=True)) == "webhooks.disabled"
    await enable(world, made.endpoint)
    await world.deliver()
    assert world.receiver.got == []
    done = await replay(world, made.endpoint, missing=True)
    assert (done.count, done.more) == (15, False)
    await world.deliver()
    for payment in payments:
        theirs = [g.json for g in world.receiver.got if g.json["subject"] == public("pay", payment)]
        assert [said["sequence"] for said in theirs] == [1, 2, 3]
    assert await world.states(made.endpoint) == ["delivered"] * 15


async def test_a_replay_keeps_order_while_its_first_fails(world: World) -> None:
    made = await world.endpoint()
    await world.pay("created", "processing", "succeeded")
    await world.deliver()
    world.receiver.got.clear()
    world.receiver.paths["/hook"] = behave.status(500)
    world.clock.advance(STALL_MS)  # the bound counts from the replay
    await replay(world, made.endpoint)
    await world.deliver()
    assert [got.json["sequence"] for got in world.receiver.got] == [1]
    world.receiver.paths.clear()
    world.clock.advance(6_000)
    await world.deliver()
    assert [got.json["sequence"] for got in world.receiver.got] == [1, 1, 2, 3]


async def test_replay_by_message_by_time_and_what_is_missing(world: World) -> None:
    made = await world.endpoint()
    times = []
    for _ in range(4):
        times.append(world.clock.now_ms())
        await world.pay()
        await world.deliver()
        world.clock.advance(60_000)
    first, second, third, fourth = world.receiver.got
    world.receiver.got.clear()
    messages = await world.messages(made.endpoint)
    async with world.db.work() as work:
        one = await reading.replay_one(work, world.actor(), made.endpoint.id, messages[2].id)
    assert one.count == 1
    await world.deliver()
    assert [(got.id, got.body) for got in world.receiver.got] == [(third.id, third.body)]
    done = await replay(world, made.endpoint, since=times[1], until=times[3])
    assert (done.count, done.last) == (2, messages[2].id)
    await world.deliver()
    assert [got.id for got in world.receiver.got[1:]] == [second.id, third.id]
    done = await replay(world, made.endpoint, since=times[1], after=messages[2].id)
    await world.deliver()
    assert [got.id for got in world.receiver.got[3:]] == [fourth.id]
    assert (await replay(world, made.endpoint, missing=True)).count == 0
    assert await code(replay(world, made.endpoint, since=5, until=5)) == "webhooks.window"
    assert first.id not in {got.id for got in world.receiver.got}


async def test_a_dead_message_is_replayed_with_its_whole_schedule(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(500)
    await world.pay()
    for _ in range(10):
        await world.deliver()
        [message] = await world.messages(made.endpoint)
        world.clock.set_wall(message.due_at)
    assert await world.states(made.endpoint) == ["dead"]
    assert (await replay(world, made.endpoint, missing=True)).count == 1
    await world.deliver()
    [message] = await world.messages(made.endpoint)
    assert (message.state, message.tries, message.attempts) == ("pending", 1, 11)
    world.receiver.paths.clear()
    world.clock.advance(6_000)
    await world.deliver()
    async with world.db.reader() as reader:
        tried = await reading.attempts(reader, world.actor(), made.endpoint.id, message.id)
    assert [one.number for one in tried] == list(range(1, 13))


async def test_the_pull_api_gives_the_same_bodies_by_a_cursor(world: World) -> None:
    made = await world.endpoint()
    for _ in range(7):
        await world.pay()
    await world.deliver()
    got = {one.id: one.body for one in world.receiver.got}
    seen, after = [], None
    while page := await world.messages(made.endpoint, after=after, limit=3):
        assert len(page) <= 3
        seen += page
        after = page[-1].id
    assert [one.seq for one in seen] == sorted(one.seq for one in seen)
    assert {public("msg", one.id): one.body for one in seen} == got
    assert await world.messages(made.endpoint, state="dead") == []
    assert len(await world.messages(made.endpoint, state="delivered")) == 7
    for how, refusal in (
        ({"limit": 0}, "webhooks.page_size"),
        ({"limit": 101}, "webhooks.page_size"),
        ({"state": "lost"}, "webhooks.state"),
        ({"after": UUID(int=5)}, "webhooks.message_unknown"),
    ):
        assert await code(world.messages(made.endpoint, **how)) == refusal
    async with world.db.reader() as reader:
        reading_it = reading.attempts(reader, world.actor(), made.endpoint.id, UUID(int=5))
        assert await code(reading_it) == "webhooks.message_unknown"


async def test_attempts_are_append_only(world: World, database_url: str) -> None:
    await world.endpoint()
    await world.pay()
    await world.deliver()
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    for statement in ("UPDATE webhook_attempt SET status = 500", "DELETE FROM webhook_attempt"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(statement)
    await owner.close()


async def test_an_own_event_is_not_sent_to_whom_it_is_about(world: World) -> None:
    """A gone endpoint that is enabled again does not hear of its own end by a replay."""
    made = await world.endpoint("/hook", "*")
    await disable(world, made.endpoint)
    await world.deliver()
    assert await world.messages(made.endpoint) == []


async def test_enabling_starts_the_count_of_failures_anew(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(429)
    await world.pay()
    await world.deliver()
    assert (await world.get(made.endpoint)).failing_since is not None
    await disable(world, made.endpoint)
    found = await enable(world, made.endpoint)
    assert (found.failing_since, found.rest_until, found.reason) == (None, 0, None)
