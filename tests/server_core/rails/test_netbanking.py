"""The netbanking adapter against the sandbox over sockets, the payer pressing buttons between."""

import dataclasses
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from msgspec.structs import replace

from devices.clock import ManualClock, SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.calls import RailSettings
from server_core.rails.model import Outcome, RailAnswer, RailOrder, RailRefund
from server_core.rails.netbanking import NetbankingRail
from tests.server_core.sandbox.running import PROMPT, sandbox

_IDS = Ids(SystemClock(), SeededEntropy("netbanking"))


@pytest.fixture(scope="module")
def banks() -> Iterator[str]:
    with sandbox() as address:
        yield address


@pytest.fixture
async def rail(banks: str) -> AsyncIterator[NetbankingRail]:
    async with NetbankingRail.connect(banks) as connected:
        yield connected


def order(bank: str = "HDFC", **other: object) -> RailOrder:
    plain = RailOrder(
        attempt=_IDS.new(), amount_minor=15_050, currency="INR", instrument=bank,
        payee_vpa="tea.stall@hundi", payee_name="Tea <b>& Co", mcc="5814", note="चाय",
    )  # fmt: skip
    return replace(plain, **other)


async def press(answer: RailAnswer, decision: str) -> httpx.Response:
    assert answer.action_url is not None
    async with httpx.AsyncClient() as browser:
        return await browser.post(answer.action_url, data={"decision": decision})


async def test_the_payer_is_sent_to_the_bank_and_approves(rail: NetbankingRail):
    asked = order()
    first = await rail.authorize(asked)
    assert (first.outcome, first.code) == (Outcome.ACTION, "INITIATED")
    again = await rail.authorize(asked)
    assert (again.outcome, again.action_url) == (Outcome.ACTION, first.action_url)
    found = await rail.status(asked.attempt)
    assert (found.outcome, found.action_url) == (Outcome.ACTION, first.action_url)
    async with httpx.AsyncClient() as browser:
        page = await browser.get(first.action_url)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "Tea &lt;b&gt;&amp; Co" in page.text
    assert "INR 150.50" in page.text
    assert page.text.count("<button") == 2
    assert "<script" not in page.text

    pressed = await press(first, "approve")
    assert (pressed.status_code, "<button" in pressed.text) == (200, False)
    paid = await rail.status(asked.attempt)
    assert (paid.outcome, paid.code) == (Outcome.SUCCEEDED, "SUCCESS")
    assert len(paid.rail_reference or "") == 12
    assert (await rail.capture(asked.attempt, _IDS.new(), 1)).outcome is Outcome.SUCCEEDED
    await press(first, "decline")  # too late: what was decided stands
    assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_a_payer_who_declines_is_not_debited(rail: NetbankingRail):
    asked = order()
    await press(await rail.authorize(asked), "decline")
    answer = await rail.status(asked.attempt)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "CANCELLED")
    assert (await rail.reverse(asked.attempt)).outcome is Outcome.DECLINED


async def test_what_was_called_back_can_no_longer_be_approved(rail: NetbankingRail):
    asked = order()
    first = await rail.authorize(asked)
    answer = await rail.reverse(asked.attempt)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "CANCELLED")
    await press(first, "approve")
    assert (await rail.status(asked.attempt)).outcome is Outcome.DECLINED


async def test_a_payer_who_does_not_act_in_time_is_too_late():
    clock = ManualClock(1_790_000_000_000)
    with sandbox(dataclasses.replace(PROMPT, action_ms=60_000), clock=clock) as address:
        async with NetbankingRail.connect(address) as rail:
            asked = order()
            first = await rail.authorize(asked)
            clock.advance(60_000)
            pressed = await press(first, "approve")
            assert "Nothing was debited" in pressed.text
            answer = await rail.status(asked.attempt)
            assert (answer.outcome, answer.code) == (Outcome.DECLINED, "EXPIRED")


@pytest.mark.parametrize(
    ("bank", "then"),
    [
        ("decline.FAILED", [Outcome.DECLINED]),
        ("deemed", [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("pending.2", [Outcome.UNKNOWN] * 3 + [Outcome.SUCCEEDED]),
        ("fails", [Outcome.UNKNOWN, Outcome.DECLINED]),
        ("contradict", [Outcome.DECLINED, Outcome.SUCCEEDED]),
        ("stuck", [Outcome.UNKNOWN] * 3),
        ("returned", [Outcome.REVERSED]),
        ("slow.50", [Outcome.SUCCEEDED]),
    ],
)
async def test_each_bank_that_steers_what_the_yes_brings(
    rail: NetbankingRail, bank: str, then: list[Outcome]
):
    asked = order(bank)
    await press(await rail.authorize(asked), "approve")
    assert [(await rail.status(asked.attempt)).outcome for _ in then] == then


@pytest.mark.parametrize("bank", ["late", "garbage", "oversized", "wrongid"])
async def test_a_page_whose_address_was_lost_is_found_by_asking(rail: NetbankingRail, bank: str):
    asked = order(bank)
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.ACTION


async def test_a_lost_request_is_not_found_for_ever(rail: NetbankingRail):
    asked = order("lost")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND
    assert (await rail.authorize(asked)).outcome is Outcome.NOT_FOUND


async def test_an_answer_after_the_deadline_is_unknown(banks: str):
    async with NetbankingRail.connect(banks, settings=RailSettings(authorize_s=0.3)) as rail:
        asked = order("timeout")
        assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
        assert (await rail.status(asked.attempt)).outcome is Outcome.ACTION


async def test_what_was_paid_is_reversed_whole_or_refunded_in_parts(rail: NetbankingRail):
    asked = order()
    first = await rail.authorize(asked)
    part = RailRefund(refund=_IDS.new(), attempt=asked.attempt, amount_minor=50, currency="INR")
    assert (await rail.refund(part)).outcome is Outcome.DECLINED  # nothing is paid yet
    await press(first, "approve")
    for _ in range(2):
        assert (await rail.refund(replace(part, refund=_IDS.new()))).outcome is Outcome.SUCCEEDED
    late = replace(part, refund=_IDS.new(), note="late")
    assert (await rail.refund(late)).outcome is Outcome.UNKNOWN
    heard = [(await rail.refund_status(late)).outcome for _ in range(2)]
    assert heard == [Outcome.UNKNOWN, Outcome.SUCCEEDED]
    answer = await rail.reverse(asked.attempt)
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, "bank.txn_refunded")

    whole = order()
    await press(await rail.authorize(whole), "approve")
    assert (await rail.reverse(whole.attempt)).outcome is Outcome.REVERSED


async def test_money_is_not_set_aside_at_a_bank(rail: NetbankingRail):
    asked = order(capture=False)
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "rails.captures_at_once")
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/bank/page/HUN", "decision=approve", 400),
        ("/bank/page/" + "A" * 35, "decision=approve", 404),
        ("/bank/page/" + "A" * 35, "decision=maybe", 400),
        ("/bank/page/" + "A" * 35, "", 400),
        ("/bank/page/" + "A" * 35, "decision=approve&decision=decline", 400),
    ],
)
def test_no_press_of_a_button_breaks_it(banks: str, path: str, body: str, status: int):
    refused = httpx.post(banks + path, content=body)
    assert refused.status_code == status
    assert refused.json()["error"].startswith("bank.")
