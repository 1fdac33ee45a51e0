"""The card adapter against the sandbox over sockets: each steer, each outcome, each idempotent."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from msgspec.structs import replace

from devices.clock import ManualClock, SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.calls import RailSettings
from server_core.rails.card import CardRail
from server_core.rails.doors import txn_id
from server_core.rails.model import Outcome, RailOrder, RailRefund
from server_core.rails.traits import TRAITS
from tests.server_core.sandbox.running import PROMPT, sandbox

_IDS = Ids(SystemClock(), SeededEntropy("card"))
NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    with sandbox() as address:
        yield address


@pytest.fixture
async def rail(network: str) -> AsyncIterator[CardRail]:
    async with CardRail.connect(network) as connected:
        yield connected


def order(card: str = "tok_asha", **other: object) -> RailOrder:
    plain = RailOrder(
        attempt=_IDS.new(), amount_minor=15_000, currency="INR", instrument=card,
        payee_vpa="tea.stall@hundi", payee_name="Tea & Co", mcc="5814",
    )  # fmt: skip
    return replace(plain, **other)


def refund_of(asked: RailOrder, amount: int, **other: object) -> RailRefund:
    plain = RailRefund(
        refund=_IDS.new(), attempt=asked.attempt, amount_minor=amount, currency=asked.currency
    )
    return replace(plain, **other)


async def aside(rail: CardRail, amount: int = 15_000) -> RailOrder:
    asked = order(capture=False, amount_minor=amount)
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.AUTHORIZED, "00")
    return asked


async def test_a_sale_is_taken_at_once(rail: CardRail):
    asked = order()
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.SUCCEEDED, "00")
    assert len(answer.rail_reference or "") == 12
    again = await rail.authorize(asked)
    assert (again.outcome, again.rail_reference) == (answer.outcome, answer.rail_reference)
    assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED
    capture = await rail.capture(asked.attempt, _IDS.new(), 1)
    assert (capture.outcome, capture.code) == (Outcome.UNKNOWN, "card.sale")


@pytest.mark.parametrize("code", ["05", "51", "54", "61", "62"])
async def test_a_decline_keeps_its_iso_code(rail: CardRail, code: str):
    asked = order(f"tok_decline_{code}")
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, code)
    assert (await rail.status(asked.attempt)).outcome is Outcome.DECLINED
    reversal = await rail.reverse(asked.attempt)
    assert (reversal.outcome, reversal.code) == (Outcome.DECLINED, code)
    capture = await rail.capture(asked.attempt, _IDS.new(), 1)
    assert (capture.outcome, capture.code) == (Outcome.DECLINED, "card.not_authorized")


@pytest.mark.parametrize("code", ["91", "96", "68"])
async def test_what_the_issuer_may_have_set_aside_is_asked_about(rail: CardRail, code: str):
    asked = order(f"tok_check_{code}", capture=False)
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, code)
    assert (await rail.status(asked.attempt)).outcome is Outcome.AUTHORIZED


@pytest.mark.parametrize(
    ("token", "first", "then"),
    [
        ("tok_unknown", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("tok_deemed_1", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("tok_pending_1", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("tok_late", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("tok_lost", Outcome.UNKNOWN, [Outcome.NOT_FOUND, Outcome.NOT_FOUND]),
        ("tok_fails", Outcome.UNKNOWN, [Outcome.DECLINED]),
        ("tok_contradict", Outcome.DECLINED, [Outcome.SUCCEEDED]),
        ("tok_stuck", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.UNKNOWN]),
        ("tok_returned", Outcome.UNKNOWN, [Outcome.REVERSED]),
        ("tok_garbage", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("tok_oversized", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("tok_wrongid", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("tok_slow_50", Outcome.SUCCEEDED, [Outcome.SUCCEEDED]),
    ],
)
async def test_each_token_that_steers(
    rail: CardRail, token: str, first: Outcome, then: list[Outcome]
):
    asked = order(token)
    assert (await rail.authorize(asked)).outcome is first
    assert [(await rail.status(asked.attempt)).outcome for _ in then] == then


async def test_an_answer_after_the_deadline_is_unknown_and_the_debit_is_found(network: str):
    hasty = RailSettings(authorize_s=0.3)
    async with CardRail.connect(network, settings=hasty) as rail:
        asked = order("tok_timeout")
        assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
        assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_what_is_set_aside_is_captured_in_parts_and_each_once(rail: CardRail):
    asked = await aside(rail)
    first = _IDS.new()
    for _ in range(2):
        assert (await rail.capture(asked.attempt, first, 5_000)).outcome is Outcome.SUCCEEDED
    other = await rail.capture(asked.attempt, first, 6_000)
    assert (other.outcome, other.code) == (Outcome.UNKNOWN, "card.capture_conflict")
    more = await rail.capture(asked.attempt, _IDS.new(), 10_001)
    assert (more.outcome, more.code) == (Outcome.DECLINED, "card.exceeds")
    assert (await rail.capture(asked.attempt, _IDS.new(), 10_000)).outcome is Outcome.SUCCEEDED
    assert (await rail.capture(asked.attempt, _IDS.new(), 1)).code == "card.exceeds"
    assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_the_final_capture_lets_go_of_the_rest(rail: CardRail, network: str):
    asked = await aside(rail)
    done = await rail.capture(asked.attempt, _IDS.new(), 4_000, final=True)
    assert done.outcome is Outcome.SUCCEEDED
    more = await rail.capture(asked.attempt, _IDS.new(), 1)
    assert (more.outcome, more.code) == (Outcome.DECLINED, "card.released")
    async with httpx.AsyncClient(base_url=network) as client:
        said = (await client.get(f"/card/txn/{txn_id(asked.attempt)}")).json()
    assert (said["captured_minor"], said["open_minor"]) == (4_000, 0)
    assert set(said["card"]) == {"network", "last4"}


async def test_a_void_lets_go_of_all_and_of_what_was_captured_nothing(rail: CardRail):
    asked = await aside(rail)
    for _ in range(2):
        assert (await rail.reverse(asked.attempt)).outcome is Outcome.REVERSED
    assert (await rail.status(asked.attempt)).outcome is Outcome.REVERSED
    capture = await rail.capture(asked.attempt, _IDS.new(), 1)
    assert (capture.outcome, capture.code) == (Outcome.DECLINED, "card.released")

    partly = await aside(rail)
    await rail.capture(partly.attempt, _IDS.new(), 1_000)
    answer = await rail.reverse(partly.attempt)
    assert (answer.outcome, answer.code) == (Outcome.SUCCEEDED, "card.txn_captured")
    sale = order()
    await rail.authorize(sale)
    assert (await rail.reverse(sale.attempt)).outcome is Outcome.REVERSED


async def test_what_hangs_is_ended_by_a_void(rail: CardRail):
    asked = order("tok_stuck", capture=False)
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.capture(asked.attempt, _IDS.new(), 1)).code == "card.not_yet"
    assert (await rail.reverse(asked.attempt)).outcome is Outcome.REVERSED
    assert (await rail.authorize(asked)).outcome is Outcome.REVERSED


async def test_an_authorization_is_good_for_seven_days():
    clock = ManualClock(NOW_MS)
    with sandbox(PROMPT, clock=clock) as address:
        async with CardRail.connect(address) as rail:
            whole, partly = await aside(rail), await aside(rail)
            await rail.capture(partly.attempt, _IDS.new(), 1_000)
            clock.advance((TRAITS["card"].holds_ms or 0) - 1)
            assert (await rail.status(whole.attempt)).outcome is Outcome.AUTHORIZED
            clock.advance(1)
            for held in (whole, partly):
                late = await rail.capture(held.attempt, _IDS.new(), 1)
                assert (late.outcome, late.code) == (Outcome.DECLINED, "card.expired")
            assert (await rail.status(whole.attempt)).outcome is Outcome.REVERSED
            assert (await rail.status(partly.attempt)).outcome is Outcome.SUCCEEDED
    assert TRAITS["card"].holds_ms == 7 * DAY_MS


async def test_refunds_are_of_what_was_captured_in_parts_and_each_once(rail: CardRail):
    asked = await aside(rail)
    early = await rail.refund(refund_of(asked, 1))
    assert (early.outcome, early.code) == (Outcome.DECLINED, "12")
    await rail.capture(asked.attempt, _IDS.new(), 6_000)
    part = refund_of(asked, 4_000)
    for _ in range(2):
        assert (await rail.refund(part)).outcome is Outcome.SUCCEEDED
    assert (await rail.refund_status(part)).outcome is Outcome.SUCCEEDED
    assert (await rail.refund(refund_of(asked, 2_001))).outcome is Outcome.DECLINED
    assert (await rail.refund(refund_of(asked, 2_000))).outcome is Outcome.SUCCEEDED
    assert (await rail.refund(refund_of(asked, 1))).outcome is Outcome.DECLINED
    assert (await rail.refund(refund_of(asked, 1, currency="USD"))).outcome is Outcome.DECLINED


async def test_of_what_never_came_nothing_is_captured_or_refunded(rail: CardRail):
    nothing = order()
    capture = await rail.capture(nothing.attempt, _IDS.new(), 1)
    assert (capture.outcome, capture.code) == (Outcome.DECLINED, "card.txn_not_found")
    refund = await rail.refund(refund_of(nothing, 1))
    assert (refund.outcome, refund.code) == (Outcome.DECLINED, "card.txn_not_found")
    assert (await rail.authorize(nothing)).outcome is Outcome.NOT_FOUND
    missing = await rail.refund_status(refund_of(nothing, 1))
    assert (missing.outcome, missing.code) == (Outcome.NOT_FOUND, "card.refund_not_found")


@pytest.mark.parametrize("bad", ["asha@okbank", "4111111111111111", "tok_4111111111111111", ""])
async def test_what_is_no_token_never_leaves(bad: str):
    async with CardRail.connect("http://127.0.0.1:9") as rail:
        answer = await rail.authorize(order(bad))
        assert (answer.outcome, answer.code) == (Outcome.DECLINED, "rails.token")


async def test_a_refund_s_note_with_a_number_goes_without_it(rail: CardRail):
    asked = order()
    await rail.authorize(asked)
    answer = await rail.refund(refund_of(asked, 1, note="card 4111 1111 1111 1111"))
    assert answer.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(("currency", "outcome"), [("USD", "succeeded"), ("JPY", "declined")])
async def test_the_currencies_are_those_of_the_traits(rail: CardRail, currency: str, outcome: str):
    assert (await rail.authorize(order(currency=currency))).outcome == outcome
    assert (currency in TRAITS["card"].currencies) is (outcome == "succeeded")
