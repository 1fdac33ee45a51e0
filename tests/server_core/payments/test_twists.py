"""Turns of events that once went wrong: each was found by somebody who tried to break payments."""

import asyncio
from contextlib import suppress

import httpx
import pytest

from devices.clock import SystemClock
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.idempotency.model import LEASE_MS
from server_core.ledger.model import Code
from server_core.payments import answers as said_
from server_core.payments import asking, capturing, commands, jobs, service
from server_core.payments.model import (
    AttemptState,
    Cancel,
    Create,
    Decision,
    Method,
    Pay,
    State,
)
from server_core.rails import store as rail_store
from server_core.rails.breaker import State as Breaker
from server_core.rails.calls import Call
from server_core.rails.card import CardRail
from server_core.rails.connected import Rails
from server_core.rails.doors import txn_id
from server_core.rails.model import LinkPayment, Outcome, RailAnswer
from server_core.refunds import conflicts
from server_core.refunds import jobs as refund_jobs
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from server_core.refunds.model import State as RefundState
from tests.server_core.payments.conftest import OPERATOR
from tests.server_core.payments.test_rails import (
    ASK,
    BACK,
    GONE,
    HOUR,
    MANUAL,
    NO,
    NOT_SENT,
    PARTS,
    QUICK,
    YES,
    Mute,
    TestLink,
    Told,
    by_bank,
    by_card,
    events,
    later,
    over,
    owed,
    rails,
    refused,
    stands,
    take,
    upi_core,
)

__all__ = ["rails", "upi_core"]
CLOCK = SystemClock()


# a capture's re-ask is a re-send; that the re-send did not leave says nothing of the first.
@pytest.mark.parametrize("how", ["lost_answer", "killed"])
async def test_not_sent_of_a_resent_capture(world, rails, how) -> None:
    held = await world.confirm(by_card(world, await world.ask(capture_method=PARTS)), rails)
    command = take(world, held, 4_000, final=False)
    mute = Rails(by_name={**rails.by_name, "card": Mute(rails.by_name["card"])})
    async with CardRail.connect("http://127.0.0.1:9", clock=world.db.clock, settings=QUICK) as dead:
        down = Rails(by_name={**rails.by_name, "card": dead})
        if how == "lost_answer":
            waits = (await commands.capture(world.db, mute, command)).value
            assert waits.captured == 0
        else:
            claim = said_.claim_of(command)
            opened = await world.db.transact(lambda w: capturing.capture(w, command, claim))
            hold = (await stands(world, held))[1][0]
            await rails.by_name["card"].capture(hold.id, opened.id, 4_000, final=False)
        await later(world, down, HOUR)  # the job asks while the network is away for a moment
    with suppress(DomainError):
        await commands.capture(world.db, rails, command)  # the same key, as we told them to
    await later(world, rails, HOUR)
    now, tried = await stands(world, held)
    key = txn_id(tried[0].id)
    call = Call(method="GET", path=f"/card/txn/{key}", about=("txn_id", key))
    status = await rails.by_name["card"]._heard(call)  # what the network took of the payer
    taken = status[1]["captured_minor"]
    assert taken == now.captured == await owed(Code.CLEARING, "card", world)


# an ended capture (or void) that is asked about once more is looked up as a debit.
async def test_an_ended_capture_asked_again_makes_no_conflict(world, rails) -> None:
    held = await world.confirm(by_card(world, await world.ask(capture_method=MANUAL)), rails)
    done = (await commands.capture(world.db, rails, take(world, held))).value
    assert done.state is State.SUCCEEDED
    _, [_, capture] = await stands(world, held)
    await asking.ask(world.db, rails, capture.id)
    now, _ = await stands(world, held)
    assert now.state is State.SUCCEEDED


async def test_by_the_job_and_a_repeat_of_the_key(world, rails) -> None:
    """The natural way there: killed after commit 1; lease over; the job has it in its page of 50,
    and a repeat of the key lands it before the job comes to it."""
    asked = []

    class Slow:
        """An attempt of this rail stands before the capture in the page."""

        def __getattr__(self, verb):
            async def call(*a, **k):
                asked.append(verb)
                if verb == "status":
                    await commands.capture(world.db, mixed, command)
                return RailAnswer(outcome=ASK)

            return call

    mixed = await over(world, Rails(by_name={**rails.by_name, "upi": Slow()}))
    other = await world.ask()
    await world.confirm(by_bank(world, other), mixed)
    held = await world.confirm(by_card(world, await world.ask(capture_method=MANUAL)), mixed)
    command = take(world, held)
    claim = said_.claim_of(command)
    await world.db.transact(lambda w: capturing.capture(w, command, claim))  # then: kill -9
    world.db.clock.advance(LEASE_MS + 1)
    await jobs.reconcile(world.db, mixed)
    now, _ = await stands(world, held)
    assert now.captured == 15_000
    assert now.state is State.SUCCEEDED


