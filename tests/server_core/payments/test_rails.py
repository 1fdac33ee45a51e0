"""Cards, banks, links and several rails: what the payer must do, and money that nobody waits for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress

import httpx
import pytest
from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, account_id
from server_core.payments import asking, commands, jobs, landing, service
from server_core.payments.model import (
    AttemptState,
    Cancel,
    Capture,
    CaptureMethod,
    Create,
    Method,
    Operation,
    Pay,
    State,
)
from server_core.payments.queues import Confirmations
from server_core.rails import store as rail_store
from server_core.rails.calls import RailSettings
from server_core.rails.card import CardRail
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome, RailAnswer
from server_core.rails.netbanking import NetbankingRail
from server_core.rails.upi import UpiRail
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from server_core.strays import jobs as stray_jobs
from server_core.strays import service as strays
from tests.server_core.payments.conftest import World
from tests.server_core.sandbox.running import sandbox

QUICK = RailSettings(authorize_s=2, rest_s=2)
HOUR = 3_600_000
MANUAL, PARTS = CaptureMethod.MANUAL, CaptureMethod.MANUAL_MULTIPLE


@pytest.fixture(scope="module")
def upi_core() -> Iterator[str]:
    with sandbox() as address:
        yield address


@pytest.fixture
async def rails(world: World, upi_core: str) -> AsyncIterator[Rails]:
    async with AsyncExitStack() as opened:
        by_name = {
            name: await opened.enter_async_context(
                kind.connect(upi_core, clock=world.db.clock, settings=QUICK)
            )
            for name, kind in (("upi", UpiRail), ("card", CardRail), ("netbanking", NetbankingRail))
        }
        yield await over(world, Rails(by_name=by_name))


async def over(world: World, rails: Rails) -> Rails:
    """The world's payments go over these rails from now on."""
    async with world.db.work() as work:
        for name in rails.by_name:
            await service.open_rail_account(work, name, "INR")
    await world.queue.close()
    world.queue = Confirmations(world.db, rails)
    return rails


async def stands(world, intent):
    async with world.db.reader() as reader:
        now = await service.get(reader, world.actor(world.shop), intent.id)
        return now, await service.attempts(reader, world.actor(world.shop), intent.id)


async def owed(code: Code, rail: str, world: World) -> int:
    account = account_id(code, rail, "INR")
    async with world.db.reader() as reader:
        found = await ledger.balances(reader, [account])
        return found[account].balance if account in found else 0


async def later(world: World, rails: Rails, ms: int = HOUR) -> None:
    world.db.clock.advance(ms)
    await jobs.reconcile(world.db, rails)
    await stray_jobs.tick(world.db, rails)


