"""Delivery over real sockets: signed, again on failure, in order, side by side, after a crash."""

import asyncio
import base64
import inspect
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.ids import parse, public
from server_core.webhooks import messages, reading, service, settling, signing, store
from server_core.webhooks.fanning import fan_out
from server_core.webhooks.model import (
    DEADLINE_S,
    LEASE_MS,
    STALL_MS,
    Claimed,
    Failure,
    Heard,
    MessageState,
    Reason,
)
from server_core.webhooks.sending import Sender
from server_core.webhooks.settling import Finish, finish_many
from tests.server_core.webhooks import receiver as behave
from tests.server_core.webhooks.conftest import OPERATOR, World


def verify(got: behave.Got, secret: str) -> None:
    """By the specification's own package; its clock is the real one, so the age is not asked."""
    hook = Webhook(secret)
    hook._Webhook__verify_timestamp = lambda text: datetime.fromtimestamp(int(text), UTC)
    hook.verify(got.body, got.headers)


async def test_an_event_arrives_signed_and_thin(world: World) -> None:
    made = await world.endpoint()
    payment = await world.pay("created")
    await world.pay("succeeded", payment=payment)
    await world.deliver()
    first, second = world.receiver.got
    verify(first, made.secret)
    with pytest.raises(WebhookVerificationError):
        verify(first, "whsec_" + base64.b64encode(bytes(32)).decode())
    assert first.headers["webhook-timestamp"] == str(world.clock.now_ms() // 1000)
    assert first.headers["content-type"] == "application/json"
    said = first.json
    assert said.pop("id").startswith("evt_")
    assert said == {
        "type": "payment.created",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "data": {
            "id": public("pay", payment),
            "state": "created",
            "purpose": "sale",
            "amount": "15000",
            "currency": "INR",
            "payee": public("pty", world.shop.id),
            "payer": public("pty", world.asha.id),
        },
        "version": 1,
        "subject": public("pay", payment),
        "sequence": 1,
        "previous": 0,
        "endpoint": public("ep", made.endpoint.id),
    }
    assert (second.json["sequence"], second.json["previous"]) == (2, 1)
    assert await world.states(made.endpoint) == ["delivered", "delivered"]
    assert await world.deliver() == 0


async def test_v1a_is_verified_by_the_published_key(world: World) -> None:
    await world.endpoint()
    await world.pay()
    await world.deliver()
    async with world.db.work() as work:
        [key] = await service.signing_keys(work, world.fields, SystemEntropy())
    text = signing.public_text(key.public)
    assert text.startswith("whpk_")
    [got] = world.receiver.got
    [v1a] = [s[4:] for s in got.headers["webhook-signature"].split() if s.startswith("v1a,")]
    signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
    verifier = Ed25519PublicKey.from_public_bytes(base64.b64decode(text[5:]))
    verifier.verify(base64.b64decode(v1a), signed)
    with pytest.raises(InvalidSignature):
        verifier.verify(base64.b64decode(v1a), signed + b" ")


async def test_both_secrets_sign_for_a_day_after_a_rotation(world: World) -> None:
    made = await world.endpoint()
    async with world.db.work() as work:
        rotated = await service.rotate(
            work, world.fields, SystemEntropy(), world.actor(), made.endpoint.id, key="r"
        )
    await world.pay()
    await world.deliver()
    verify(world.receiver.got[0], made.secret)
    verify(world.receiver.got[0], rotated.secret)
    world.clock.advance(24 * 3600 * 1000)
    await world.pay()
    await world.deliver()
    verify(world.receiver.got[1], rotated.secret)
    with pytest.raises(WebhookVerificationError):
        verify(world.receiver.got[1], made.secret)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (behave.status(500), 500, None),
        (behave.status(404), 404, None),
        (behave.status(302, "Location: /elsewhere"), 302, None),
        (behave.stall, None, "timeout"),
        (behave.drip, None, "timeout"),
        (behave.reset, None, "protocol"),
        (behave.garbage, None, "protocol"),
    ],
    ids=["500", "404", "redirect", "stall", "drip", "reset", "garbage"],
)
async def test_what_is_no_2xx_is_tried_again_with_the_same_id_and_body(
    world: World, answer: behave.Behave, status: int | None, error: str | None
) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = answer
    await world.pay()
    assert await world.deliver() == 1
    [message] = await world.messages(made.endpoint)
    assert (message.state, message.tries) == (MessageState.PENDING, 1)
    assert 4_000 <= message.due_at - world.clock.now_ms() <= 6_000
    assert await world.deliver() == 0
    world.receiver.paths.clear()
    world.clock.advance(6_000)
    assert await world.deliver() == 1
    first, second = world.receiver.got
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    async with world.db.reader() as reader:
        tried = await reading.attempts(reader, world.actor(), made.endpoint.id, message.id)
    assert [(one.number, one.status, one.error) for one in tried] == [
        (1, status, error),
        (2, 200, None),
    ]
    assert not world.receiver.at("/elsewhere")