# a refund that is set aside may come back: what is written off is not known before it has ended.
async def test_nothing_is_written_off_while_a_refund_is_on_its_way(world) -> None:
    before = await owed(Code.CLEARING, "upi", world)
    rail = Told(authorize=[YES], status=[BACK], reverse=[BACK], refund=[ASK], refund_status=[NO])
    rails = await over(world, Rails(by_name={"upi": rail}))
    paid = await world.confirm(by_bank(world, await world.ask()), rails)
    _, [attempt] = await stands(world, paid)
    ask = Ask(actor=world.actor(world.shop), key="r", intent=paid.id, amount=4_000)
    made = (await refunds.refund(world.db, rails, ask)).value
    assert made.state is RefundState.PENDING
    async with world.db.work() as work:
        await service.hasten(work, attempt.id)
    await later(world, rails)

    async def decided(decision: Decision) -> None:
        await world.db.transact(lambda w: conflicts.decide(w, OPERATOR, paid.id, decision))

    for decision in (Decision.WRITTEN_OFF, Decision.TAKEN_BACK):
        assert await refused(decided(decision)) == "refunds.pending"
    again = Ask(actor=world.actor(world.shop), key="r2", intent=paid.id, amount=1_000)
    assert await refused(refunds.refund(world.db, rails, again)) == "refunds.conflicted"
    world.db.clock.advance(2 * HOUR)
    await refund_jobs.reconcile(world.db, rails)  # the rail denies the debit: it gives nothing back
    await decided(Decision.WRITTEN_OFF)
    now, _ = await stands(world, paid)
    assert (now.state, now.refunded) == (State.SUCCEEDED, 0)
    assert await world.balance(world.shop) == 15_000
    assert await owed(Code.CLEARING, "upi", world) - before == 0


# looking again at the attempt that did not leave frees the key of the one in flight.
async def test_recheck_leaves_the_key_of_the_next_attempt(world) -> None:
    inside, done = asyncio.Event(), asyncio.Event()

    class Second(Told):
        async def authorize(self, _order):
            inside.set()
            await done.wait()
            return RailAnswer(outcome=YES, code="00", rail_reference="123456789012")

    first = Told(authorize=[NOT_SENT], status=[YES], reverse=[BACK])
    second = Second(status=[ASK])
    rails = await over(world, Rails(by_name={"upi": first, "upi.2": second}))
    async with world.db.work() as work:
        await rail_store.prefer(work, world.shop.id, ["upi", "upi.2"])
    intent = await world.ask()
    command = by_bank(world, intent)
    paying = asyncio.create_task(world.confirm(command, rails))
    await inside.wait()
    _, tried = await stands(world, intent)
    assert [one.state for one in tried] == [AttemptState.NOT_SENT, AttemptState.SENT]
    async with world.db.work() as work:  # the first rail calls back: it took it after all
        await service.hasten(work, tried[0].id)
    await jobs.reconcile(world.db, rails)
    async with world.db.reader() as reader:
        kept = await reader.rows("SELECT key, state FROM idempotency WHERE key = $1", command.key)
    try:
        assert [row["state"] for row in kept] == ["running"]
    finally:
        done.set()
        paid = await paying
        assert paid.state is State.SUCCEEDED
    # and the repeat of the key is told what it came to
    assert (await world.confirm(command, rails)).state is State.SUCCEEDED
    await later(world, rails, HOUR)  # what the first rail took goes back


# a link or a dry run calls no rail, and takes the probe's place.
@pytest.mark.parametrize("how", ["link", "dry_run"])
async def test_who_calls_no_rail_takes_no_probe(world, how) -> None:
    rail = Told(authorize=[NOT_SENT] * 5 + [YES], status=[GONE])
    rails = await over(world, Rails(by_name={"upi": rail}, clock=world.db.clock))
    for _ in range(5):
        await refused(world.confirm(by_bank(world, await world.ask(1_000)), rails))
    assert rails.health.states(world.db.clock.monotonic_ms())[0][1] is Breaker.OPEN
    for _ in range(4):  # two minutes and more, of a rail that is well again
        world.db.clock.advance(31_000)
        with suppress(DomainError):
            if how == "link":
                shown = world.pay(await world.ask(), world.shop, method=Method.UPI_LINK)
                await world.confirm(shown, rails)
            else:
                await commands.dry_run(world.db, rails, by_bank(world, await world.ask(1_000)))
        said = None
        try:
            await world.confirm(by_bank(world, await world.ask(1_000)), rails)
        except DomainError as error:
            said = error.code
        if said is None:
            break
    assert said is None


