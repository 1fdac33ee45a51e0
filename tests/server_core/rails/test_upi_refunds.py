"""Refunds and links over UPI, against the sandbox over sockets."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.calls import RailSettings
from server_core.rails.doors import txn_id
from server_core.rails.model import Outcome, RailOrder, RailRefund
from server_core.rails.upi import UpiRail
from server_core.rails.upi_links import PayLink, pay_link
from tests.server_core.rails.rude import answering, http
from tests.server_core.sandbox.running import sandbox

_IDS = Ids(SystemClock(), SeededEntropy("upi refunds"))


@pytest.fixture(scope="module")
def switch() -> Iterator[str]:
    with sandbox() as address:
        yield address


@pytest.fixture
async def rail(switch: str) -> AsyncIterator[UpiRail]:
    async with UpiRail.connect(switch) as connected:
        yield connected


async def paid(rail: UpiRail, payer: str = "asha@okbank") -> RailOrder:
    asked = RailOrder(
        attempt=_IDS.new(), amount_minor=15_000, currency="INR", instrument=payer,
        payee_vpa="tea.stall@hundi",
    )  # fmt: skip
    await rail.authorize(asked)
    return asked


def refund_of(asked: RailOrder, amount: int, note: str = "", **other: object) -> RailRefund:
    plain = RailRefund(
        refund=_IDS.new(), attempt=asked.attempt, amount_minor=amount, currency="INR", note=note
    )
    return replace(plain, **other)


async def admin(switch: str, path: str, body: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=switch) as client:
        return await client.post(path, json=body)


async def test_a_refund_has_an_id_and_a_reference_of_its_own(rail: UpiRail):
    asked = await paid(rail)
    part = refund_of(asked, 5_000)
    first = await rail.refund(part)
    assert (first.outcome, first.code) == (Outcome.SUCCEEDED, "00")
    again = await rail.refund(part)
    assert (again.outcome, again.rail_reference) == (first.outcome, first.rail_reference)
    other = await rail.refund(replace(part, amount_minor=5_001))
    assert (other.outcome, other.code) == (Outcome.UNKNOWN, "upi.refund_conflict")
    found = await rail.refund_status(part)
    assert (found.outcome, found.rail_reference) == (first.outcome, first.rail_reference)


async def test_refunds_together_never_exceed_the_debit(rail: UpiRail):
    asked = await paid(rail)
    assert (await rail.refund(refund_of(asked, 15_001))).outcome is Outcome.DECLINED
    assert (await rail.refund(refund_of(asked, 10_000, "stuck"))).outcome is Outcome.UNKNOWN
    over = refund_of(asked, 5_001)
    for _ in range(2):  # what may have gone is gone
        answer = await rail.refund(over)
        assert (answer.outcome, answer.code) == (Outcome.DECLINED, "XB")
    assert (await rail.refund(refund_of(asked, 5_000, "decline.YE"))).code == "YE"
    assert (await rail.refund(refund_of(asked, 5_000))).outcome is Outcome.SUCCEEDED
    answer = await rail.reverse(asked.attempt)
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, "upi.txn_refunded")


@pytest.mark.parametrize("payer", ["decline.Z9@okbank", "stuck@okbank", "fails@okbank"])
async def test_only_what_was_debited_for_certain_is_refunded(rail: UpiRail, payer: str):
    asked = await paid(rail, payer)
    assert (await rail.refund(refund_of(asked, 1))).outcome is Outcome.DECLINED


async def test_of_a_reversed_debit_and_of_none_nothing_is_refunded(rail: UpiRail):
    asked = await paid(rail)
    await rail.reverse(asked.attempt)
    assert (await rail.refund(refund_of(asked, 1))).outcome is Outcome.DECLINED
    lost = await paid(rail, "lost@okbank")
    refund = refund_of(lost, 1)
    answer = await rail.refund(refund)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "upi.txn_not_found")
    assert (await rail.status(lost.attempt)).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("note", "first", "then"),
    [
        ("deemed.1", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("late", Outcome.UNKNOWN, [Outcome.UNKNOWN, Outcome.SUCCEEDED]),
        ("lost", Outcome.UNKNOWN, [Outcome.NOT_FOUND, Outcome.NOT_FOUND]),
        ("fails", Outcome.UNKNOWN, [Outcome.DECLINED]),
        ("timeout", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("contradict", Outcome.DECLINED, [Outcome.SUCCEEDED]),
        ("garbage", Outcome.UNKNOWN, [Outcome.SUCCEEDED]),
        ("late delivery of the tea", Outcome.SUCCEEDED, [Outcome.SUCCEEDED]),
    ],
)
async def test_each_note_that_steers(switch: str, note: str, first: Outcome, then: list[Outcome]):
    async with UpiRail.connect(switch, settings=RailSettings(rest_s=0.5)) as rail:
        asked = await paid(rail)
        refund = refund_of(asked, 1_000, note)
        assert (await rail.refund(refund)).outcome is first
        heard = [(await rail.refund_status(refund)).outcome for _ in then]
        assert heard == then


async def test_a_refund_is_steered_by_the_admin(rail: UpiRail, switch: str):
    asked = await paid(rail)
    refund = refund_of(asked, 15_000)
    await rail.refund(refund)
    path = f"/upi/admin/refund/{txn_id(refund.refund)}"
    assert (await admin(switch, path, {"code": "Z9"})).status_code == 200
    found = await rail.refund_status(refund)
    assert (found.outcome, found.code) == (Outcome.DECLINED, "Z9")
    assert (await rail.reverse(asked.attempt)).outcome is Outcome.REVERSED  # nothing went back


async def test_what_was_refused_after_all_can_be_refunded_anew(rail: UpiRail, switch: str):
    asked = await paid(rail)
    refund = refund_of(asked, 15_000)
    await rail.refund(refund)
    await admin(switch, f"/upi/admin/refund/{txn_id(refund.refund)}", {"code": "Z9"})
    assert (await rail.refund(refund_of(asked, 15_000))).outcome is Outcome.SUCCEEDED


TEA = PayLink(
    payee_vpa="tea.stall@hundi", payee_name="Tea + Co", reference="ORDER0042", amount_minor=1_505
)


async def test_a_link_is_paid_by_somebody_else_s_app_and_found_by_its_reference(
    rail: UpiRail, switch: str
):
    assert await rail.paid_by_link("ORDER0042") == []
    body = {"link": pay_link(TEA), "payer_vpa": "ravi@otherbank"}
    scanned = (await admin(switch, "/upi/admin/scan", body)).json()
    assert (scanned["code"], scanned["reference"]) == ("00", "ORDER0042")
    assert len(scanned["txn_id"]) == 35
    await admin(switch, "/upi/admin/scan", body)  # twice, as a payer in doubt does
    await admin(switch, "/upi/admin/scan", body | {"payer_vpa": "decline.Z9@otherbank"})
    found = await rail.paid_by_link("ORDER0042")
    assert found is not None
    assert [one.amount_minor for one in found] == [1_505] * 3
    outcomes = sorted(one.answer.outcome for one in found)
    assert outcomes == [Outcome.DECLINED, Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert len({one.txn_id for one in found}) == 3

    [debit, *_] = [one for one in found if one.answer.outcome is Outcome.SUCCEEDED]
    attempt = RailOrder(
        attempt=_IDS.new(), amount_minor=1, currency="INR", instrument="", payee_vpa=""
    )
    given = await rail.refund(refund_of(attempt, 1_505, debit=debit.txn_id))
    assert given.outcome is Outcome.SUCCEEDED


async def test_a_link_s_fate_is_steered_by_its_payer(rail: UpiRail, switch: str):
    link = pay_link(replace(TEA, reference="DEEMED1", amount_minor=None))
    body = {"link": link, "payer_vpa": "deemed.1@otherbank", "amount_minor": 700}
    assert (await admin(switch, "/upi/admin/scan", body)).json()["code"] == "RB"
    heard = []
    for _ in range(2):
        [one] = await rail.paid_by_link("DEEMED1") or []
        heard.append(one.answer.outcome)
    assert heard == [Outcome.UNKNOWN, Outcome.SUCCEEDED]
    lost = {"link": pay_link(replace(TEA, reference="LOST1")), "payer_vpa": "lost@otherbank"}
    assert (await admin(switch, "/upi/admin/scan", lost)).status_code == 504
    assert await rail.paid_by_link("LOST1") == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"link": "https://pay?pa=a"}, "upi.link"),
        ({"link": 7}, "upi.link"),
        ({"link": "upi://pay?pa=nobody&tr=ORDER1&am=1.00"}, "upi.link"),
        ({"link": "upi://pay?pa=s@ok&pa=t@ok&am=1.00"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok&am=1.000"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok&am=0"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok&am=1&cu=USD"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok&am=1&tr=a-b"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok&am=1&mc=x"}, "upi.link"),
        ({"link": "upi://pay?%ff=1&pa=sh@ok"}, "upi.link"),
        ({"link": "upi://pay?pa=sh@ok"}, "upi.amount"),
        ({"amount_minor": 1_506}, "upi.amount"),
        ({"payer_vpa": "nobody"}, "upi.vpa"),
        ({"surprise": 1}, "upi.field"),
    ],
)
async def test_a_link_that_no_app_would_pay_is_refused(
    switch: str, wrong: dict[str, Any], code: str
):
    body = {"link": pay_link(TEA), "payer_vpa": "ravi@otherbank"} | wrong
    refused = await admin(switch, "/upi/admin/scan", body)
    assert (refused.status_code, refused.json()["error"]) == (400, code)


@pytest.mark.parametrize("reference", ["", "abc", "a/../b", "x" * 36, "\ud800abc", "order 42"])
async def test_nothing_is_paid_under_what_no_link_can_say(rail: UpiRail, reference: str):
    assert await rail.paid_by_link(reference) == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"reference": "ORDER1"}',
        b'{"reference": "ORDER2", "transactions": []}',
        b'{"reference": "ORDER1", "transactions": [{}]}',
        b'{"reference": "ORDER1", "transactions": [7]}',
        b'{"reference": "ORDER1", "transactions": [{"txn_id": "A", "code": "00"}]}',
    ],
)
async def test_a_list_that_cannot_be_believed_is_none(body: bytes):
    async with answering(lambda _: http(body)) as address, UpiRail.connect(address) as rail:
        assert await rail.paid_by_link("ORDER1") is None


async def test_collect_is_gone(switch: str):
    for path in ("/upi/collect", "/upi/collect?x=1"):
        refused = await admin(switch, path, {"anything": True})
        assert (refused.status_code, refused.json()["error"]) == (403, "upi.collect_ended")
        assert "1 October 2025" in refused.json()["message"]


async def test_upi_sets_no_money_aside(rail: UpiRail):
    asked = RailOrder(
        attempt=_IDS.new(), amount_minor=1, currency="INR", instrument="asha@okbank",
        payee_vpa="tea.stall@hundi", capture=False,
    )  # fmt: skip
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "rails.captures_at_once")