async def test_a_huge_answer_is_a_yes_that_is_not_read_to_its_end(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.huge
    await world.pay()
    await world.deliver()
    assert await world.states(made.endpoint) == ["delivered"]


async def test_nobody_listens(world: World) -> None:
    made = await world.endpoint()
    await world.receiver.stop()
    await world.pay()
    await world.deliver()
    [message] = await world.messages(made.endpoint)
    async with world.db.reader() as reader:
        [tried] = await reading.attempts(reader, world.actor(), made.endpoint.id, message.id)
    assert (tried.status, tried.error) == (None, "connect")


async def test_a_later_message_waits_for_the_one_before_it(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(500)
    payment = await world.pay("created", "processing", "succeeded")
    elsewhere = await world.pay("created")
    await world.deliver()
    assert [one.json["subject"] for one in world.receiver.got] == [
        public("pay", payment), public("pay", elsewhere),
    ]  # fmt: skip
    world.receiver.paths.clear()
    world.receiver.got.clear()
    world.clock.advance(6_000)
    await world.deliver()
    said = [one.json for one in world.receiver.got]
    theirs = [one["type"] for one in said if one["subject"] == public("pay", payment)]
    assert theirs == ["payment.created", "payment.processing", "payment.succeeded"]
    assert set(await world.states(made.endpoint)) == {"delivered"}


async def test_the_wait_behind_a_failing_one_is_bounded(world: World) -> None:
    made = await world.endpoint()

    async def no_created(got: behave.Got, writer: asyncio.StreamWriter) -> bytes:
        bad = got.json["type"] == "payment.created"
        return await behave.status(500 if bad else 200)(got, writer)

    world.receiver.paths["/hook"] = no_created
    await world.pay("created", "processing", "succeeded")
    for at_ms in (0, 6_000, 370_000):
        world.clock.set_wall(world.clock.now_ms() + at_ms)
        await world.deliver()
    assert await world.states(made.endpoint) == ["pending"] * 3
    assert {one.json["type"] for one in world.receiver.got} == {"payment.created"}
    world.clock.advance(STALL_MS - 376_000 - 1)
    await world.deliver()
    assert await world.states(made.endpoint) == ["pending"] * 3
    world.clock.advance(1)
    await world.deliver()
    assert await world.states(made.endpoint) == ["pending", "delivered", "delivered"]
    assert [one.json["sequence"] for one in world.receiver.got][-2:] == [2, 3]


async def test_a_dead_endpoint_does_not_delay_another(world: World) -> None:
    """Many messages of A are due, and each attempt there hangs; B's go out meanwhile."""
    world.receiver.paths["/dead"] = behave.stall
    courier = world.another(each=4, in_all=8)
    await world.endpoint("/dead")
    await world.pay()
    await world.deliver(courier)  # A is known to fail now
    for _ in range(50):
        await world.pay()
    well = await world.endpoint("/well", party=world.other)
    for _ in range(20):
        await world.pay()
        await world.pay(payee=world.other)
    while await fan_out(world.db):
        pass
    world.clock.advance(6_000)
    await courier.tick()
    await world.receiver.until(20, "/well", within_s=0.45)  # while A's one attempt still hangs
    assert len(world.receiver.at("/dead")) == 2
    await courier.close()
    assert await world.states(well.endpoint) == ["delivered"] * 20


async def test_failing_endpoints_leave_half_of_the_room(world: World) -> None:
    """Eight endpoints that hang, a courier with room for eight: the ninth is served at once."""
    courier = world.another(each=4, in_all=8)
    for number in range(8):
        world.receiver.paths[f"/dead{number}"] = behave.stall
        await world.endpoint(f"/dead{number}")
    await world.pay()
    await world.deliver(courier)
    well = await world.endpoint("/well", party=world.other)
    world.clock.advance(6_000)
    await world.pay(payee=world.other)
    while await fan_out(world.db):
        pass
    world.receiver.got.clear()
    assert await courier.tick() == 5, "four of those that fail, and the one that is well"
    await world.receiver.until(1, "/well", within_s=0.45)
    await courier.idle()
    assert await world.states(well.endpoint) == ["delivered"]


async def test_two_workers_deliver_each_message_once_and_in_order(world: World) -> None:
    made = await world.endpoint()
    one, two = world.another(each=3), world.another(each=3)
    payments = [await world.pay("created", "processing", "succeeded") for _ in range(30)]
    while await fan_out(world.db):
        pass
    for _ in range(200):
        begun = await asyncio.gather(one.tick(), two.tick())
        await asyncio.gather(one.idle(), two.idle())
        if not any(begun):
            break
    assert set(await world.states(made.endpoint)) == {"delivered"}
    assert len({got.id for got in world.receiver.got}) == len(world.receiver.got) == 90
    for payment in payments:
        theirs = [g.json for g in world.receiver.got if g.json["subject"] == public("pay", payment)]
        assert [said["sequence"] for said in theirs] == [1, 2, 3]


async def test_a_killed_worker_s_message_goes_out_again(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.stall
    await world.pay()
    while await fan_out(world.db):
        pass
    killed = world.another()
    assert await killed.tick() == 1
    await world.receiver.until(1)
    await killed.close(patience_s=0)  # its attempt is cut off and nothing of it is stored
    world.receiver.paths.clear()
    assert await world.deliver() == 0, "the lease is the dead worker's still"
    world.clock.advance(LEASE_MS)
    assert await world.deliver() == 1
    first, second = world.receiver.got
    assert first.id == second.id
    assert await world.states(made.endpoint) == ["delivered"]
    [message] = await world.messages(made.endpoint)
    async with world.db.reader() as reader:
        tried = await reading.attempts(reader, world.actor(), made.endpoint.id, message.id)
    assert [one.number for one in tried] == [2]


async def test_410_disables_and_what_waits_is_missed(world: World) -> None:
    made = await world.endpoint()
    watcher = await world.endpoint("/watch", "endpoint.*")
    world.receiver.paths["/hook"] = behave.status(410)
    await world.pay("created", "succeeded")
    await world.deliver()
    found = await world.get(made.endpoint)
    assert (found.state, found.reason) == ("disabled", Reason.GONE)
    assert await world.states(made.endpoint) == ["missed", "missed"]
    await world.pay()
    await world.deliver()
    assert await world.states(made.endpoint) == ["missed"] * 3
    assert len(world.receiver.at("/hook")) == 1
    [told] = world.receiver.at("/watch")
    assert told.json["type"] == "endpoint.disabled"
    assert told.json["data"] == {
        "id": public("ep", made.endpoint.id),
        "endpoint": public("ep", made.endpoint.id),
        "owner": public("pty", world.shop.id),
        "reason": "gone",
        "failing_since": "2026-09-21T14:13:20.000Z",
    }
    assert await world.states(watcher.endpoint) == ["delivered"]


async def fail_for(world: World, hours: int) -> None:
    """A new message and its attempts every six hours, all in vain."""
    for _ in range(hours // 6):
        await world.pay()
        await world.deliver()
        world.clock.advance(6 * 3600 * 1000)


async def test_an_endpoint_that_only_fails_is_given_up_after_120_hours(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(503)
    await fail_for(world, 120)
    assert (await world.get(made.endpoint)).state == "enabled"
    await world.deliver()
    found = await world.get(made.endpoint)
    assert (found.state, found.reason) == ("disabled", Reason.FAILING)
    [said] = await world.events("endpoint.disabled")
    assert said["payload"]["reason"] == "failing"
    assert "pending" not in await world.states(made.endpoint)


async def test_one_yes_in_between_starts_the_count_anew(world: World) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(503)
    await fail_for(world, 114)
    world.receiver.paths.clear()
    await world.deliver()
    world.receiver.paths["/hook"] = behave.status(503)
    await fail_for(world, 60)
    assert (await world.get(made.endpoint)).state == "enabled"


async def test_the_schedule_ends_in_a_dead_letter_and_a_word_about_it(world: World) -> None:
    made = await world.endpoint()
    await world.endpoint("/watch", "message.attempt.exhausted")
    world.receiver.paths["/hook"] = behave.status(500)
    await world.pay()
    waits = []
    for _ in range(9):
        await world.deliver()
        [message] = await world.messages(made.endpoint)
        waits.append((message.due_at - world.clock.now_ms()) / 1000)
        world.clock.set_wall(message.due_at)
    await world.deliver()
    for wait, base in zip(
        waits, (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), strict=True
    ):
        assert 0.8 * base <= wait <= 1.2 * base
    [message] = await world.messages(made.endpoint)
    assert (message.state, message.tries, message.attempts) == (MessageState.DEAD, 10, 10)
    assert len(world.receiver.at("/hook")) == 10
    await world.deliver()
    [told] = world.receiver.at("/watch")
    assert told.json["data"]["message"] == public("msg", message.id)
    assert told.json["data"]["attempts"] == 10
    async with world.db.reader() as reader:
        assert [one.id for one in await reading.dead(reader, OPERATOR)] == [message.id]


@pytest.mark.parametrize(("asked", "wait"), [("3", 5), ("7", 7), ("3600", 10)])
async def test_retry_after_counts_between_once_and_twice_the_wait(
    world: World, asked: str, wait: int
) -> None:
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(429, f"Retry-After: {asked}")
    await world.pay()
    await world.deliver()
    [message] = await world.messages(made.endpoint)
    assert message.due_at == world.clock.now_ms() + 1000 * wait
    assert (await world.get(made.endpoint)).rest_until == world.clock.now_ms() + 1000 * wait
    await world.pay()
    assert await world.deliver() == 0, "an endpoint that asked for rest gets it"


async def test_a_message_is_for_the_url_of_the_day(world: World) -> None:
    made = await world.endpoint("/old")
    world.receiver.paths["/old"] = behave.status(500)
    await world.pay()
    await world.deliver()
    async with world.db.work() as work:
        await service.update(
            work, world.actor(), made.endpoint.id, url=world.receiver.url("/new"),
            allow_private=True,
        )  # fmt: skip
    world.clock.advance(6_000)
    await world.deliver()
    assert len(world.receiver.at("/new")) == 1
    assert parse("msg", world.receiver.at("/new")[0].id)


async def test_nothing_goes_to_an_endpoint_that_is_not_enabled(world: World) -> None:
    """Whatever its queue says: a message that was queued while it was being disabled."""
    made = await world.endpoint()
    await world.pay()
    while await fan_out(world.db):
        pass
    async with world.db.work() as work:
        await work.execute("UPDATE webhook_endpoint SET state = 'disabled'")
    assert await world.courier.tick() == 0
    assert await world.states(made.endpoint) == ["pending"]


async def test_a_disabling_waits_for_a_fan_out_that_has_seen_it_enabled(world: World) -> None:
    made = await world.endpoint()
    await world.pay()
    async with world.db.work() as work:
        await store.listening(work, [world.shop.id])
        stopping = asyncio.create_task(_disable(world, made.endpoint.id))
        done, _ = await asyncio.wait({stopping}, timeout=0.2)
        assert not done
    await stopping


async def _disable(world: World, endpoint: UUID) -> None:
    async with world.db.work() as work:
        await service.disable(work, world.actor(), endpoint)


async def claim(world: World) -> Claimed:
    """What a worker's claim gives it, without its attempt."""
    async with world.db.work() as work:
        locked = await messages.due(work, UUID(int=0), {}, each=9, limit=9, failing=False)
        [claimed], _ = await messages.lease(work, [row["id"] for row in locked], work.ids.new())
    return claimed


async def finish(world: World, claimed: Claimed, status: int) -> None:
    failure = None if status == 200 else Failure.STATUS
    heard = Heard(started_at=0, duration_ms=1, status=status, failure=failure)
    async with world.db.work() as work:
        await finish_many(work, [Finish(claimed=claimed, heard=heard, chance=0.5)])


async def test_who_lost_the_lease_can_say_yes_and_nothing_else(world: World) -> None:
    made = await world.endpoint()
    await world.pay()
    while await fan_out(world.db):
        pass
    slow = await claim(world)
    world.clock.advance(LEASE_MS)
    quick = await claim(world)
    assert (slow.id, slow.number, quick.number) == (quick.id, 1, 2)
    await finish(world, slow, 500)
    [message] = await world.messages(made.endpoint)
    assert (message.tries, message.due_at) == (0, world.clock.now_ms() + LEASE_MS)
    await finish(world, slow, 410)
    assert (await world.get(made.endpoint)).state == "enabled"
    await finish(world, slow, 200)
    assert await world.states(made.endpoint) == ["delivered"]
    await finish(world, quick, 500)
    assert await world.states(made.endpoint) == ["delivered"]


async def test_what_was_never_tried_stands_before_what_came_later_however_old(world: World) -> None:
    """A backlog is no failure: past the stall bound, untried messages still go one by one."""
    await world.endpoint()
    await world.pay("created", "processing", "succeeded")
    while await fan_out(world.db):
        pass
    world.clock.advance(STALL_MS)
    async with world.db.work() as work:
        await work.execute(
            "UPDATE webhook_message SET due_at = $1 WHERE sequence = 2", work.now_ms + 1_000
        )
    await world.deliver()
    world.clock.advance(LEASE_MS)
    await world.deliver()
    assert [got.json["sequence"] for got in world.receiver.got] == [1, 2, 3]


async def test_two_attempts_of_one_payment_are_never_under_way_together(world: World) -> None:
    """Also when the stall bound lets the second go, and both are due in one look."""
    made = await world.endpoint()
    world.receiver.paths["/hook"] = behave.status(500)
    await world.pay("created", "succeeded")
    await world.deliver()
    world.clock.advance(STALL_MS)
    async with world.db.work() as work:
        await work.execute("UPDATE webhook_message SET due_at = $1", work.now_ms)
        await work.execute("UPDATE webhook_endpoint SET failing_since = NULL")
    world.receiver.paths["/hook"] = behave.stall
    world.receiver.got.clear()
    other = world.another()
    assert await world.courier.tick() == 1
    async with world.db.work() as work:
        await work.execute(
            "UPDATE webhook_message SET due_at = $1 WHERE lease IS NULL", work.now_ms
        )
    assert await other.tick() == 0
    await world.receiver.until(1)
    assert [got.json["sequence"] for got in world.receiver.got] == [1]
    world.receiver.paths.clear()
    await world.courier.idle()
    await world.deliver()
    assert await world.states(made.endpoint) == ["pending", "delivered"]


async def test_a_dead_word_about_webhooks_is_not_told_of(world: World) -> None:
    """Two dead endpoints would talk of each other for ever."""
    await world.endpoint("/hook")
    watcher = await world.endpoint("/watch", "message.attempt.exhausted")
    third = await world.endpoint("/third", "message.attempt.exhausted")
    for path in ("/hook", "/watch"):
        world.receiver.paths[path] = behave.status(500)
    await world.pay()
    for _ in range(22):
        await world.deliver()
        async with world.db.reader() as reader:
            due = await reader.value(
                "SELECT min(due_at) FROM webhook_message WHERE state = 'pending'"
            )
        world.clock.set_wall(due or world.clock.now_ms())
    assert await world.states(watcher.endpoint) == ["dead"]
    assert len(await world.events("message.attempt.exhausted")) == 1
    assert await world.states(third.endpoint) == ["delivered"]


async def test_one_yes_in_the_same_group_saves_an_endpoint(world: World) -> None:
    made = await world.endpoint()
    await world.pay()
    await world.pay()
    while await fan_out(world.db):
        pass
    async with world.db.work() as work:
        locked = await messages.due(work, UUID(int=0), {}, each=9, limit=9, failing=False)
        ids = [row["id"] for row in locked]
        (one, two), _ = await messages.lease(work, ids, work.ids.new())
        await work.execute("UPDATE webhook_endpoint SET failing_since = 0")
    yes = Heard(started_at=0, duration_ms=1, status=200)
    no = Heard(started_at=0, duration_ms=1, status=500, failure=Failure.STATUS)
    async with world.db.work() as work:
        await finish_many(
            work,
            [
                Finish(claimed=one, heard=no, chance=0.5),
                Finish(claimed=two, heard=yes, chance=0.5),
            ],
        )
    assert (await world.get(made.endpoint)).state == "enabled"


@pytest.mark.parametrize("slow", [behave.stall, behave.drip], ids=["stall", "drip"])
async def test_one_deadline_holds_for_connecting_and_reading(
    world: World, slow: behave.Behave
) -> None:
    world.receiver.paths["/hook"] = slow
    async with Sender(SystemClock(), allow_private=True, deadline_s=0.3) as sender:
        heard = await sender.post(world.receiver.url("/hook"), b"{}", [])
    assert heard.failure is Failure.TIMEOUT
    assert 250 <= heard.duration_ms < 2_000


def test_the_deadline_is_the_specification_s() -> None:
    assert DEADLINE_S == 15
    assert inspect.signature(Sender).parameters["deadline_s"].default == DEADLINE_S


async def test_slow_endpoints_leave_half_of_the_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They answer well, just inside the deadline: once known, they do not hold up a quick one."""
    monkeypatch.setattr(settling, "SLOW_MS", 100)

    async def slow(got: object, writer: object) -> bytes:
        await SystemClock().sleep(0.2)
        world.clock.advance(200)
        return behave.OK

    for n in range(6):
        world.receiver.paths[f"/slow{n}"] = slow
        await world.endpoint(f"/slow{n}")
    await world.pay()
    while await fan_out(world.db):
        pass
    courier = world.another(each=2, in_all=4)
    while not all(world.receiver.at(f"/slow{n}") for n in range(6)):
        await courier.tick()
        await SystemClock().sleep(0.02)
    await courier.idle()  # now all six are known to be slow
    quick = await world.endpoint("/quick", party=world.other)
    for _ in range(8):
        await world.pay()
    for _ in range(8):
        await world.pay(payee=world.other)
    while await fan_out(world.db):
        pass
    before = sum(len(world.receiver.at(f"/slow{n}")) for n in range(6))
    while len(world.receiver.at("/quick")) < 8:
        await courier.tick()
        await SystemClock().sleep(0.01)
    slow_ones = sum(len(world.receiver.at(f"/slow{n}")) for n in range(6)) - before
    assert slow_ones < 24  # of 48: with the whole room theirs, all would have gone before
    assert set(await world.states(quick.endpoint)) <= {"delivered", "pending"}
    await courier.close(patience_s=1)