# a callback that comes while an earlier answer is being taken in is forgotten.
async def test_a_callback_during_a_recheck_is_not_lost(world) -> None:
    rail = Told(authorize=[NO], status=[NO], reverse=[BACK])
    rails = await over(world, Rails(by_name={"upi": rail}))
    intent = await world.ask()
    await refused(world.confirm(by_bank(world, intent), rails))
    _, [attempt] = await stands(world, intent)
    first = True

    async def status(*_, **__):
        nonlocal first
        if not first:
            return RailAnswer(outcome=YES, code="00", rail_reference="123456789012")
        first = False
        async with world.db.work() as work:  # it is debited now, and the rail says so at once
            assert await service.hasten(work, attempt.id)
        return RailAnswer(outcome=NO, code="Z9")  # what it knew when it was asked

    rail.status = status
    for _ in range(5):
        await later(world, rails, 25 * HOUR)
    assert (await events(world, intent)).count("stray.found") == 1


# a link that was paid more often than an answer holds.
async def test_a_link_paid_very_often_still_ends(world, rails, upi_core) -> None:
    waits = await TestLink().shown(world, rails, life_ms=60_000)
    async with httpx.AsyncClient(base_url=upi_core) as client:
        for n in range(51):
            body = {"link": waits.action, "payer_vpa": f"p{n}@okbank"}
            answer = await client.post("/upi/admin/scan", json=body)
            assert answer.status_code == 200, answer.text
    for _ in range(8):
        await later(world, rails, HOUR)
    now, _ = await stands(world, waits)
    assert now.state is State.SUCCEEDED


# a refund that "never left", and was made all the same.
async def test_a_refund_that_was_made_after_it_failed_is_heard(world) -> None:
    before = await owed(Code.CLEARING, "upi", world)
    rail = Told(authorize=[YES], refund=[NOT_SENT], refund_status=[YES], status=[YES])
    rails = await over(world, Rails(by_name={"upi": rail}))
    paid = await world.confirm(by_bank(world, await world.ask()), rails)
    ask = Ask(actor=world.actor(world.shop), key="r", intent=paid.id, amount=4_000)
    assert await refused(refunds.refund(world.db, rails, ask)) == "refunds.rail_unavailable"
    async with world.db.reader() as reader:
        [made] = await refunds.mine(reader, world.actor(world.shop), before=None, limit=2)
    async with world.db.work() as work:  # its callback: succeeded
        await refunds.heard(work, made.id, Outcome.SUCCEEDED)
    for _ in range(3):
        world.db.clock.advance(25 * HOUR)
        await refund_jobs.reconcile(world.db, rails)
    assert "refund_status" in rail.calls
    assert await owed(Code.CLEARING, "upi", world) - before == 11_000


# who may not cancel has the bank's page called back all the same.
async def test_a_guardian_takes_nothing_back(world, rails) -> None:
    command = world.pay(await world.ask(), method=Method.NETBANKING, instrument="okbank")
    waits = await world.confirm(command, rails)
    assert waits.state is State.REQUIRES_ACTION
    actor = Actor(party=world.asha.id, role=Role.GUARDIAN)
    code = await refused(commands.cancel(world.db, rails, Cancel(actor=actor, intent=waits.id)))
    assert code == "payments.role"
    assert (await stands(world, waits))[0].state is State.REQUIRES_ACTION


# what is given back after a part was captured is told to the network until it is heard.
async def test_the_void_of_a_rest_ends(world, rails) -> None:
    held = await world.confirm(by_card(world, await world.ask(capture_method=PARTS)), rails)
    await commands.capture(world.db, rails, take(world, held, 4_000, final=False))
    await service.cancel(world.db, rails, world.actor(world.shop), held.id)
    for _ in range(10 * 24):
        await later(world, rails, HOUR)
        _, tried = await stands(world, held)
        if tried[-1].state is AttemptState.SUCCEEDED:
            break
    assert tried[-1].state is AttemptState.SUCCEEDED