async def refused(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def events(world: World, intent) -> list[str]:
    async with world.db.reader() as reader:
        found = await reader.rows(
            "SELECT type FROM event WHERE correlation = $1 AND type NOT LIKE 'ledger%' ORDER BY seq",
            intent.id,
        )
    return [row["type"] for row in found]


def by_card(world, intent, token: str = "tok_asha"):  # noqa: S107 - a sandbox's word
    return world.pay(intent, method=Method.CARD, instrument=token)


def take(world, intent, amount=None, *, final: bool = True) -> Capture:
    return Capture(
        actor=world.actor(world.shop), key=world.key(), intent=intent.id, amount=amount, final=final
    )


class TestCard:
    async def test_a_sale_is_taken_at_once(self, world, rails) -> None:
        paid = await world.confirm(by_card(world, await world.ask()), rails)
        assert paid.state is State.SUCCEEDED
        assert await world.balance(world.shop) == 15_000
        assert await owed(Code.CLEARING, "card", world) == 15_000

    @pytest.mark.parametrize("token", ["4111111111111111", "tok_4111111111111111", "asha", None])
    async def test_a_number_is_refused_before_anything_is_kept(self, world, rails, token) -> None:
        command = by_card(world, await world.ask(), token)
        assert await refused(world.confirm(command, rails)) == "payments.instrument"

    async def test_it_is_set_aside_and_captured_in_parts(self, world, rails) -> None:
        held = await world.confirm(by_card(world, await world.ask(capture_method=PARTS)), rails)
        assert (held.state, held.capturable) == (State.REQUIRES_CAPTURE, 15_000)
        part = take(world, held, 4_000, final=False)
        for _ in range(2):  # the second is the kept answer
            taken = (await commands.capture(world.db, rails, part)).value
            assert (taken.state, taken.captured, taken.capturable) == (
                State.REQUIRES_CAPTURE, 4_000, 11_000,
            )  # fmt: skip
        done = (await commands.capture(world.db, rails, take(world, held, 5_000))).value
        assert (done.state, done.captured, done.capturable) == (State.SUCCEEDED, 9_000, 0)
        assert await world.balance(world.shop) == 9_000
        assert await owed(Code.CLEARING, "card", world) == 9_000
        _, attempts = await stands(world, held)
        assert [one.operation for one in attempts] == [
            Operation.PAY, Operation.CAPTURE, Operation.CAPTURE,
        ]  # fmt: skip
        ask = Ask(actor=world.actor(world.shop), key="back", intent=held.id, amount=2_000)
        await refunds.refund(world.db, rails, ask)
        assert await world.balance(world.shop) == 7_000

    async def test_captures_at_once_take_turns(self, world, rails) -> None:
        held = await world.confirm(by_card(world, await world.ask(capture_method=PARTS)), rails)
        said = await asyncio.gather(
            *(
                commands.capture(world.db, rails, take(world, held, 6_000, final=False))
                for _ in range(4)
            ),
            return_exceptions=True,
        )
        taken = sum(not isinstance(one, BaseException) for one in said)
        now, _ = await stands(world, held)
        assert now.captured == 6_000 * taken <= 15_000
        assert await world.balance(world.shop) == now.captured

    async def test_a_capture_without_a_clear_answer_holds_and_is_asked_again(
        self, world, rails
    ) -> None:
        held = await world.confirm(by_card(world, await world.ask(capture_method=MANUAL)), rails)
        mute = Mute(rails.by_name["card"])
        lost = Rails(by_name={**rails.by_name, "card": mute})
        command = take(world, held, 10_000)
        waits = (await commands.capture(world.db, lost, command)).value
        assert (waits.state, waits.captured) == (State.REQUIRES_CAPTURE, 0)
        actor = world.actor(world.shop)
        assert await refused(service.cancel(world.db, lost, actor, held.id)) == "payments.state"
        assert await refused(commands.capture(world.db, lost, take(world, held))) == (
            "payments.state"
        )
        world.db.clock.advance(held.capture_before)  # its time does not void what is under way
        assert await jobs.expire(world.db) == 0
        await later(world, rails)
        now, _ = await stands(world, held)
        assert (now.state, now.captured) == (State.SUCCEEDED, 10_000)
        assert (await commands.capture(world.db, rails, command)).value.captured == 10_000
        assert await world.balance(world.shop) == 10_000

    async def test_what_is_given_back_is_told_to_the_network(self, world, rails) -> None:
        held = await world.confirm(by_card(world, await world.ask(capture_method=MANUAL)), rails)
        over_ = await service.cancel(world.db, rails, world.actor(world.shop), held.id)
        assert (over_.state, over_.capturable) == (State.CANCELED, 0)
        await later(world, rails, 1)
        _, [hold, void] = await stands(world, held)
        assert (void.operation, void.state) == (Operation.VOID, AttemptState.SUCCEEDED)
        answer = await rails.by_name["card"].status(hold.id)
        assert answer.outcome is Outcome.REVERSED
        assert await owed(Code.CLEARING, "card", world) == 0

    async def test_capture_against_cancel_at_once(self, world, rails) -> None:
        for _ in range(5):
            held = await world.confirm(
                by_card(world, await world.ask(1_000, capture_method=MANUAL)), rails
            )
            before = await world.balance(world.shop)
            await asyncio.gather(
                commands.capture(world.db, rails, take(world, held)),
                service.cancel(world.db, rails, world.actor(world.shop), held.id),
                return_exceptions=True,
            )
            now, _ = await stands(world, held)
            assert now.state in {State.SUCCEEDED, State.CANCELED}
            assert await world.balance(world.shop) - before == now.captured
            await later(world, rails, 1)


class Mute:
    """A rail that does what it is told and whose answers never come back."""

    def __init__(self, rail) -> None:
        self._rail = rail

    def __getattr__(self, verb: str):
        async def call(*args, **more):
            await getattr(self._rail, verb)(*args, **more)
            return RailAnswer(outcome=Outcome.UNKNOWN)

        return call


class TestBank:
    async def at_the_bank(self, world, rails, bank: str = "okbank"):
        intent = await world.ask()
        command = world.pay(intent, method=Method.NETBANKING, instrument=bank)
        waits = await world.confirm(command, rails)
        assert waits.state is State.REQUIRES_ACTION
        assert waits.action.startswith("http")
        return waits, command

    async def decide(self, page: str, what: str) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.post(page, data={"decision": what})
            assert answer.status_code < 400, answer.text

    async def test_the_payer_approves(self, world, rails) -> None:
        waits, command = await self.at_the_bank(world, rails)
        assert (await world.confirm(command, rails)).action == waits.action
        await self.decide(waits.action, "approve")
        await later(world, rails, 60_000)
        now, _ = await stands(world, waits)
        assert (now.state, now.action) == (State.SUCCEEDED, None)
        assert await world.balance(world.shop) == 15_000

    async def test_the_payer_refuses_and_pays_another_way(self, world, rails) -> None:
        waits, _ = await self.at_the_bank(world, rails)
        await self.decide(waits.action, "decline")
        await later(world, rails, 60_000)
        now, _ = await stands(world, waits)
        assert (now.state, now.action) == (State.REQUIRES_PAYMENT_METHOD, None)
        assert (await world.confirm(world.pay(waits))).state is State.SUCCEEDED

    async def test_a_cancel_takes_it_back_from_the_bank(self, world, rails) -> None:
        waits, _ = await self.at_the_bank(world, rails)
        over_ = await service.cancel(world.db, rails, world.actor(world.shop), waits.id)
        assert over_.state is State.CANCELED
        await later(world, rails)
        assert await world.balance(world.shop) == 0
        assert await owed(Code.CLEARING, "netbanking", world) == 0

    async def test_a_cancel_comes_too_late(self, world, rails) -> None:
        waits, _ = await self.at_the_bank(world, rails)
        await self.decide(waits.action, "approve")
        await service.cancel(world.db, rails, world.actor(world.shop), waits.id)
        for _ in range(3):
            await later(world, rails)
        assert await world.balance(world.shop) == await owed(Code.CLEARING, "netbanking", world)


class TestLink:
    async def shown(self, world, rails, amount: int = 15_000, **more):
        intent = await world.ask(amount, **more)
        by_shop = world.pay(intent, world.shop, method=Method.UPI_LINK)
        waits = await world.confirm(by_shop, rails)
        assert waits.state is State.REQUIRES_ACTION
        assert waits.action.startswith("upi://pay?")
        return waits

    async def scan(self, upi_core: str, link: str, by: str = "ravi@okbank", **more) -> None:
        async with httpx.AsyncClient(base_url=upi_core) as client:
            body = {"link": link, "payer_vpa": by} | more
            answer = await client.post("/upi/admin/scan", json=body)
            assert answer.status_code == 200, answer.text

    async def test_any_app_pays_it(self, world, rails, upi_core) -> None:
        waits = await self.shown(world, rails)
        await later(world, rails, 60_000)
        assert (await stands(world, waits))[0].state is State.REQUIRES_ACTION
        await self.scan(upi_core, waits.action)
        await later(world, rails, 300_000)
        now, [attempt] = await stands(world, waits)
        assert (now.state, now.payer, now.action) == (State.SUCCEEDED, None, None)
        assert attempt.debit is not None
        assert len(attempt.rail_reference) == 12
        assert await world.balance(world.shop) == 15_000
        ask = Ask(actor=world.actor(world.shop), key="back", intent=waits.id, amount=5_000)
        await refunds.refund(world.db, rails, ask)
        assert await world.balance(world.shop) == 10_000

    async def test_paid_twice_the_second_goes_back_once(self, world, rails, upi_core) -> None:
        waits = await self.shown(world, rails)
        await self.scan(upi_core, waits.action)
        await self.scan(upi_core, waits.action, "asha@okbank")
        await later(world, rails, 300_000)
        assert (await stands(world, waits))[0].state is State.SUCCEEDED
        for _ in range(3):
            await later(world, rails, 2 * HOUR)
        assert await world.balance(world.shop) == 15_000
        assert await owed(Code.CLEARING, "upi", world) == 115_000
        assert await owed(Code.SUSPENSE, "upi", world) == 0
        async with world.db.reader() as reader:
            [stray] = await strays.of_intent(reader, waits.id)
        assert (stray.state, stray.amount) == ("given_back", 15_000)
        told = await events(world, waits)
        assert told.count("stray.found") == told.count("stray.given_back") == 1

    async def test_nobody_pays_it_in_time_and_somebody_late(self, world, rails, upi_core) -> None:
        waits = await self.shown(world, rails, life_ms=60_000)
        await later(world, rails, 120_000)
        await jobs.expire(world.db)
        assert (await stands(world, waits))[0].state is State.EXPIRED
        await self.scan(upi_core, waits.action)
        for _ in range(2):
            await later(world, rails, 2 * HOUR)
        assert await world.balance(world.shop) == 0
        assert await owed(Code.CLEARING, "upi", world) == 100_000
        assert (await events(world, waits)).count("stray.given_back") == 1

    async def test_a_cancel_ends_it(self, world, rails) -> None:
        waits = await self.shown(world, rails)
        over_ = await service.cancel(world.db, rails, world.actor(world.shop), waits.id)
        assert over_.state is State.CANCELED

    async def test_only_who_is_paid_shows_it(self, world, rails) -> None:
        intent = await world.ask(by=world.ravi)
        by_shop = world.pay(intent, world.shop, method=Method.UPI_LINK)
        assert await refused(world.confirm(by_shop, rails)) in {"payments.role", "payments.unknown"}


class Told:
    """A rail whose answers are a script: the last one is repeated. It counts what it was asked."""

    def __init__(self, **script: list[Outcome]) -> None:
        self.script, self.calls = script, []

    def __getattr__(self, verb: str):
        async def call(*_, **__) -> RailAnswer:
            self.calls.append(verb)
            left = self.script.get(verb, [Outcome.UNKNOWN])
            outcome = left.pop(0) if len(left) > 1 else left[0]
            return RailAnswer(outcome=outcome, code="X", rail_reference="123456789012")

        return call


YES, NO, ASK = Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.UNKNOWN
NOT_SENT, GONE, BACK = Outcome.NOT_SENT, Outcome.NOT_FOUND, Outcome.REVERSED


def by_bank(world, intent, vpa: str = "asha@okbank"):
    return world.pay(intent, method=Method.UPI, instrument=vpa)


class TestTheNextRail:
    async def test_what_was_not_sent_goes_over_the_next_one(self, world) -> None:
        first, second = Told(authorize=[NOT_SENT], status=[GONE]), Told(authorize=[YES])
        rails = await over(world, Rails(by_name={"upi": first, "upi.2": second}))
        for _ in range(4):  # whichever of the two it tries first
            intent = await world.ask(1_000)
            paid = await world.confirm(by_bank(world, intent), rails)
            assert paid.state is State.SUCCEEDED
        assert await world.balance(world.shop) == 4_000
        assert await owed(Code.CLEARING, "upi.2", world) == 4_000
        assert await owed(Code.CLEARING, "upi", world) == 100_000
        await later(world, rails)
        assert await owed(Code.SUSPENSE, "upi", world) == 0

    @pytest.mark.parametrize("first", [ASK, NO])
    async def test_nothing_else_does(self, world, first) -> None:
        two = {name: Told(authorize=[first], status=[ASK]) for name in ("upi", "upi.2")}
        rails = await over(world, Rails(by_name=two))
        intent = await world.ask()
        with suppress(DomainError):
            await world.confirm(by_bank(world, intent), rails)
        assert sorted(two["upi"].calls + two["upi.2"].calls) == ["authorize"]

    async def test_nobody_is_reached(self, world) -> None:
        two = {name: Told(authorize=[NOT_SENT], status=[GONE]) for name in ("upi", "upi.2")}
        rails = await over(world, Rails(by_name=two))
        intent = await world.ask()
        command = by_bank(world, intent)
        assert await refused(world.confirm(command, rails)) == "payments.rail_unavailable"
        now, attempts = await stands(world, intent)
        assert now.state is State.REQUIRES_PAYMENT_METHOD
        assert [one.state for one in attempts] == [AttemptState.NOT_SENT] * 2
        assert {one.rail for one in attempts} == {"upi", "upi.2"}

    async def test_a_late_success_after_it_is_given_back_once_and_reported(self, world) -> None:
        liar = Told(authorize=[NOT_SENT], status=[YES], reverse=[ASK, ASK, BACK])
        rails = await over(world, Rails(by_name={"upi": liar, "upi.2": Told(authorize=[YES])}))
        intent = await world.ask()
        while "authorize" not in liar.calls:
            intent = await world.ask()
            await world.confirm(by_bank(world, intent), rails)
        sold = await world.balance(world.shop)
        await later(world, rails)
        assert await owed(Code.SUSPENSE, "upi", world) == 15_000
        for _ in range(5):
            await later(world, rails)
        assert await world.balance(world.shop) == sold
        assert await owed(Code.SUSPENSE, "upi", world) == 0
        assert await owed(Code.CLEARING, "upi", world) == 100_000
        told = await events(world, intent)
        assert (told.count("stray.found"), told.count("stray.given_back")) == (1, 1)
        assert liar.calls.count("reverse") == 3

    async def test_the_payee_prefers_one_and_no_rail_carries_too_much(self, world) -> None:
        two = {name: Told(authorize=[YES]) for name in ("upi", "upi.2")}
        rails = await over(world, Rails(by_name=two))
        async with world.db.work() as work:
            await rail_store.prefer(work, world.shop.id, ["upi.2", "upi"])
        for _ in range(3):
            await world.confirm(by_bank(world, await world.ask(1_000)), rails)
        assert (len(two["upi"].calls), len(two["upi.2"].calls)) == (0, 3)
        async with world.db.work() as work:
            await work.execute(
                "INSERT INTO limit_profile VALUES ('rails', 'upi', 5000, 'minor INR', $1, 'test')",
                work.now_ms + 10**10,
            )
        world.db.clock.advance(10**10)
        much = by_bank(world, await world.ask(5_001))
        assert await refused(world.confirm(much, rails)) == "payments.no_route"

    async def test_a_crash_after_the_change_of_rails(self, world) -> None:
        first, second = Told(authorize=[NOT_SENT], status=[GONE]), Told(status=[GONE])
        rails = await over(world, Rails(by_name={"upi": first, "upi.2": second}))

        async def dies(*_, **__):
            raise ConnectionResetError

        second.authorize = dies
        intent = await world.ask()
        while not first.calls:
            intent = await world.ask()
            with pytest.raises(ConnectionResetError):
                await world.confirm(by_bank(world, intent), rails)
        await later(world, rails)
        now, attempts = await stands(world, intent)
        assert now.state is State.REQUIRES_PAYMENT_METHOD
        assert {one.state for one in attempts} == {AttemptState.NOT_SENT}


class TestWho:
    @pytest.mark.parametrize("role", [Role.DELEGATE, Role.GUARDIAN])
    async def test_another_role_of_the_payee_moves_nothing(self, world, rails, role) -> None:
        held = await world.confirm(world.pay(await world.ask(capture_method=MANUAL)))
        actor = Actor(party=world.shop.id, role=role)
        as_ = replace(take(world, held), actor=actor)
        assert await refused(commands.capture(world.db, rails, as_)) == "payments.role"
        cancel = Cancel(actor=actor, intent=held.id)
        assert await refused(commands.cancel(world.db, rails, cancel)) == "payments.role"
        await commands.capture(world.db, rails, take(world, held))
        ask = Ask(actor=actor, key="b", intent=held.id)
        assert await refused(refunds.refund(world.db, rails, ask)) == "payments.role"

    async def test_a_freed_key_of_a_payment_may_confirm_it(self, world) -> None:
        rail = Told(authorize=[NOT_SENT, YES], status=[GONE])
        rails = await over(world, Rails(by_name={"upi": rail}))
        offer = Create(
            actor=world.actor(world.asha), key="k", payee=world.shop.id, amount=500, currency="INR"
        )
        pay = Pay(offer=offer, method=Method.UPI, instrument="asha@okbank")
        assert await refused(world.confirm(pay, rails)) == "payments.rail_unavailable"
        async with world.db.reader() as reader:
            [made] = await service.mine(reader, world.actor(world.asha), before=None, limit=2)
        confirm = world.pay(made, key="k", method=Method.UPI, instrument="asha@okbank")
        for _ in range(2):
            assert (await world.confirm(confirm, rails)).state is State.SUCCEEDED
        assert await world.balance(world.shop) == 500


class TestContradictions:
    async def told_so(self, world, rails, attempt) -> None:
        """A callback came: the attempt is asked about, though it has ended."""
        async with world.db.work() as work:
            assert await service.hasten(work, attempt.id)
        await later(world, rails, 1)

    async def test_declined_and_debited_all_the_same(self, world, rails) -> None:
        intent = await world.ask()
        command = by_bank(world, intent, "contradict@okbank")
        assert await refused(world.confirm(command, rails)) == "payments.declined"
        _, [attempt] = await stands(world, intent)
        for _ in range(3):  # told again and again, given back once
            await self.told_so(world, rails, attempt)
        assert (await rails.by_name["upi"].status(attempt.id)).outcome is BACK
        told = await events(world, intent)
        assert (told.count("stray.found"), told.count("stray.given_back")) == (1, 1)
        assert await owed(Code.CLEARING, "upi", world) == 100_000
        assert (await world.confirm(by_bank(world, intent), rails)).state is State.SUCCEEDED

    @pytest.mark.parametrize(("said", "ms"), [(NOT_SENT, 100_000), (NO, 25 * HOUR)])
    async def test_a_debit_that_was_denied_is_found_without_a_callback(
        self, world, said, ms
    ) -> None:
        rail = Told(authorize=[said], status=[YES], reverse=[BACK])
        rails = await over(world, Rails(by_name={"upi": rail}))
        intent = await world.ask()
        await refused(world.confirm(by_bank(world, intent), rails))
        _, [attempt] = await stands(world, intent)
        async with world.db.work() as work:  # a look before its time does not stand for it
            await service.hasten(work, attempt.id)
        rail.script["status"] = [GONE, YES]
        await later(world, rails, 1)
        await later(world, rails, ms)
        await later(world, rails)
        told = await events(world, intent)
        assert (told.count("stray.found"), told.count("stray.given_back")) == (1, 1)
        assert await owed(Code.CLEARING, "upi", world) == 100_000

    async def test_a_success_that_is_denied_is_conflicted_until_it_is_not(self, world) -> None:
        rail = Told(authorize=[YES], status=[BACK, NO, YES])
        rails = await over(world, Rails(by_name={"upi": rail}))
        paid = await world.confirm(by_bank(world, await world.ask()), rails)
        _, [attempt] = await stands(world, paid)
        await self.told_so(world, rails, attempt)
        assert (await stands(world, paid))[0].state is State.CONFLICTED
        assert await world.balance(world.shop) == 15_000  # whose it is, a person decides
        await later(world, rails, 25 * HOUR)
        assert (await stands(world, paid))[0].state is State.CONFLICTED
        await later(world, rails, 25 * HOUR)
        assert (await stands(world, paid))[0].state is State.SUCCEEDED
        told = await events(world, paid)
        assert told.count("payment.conflicted") == told.count("payment.conflict_over") == 1

    async def test_a_success_after_the_reversal_is_given_back(self, world) -> None:
        rail = Told(authorize=[ASK], status=[BACK, YES], reverse=[BACK])
        rails = await over(world, Rails(by_name={"upi": rail}))
        intent = await world.ask()
        await world.confirm(by_bank(world, intent), rails)
        await later(world, rails)
        _, [attempt] = await stands(world, intent)
        assert attempt.state is AttemptState.REVERSED
        for _ in range(3):
            await later(world, rails, 25 * HOUR)
        told = await events(world, intent)
        assert (told.count("stray.found"), told.count("stray.given_back")) == (1, 1)
        assert await owed(Code.CLEARING, "upi", world) == 100_000

    async def test_what_was_told_to_be_reversed_is_never_paid_any_more(self, world) -> None:
        rail = Told(authorize=[ASK], status=[ASK, YES], reverse=[ASK, ASK, BACK])
        rails = await over(world, Rails(by_name={"upi": rail}))
        intent = await world.ask()
        await world.confirm(by_bank(world, intent), rails)
        await later(world, rails, 23 * HOUR)  # asked, told to reverse, and that was not heard
        for _ in range(2):
            assert (await stands(world, intent))[0].state is State.PROCESSING
            await later(world, rails, 2 * HOUR)
        now, [attempt] = await stands(world, intent)
        assert (now.state, attempt.state) == (
            State.REQUIRES_PAYMENT_METHOD, AttemptState.REVERSED,
        )  # fmt: skip
        assert await world.balance(world.shop) == 0
        assert rail.calls.count("reverse") == 3

    async def test_two_askers_of_which_one_reverses(self, world) -> None:
        rail = Told(authorize=[ASK], status=[ASK], reverse=[BACK])
        rails = await over(world, Rails(by_name={"upi": rail}))
        intent = await world.ask()
        await world.confirm(by_bank(world, intent), rails)
        _, [attempt] = await stands(world, intent)
        world.db.clock.advance(23 * HOUR)
        landed = RailAnswer(outcome=YES, code="00", rail_reference="123456789012")
        said = await asyncio.gather(
            asking.ask(world.db, rails, attempt.id),
            landing.land(world.db, rails, attempt.id, landed),
            return_exceptions=True,
        )
        now, [attempt] = await stands(world, intent)
        reversed_ = "reverse" in rail.calls
        assert (now.state is State.SUCCEEDED) is not reversed_, said

    async def test_a_reversal_that_comes_late_pays_its_payer(self, world) -> None:
        rail = Told(authorize=[ASK], status=[ASK], reverse=[ASK])
        rails = await over(world, Rails(by_name={"upi": rail}))
        intent = await world.ask()
        await world.confirm(by_bank(world, intent), rails)
        await later(world, rails, 7 * 24 * HOUR)  # to a merchant T+5: two days late
        rail.script["reverse"] = [BACK]
        await later(world, rails)
        assert (await stands(world, intent))[0].state is State.REQUIRES_PAYMENT_METHOD
        assert await world.balance(world.asha) == 100_000 + 2 * 10_000
        await later(world, rails, 48 * HOUR)
        assert (await events(world, intent)).count("payment.compensated") == 1


async def test_an_ended_attempt_that_nobody_doubts_is_asked_once_and_rests(world, rails) -> None:
    paid = await world.confirm(by_bank(world, await world.ask()), rails)
    _, [attempt] = await stands(world, paid)
    assert attempt.next_check_at is None
    assert (await asking.ask(world.db, rails, attempt.id)).state is State.SUCCEEDED
    cancel = Cancel(actor=world.actor(world.shop), intent=paid.id)
    assert await refused(commands.cancel(world.db, rails, cancel)) == "payments.state"