# a stray of a link that its rail gave back by itself.
async def test_a_stray_that_the_rail_gave_back_itself_leaves_suspense(world) -> None:
    rail = Told(refund=[NO])
    gone = False

    async def paid_by_link(_):
        if gone:
            return [LinkPayment(txn_id="D1", amount_minor=700, answer=RailAnswer(outcome=BACK))]
        ok = RailAnswer(outcome=YES, code="00", rail_reference="123456789012")
        return [LinkPayment(txn_id="D1", amount_minor=700, answer=ok)]

    rail.paid_by_link = paid_by_link
    rails = await over(world, Rails(by_name={"upi": rail}))
    shown = world.pay(await world.ask(life_ms=60_000), world.shop, method=Method.UPI_LINK)
    await world.confirm(shown, rails)
    await later(world, rails, 120_000)  # over: nobody paid the whole of it
    await later(world, rails, 2 * HOUR)
    assert await owed(Code.SUSPENSE, "upi", world) == 700
    gone = True
    for _ in range(30):
        await later(world, rails, 2 * HOUR)
    assert await owed(Code.SUSPENSE, "upi", world) == 0


# a link that was shown for more than 8 hours has used up the asks of its afterlife.
async def test_a_long_link_s_late_debit_is_found(world) -> None:
    rail, found = Told(refund=[YES]), []

    async def paid_by_link(_):
        return found

    rail.paid_by_link = paid_by_link
    rails = await over(world, Rails(by_name={"upi": rail}))
    shown = world.pay(await world.ask(life_ms=10 * HOUR), world.shop, method=Method.UPI_LINK)
    waits = await world.confirm(shown, rails)
    for _ in range(125):
        await later(world, rails, 300_000)
    now, [attempt] = await stands(world, waits)
    assert (now.state, attempt.state) == (State.REQUIRES_PAYMENT_METHOD, AttemptState.DECLINED)
    found = None  # the one look, an hour after its end, is not heard
    await later(world, rails, 2 * HOUR)
    ok = RailAnswer(outcome=YES, code="00", rail_reference="123456789012")
    found = [LinkPayment(txn_id="D1", amount_minor=15_000, answer=ok)]
    for _ in range(100):
        await later(world, rails, 2 * HOUR)
    assert (await events(world, waits)).count("stray.found") == 1


# a cancel whose key is another request's is refused, after it has acted.
async def test_a_misused_key_calls_nothing_back(world, rails) -> None:
    first = await world.ask()
    cancel = Cancel(actor=world.actor(world.asha), key="k", intent=first.id)
    await refused(commands.cancel(world.db, rails, cancel))
    await commands.create(
        world.db,
        Create(
            actor=world.actor(world.asha), key="k2", payee=world.shop.id, amount=5, currency="INR"
        ),
    )
    command = world.pay(await world.ask(), method=Method.NETBANKING, instrument="okbank")
    waits = await world.confirm(command, rails)
    wrong = Cancel(actor=world.actor(world.asha), key="k2", intent=waits.id)
    assert await refused(commands.cancel(world.db, rails, wrong)) == "idempotency.key_reused"
    assert (await stands(world, waits))[0].state is State.REQUIRES_ACTION


# who may read what a stranger paid by a link.
async def test_a_payment_by_link_is_no_stranger_s_to_read(world) -> None:
    rail = Told()
    ok = RailAnswer(outcome=YES, code="00", rail_reference="123456789012")

    async def paid_by_link(_):
        return [LinkPayment(txn_id="D1", amount_minor=15_000, answer=ok)]

    rail.paid_by_link = paid_by_link
    rails = await over(world, Rails(by_name={"upi": rail}))
    shown = world.pay(await world.ask(), world.shop, method=Method.UPI_LINK)
    waits = await world.confirm(shown, rails)
    await later(world, rails)
    assert (await stands(world, waits))[0].state is State.SUCCEEDED
    async with world.db.reader() as reader:
        with pytest.raises(DomainError):
            await service.get(reader, world.actor(world.ravi), waits.id)


def _debit(key: str, outcome: Outcome, amount: int = 15_000) -> LinkPayment:
    answer = RailAnswer(outcome=outcome, code="00", rail_reference="123456789012")
    return LinkPayment(txn_id=key, amount_minor=amount, answer=answer)


# an operator's decision forgets the look at a link that is still due.
async def test_a_decision_keeps_the_watch_of_a_link(world) -> None:
    rail, listed = Told(refund=[YES]), [_debit("D1", YES)]

    async def paid_by_link(_):
        return listed

    rail.paid_by_link = paid_by_link
    rails = await over(world, Rails(by_name={"upi": rail}))
    waits = await world.confirm(
        world.pay(await world.ask(), world.shop, method=Method.UPI_LINK), rails
    )
    await later(world, rails, 60_000)
    now, [attempt] = await stands(world, waits)
    assert now.state is State.SUCCEEDED
    listed = [_debit("D1", BACK)]
    async with world.db.work() as work:
        await service.hasten(work, attempt.id)
    await later(world, rails, 60_000)
    assert (await stands(world, waits))[0].state is State.CONFLICTED
    await world.db.transact(lambda w: conflicts.decide(w, OPERATOR, waits.id, Decision.TAKEN))
    listed = [_debit("D1", YES), _debit("D2", YES)]  # somebody paid it a second time, minutes later
    for _ in range(40):
        await later(world, rails, HOUR)
    assert (await events(world, waits)).count("stray.found") == 1


# the job walks its page one by one: a mute rail holds up all others.
async def test_one_mute_rail_holds_up_no_other(world) -> None:
    class Slow(Told):
        async def status(self, *_, **__):
            await CLOCK.sleep(0.2)
            return RailAnswer(outcome=ASK)

    rails = await over(world, Rails(by_name={"upi": Slow(authorize=[ASK])}))
    for _ in range(5):
        await world.confirm(by_bank(world, await world.ask(100)), rails)
    world.db.clock.advance(HOUR)
    began = CLOCK.monotonic_ms()
    await jobs.reconcile(world.db, rails)
    assert CLOCK.monotonic_ms() - began < 800


# taken back, and nobody ever looks whether the rail had it after all.
async def test_taken_back_is_looked_at_once_more(world) -> None:
    rail = Told(authorize=[YES], status=[BACK, YES], reverse=[BACK])
    rails = await over(world, Rails(by_name={"upi": rail}))
    paid = await world.confirm(by_bank(world, await world.ask()), rails)
    _, [attempt] = await stands(world, paid)
    async with world.db.work() as work:
        await service.hasten(work, attempt.id)
    await later(world, rails)
    await world.db.transact(lambda w: conflicts.decide(w, OPERATOR, paid.id, Decision.TAKEN_BACK))
    for _ in range(30):
        await later(world, rails, 25 * HOUR)
    assert (await events(world, paid)).count("stray.found") == 1


# the key's answer was a decline; a repeat of it debits.
async def test_a_repeat_after_a_decline_debits_nothing(world) -> None:
    inside, done = asyncio.Event(), asyncio.Event()

    class Second(Told):
        async def authorize(self, _order):
            if done.is_set():
                return RailAnswer(outcome=YES, code="00", rail_reference="123456789012")
            inside.set()
            await done.wait()
            return RailAnswer(outcome=NO, code="Z9")

    first = Told(authorize=[NOT_SENT], status=[GONE])
    rails = await over(world, Rails(by_name={"upi": first, "upi.2": Second(status=[ASK])}))
    async with world.db.work() as work:
        await rail_store.prefer(work, world.shop.id, ["upi", "upi.2"])
    offer = Create(
        actor=world.actor(world.asha), key="K", payee=world.shop.id, amount=500, currency="INR"
    )
    pay = Pay(offer=offer, method=Method.UPI, instrument="asha@okbank")
    paying = asyncio.create_task(world.confirm(pay, rails))
    await inside.wait()
    world.db.clock.advance(91_000)  # the look at what did not leave, while the next one is at work
    await jobs.reconcile(world.db, rails)
    done.set()
    assert await refused(paying) == "payments.declined"
    assert await refused(world.confirm(pay, rails)) == "payments.declined"
    assert await world.balance(world.shop) == 0


# killed while the second rail was called.
async def test_killed_during_the_next_rail_and_declined(world) -> None:
    first = Told(authorize=[NOT_SENT], status=[GONE])
    second = Told(status=[NO])

    async def not_reached(*_, **__):
        world.db.clock.advance(3_000)  # a connect time-out
        return RailAnswer(outcome=NOT_SENT)

    async def dies(*_, **__):
        raise ConnectionResetError

    first.authorize, second.authorize = not_reached, dies
    rails = await over(world, Rails(by_name={"upi": first, "upi.2": second}))
    async with world.db.work() as work:
        await rail_store.prefer(work, world.shop.id, ["upi", "upi.2"])
    offer = Create(
        actor=world.actor(world.asha), key="K", payee=world.shop.id, amount=500, currency="INR"
    )
    pay = Pay(offer=offer, method=Method.UPI, instrument="asha@okbank")
    with pytest.raises(ConnectionResetError):
        await world.confirm(pay, rails)
    for _ in range(100):  # the job ticks every second, for 100 seconds
        world.db.clock.advance(1_000)
        await jobs.reconcile(world.db, rails)
    again = Told(authorize=[YES])
    second.authorize = first.authorize = again.authorize
    assert await refused(world.confirm(pay, rails)) == "payments.declined"
    assert await world.balance(world.shop) == 0
