import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import httpx
import pytest
from msgspec.structs import replace

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.calls import RailSettings
from server_core.rails.doors import txn_id
from server_core.rails.model import Outcome, Rail, RailOrder
from server_core.rails.upi import UpiRail
from tests.server_core.sandbox.running import sandbox

_IDS = Ids(SystemClock(), SeededEntropy("rails"))
SHORT = RailSettings(authorize_s=0.3, rest_s=5)


@pytest.fixture(scope="module")
def switch() -> Iterator[str]:
    with sandbox() as address:
        yield address


@pytest.fixture
async def rail(switch: str) -> AsyncIterator[UpiRail]:
    async with UpiRail.connect(switch) as connected:
        yield connected


@pytest.fixture
async def hasty(switch: str) -> AsyncIterator[UpiRail]:
    async with UpiRail.connect(switch, settings=SHORT) as connected:
        yield connected


def order(payer: str = "asha@okbank", **other: object) -> RailOrder:
    plain = RailOrder(
        attempt=_IDS.new(),
        amount_minor=15_000,
        currency="INR",
        instrument=payer,
        payee_vpa="tea.stall@hundi",
        payee_name="Tea & Co",
        mcc="5814",
        note="चाय",
    )
    return replace(plain, **other)


def test_the_adapter_is_a_rail():
    rail: Rail = UpiRail(httpx.AsyncClient())
    assert rail.name == "upi"


def test_a_transaction_id_is_35_letters_and_digits_of_the_attempt():
    attempt = UUID("018f3c2e-0000-7000-8000-0123456789ab")
    assert txn_id(attempt) == "HUN018F3C2E0000700080000123456789AB"
    assert len(txn_id(attempt)) == 35


async def test_a_payment_succeeds_with_its_reference(rail: UpiRail):
    answer = await rail.authorize(order())
    assert (answer.outcome, answer.code) == (Outcome.SUCCEEDED, "00")
    assert answer.rail_reference is not None
    assert len(answer.rail_reference) == 12
    assert answer.asked_at_ms > 0


@pytest.mark.parametrize("code", ["Z9", "ZM", "YE", "59"])
async def test_a_decline_keeps_its_code(rail: UpiRail, code: str):
    asked = order(f"decline.{code}@okbank")
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, code)
    assert (await rail.status(asked.attempt)).outcome is Outcome.DECLINED


async def test_a_code_that_nobody_listed_is_unknown_and_kept(rail: UpiRail):
    answer = await rail.authorize(order("decline.Q7@okbank"))
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, "Q7")


@pytest.mark.parametrize("code", ["RB", "96", "BT", "UT", "01", "U30", "U67", "UP"])
async def test_what_may_have_been_debited_is_unknown_until_the_switch_knows(
    rail: UpiRail, code: str
):
    asked = order(f"check.{code}@okbank")
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, code)
    assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_deemed_for_two_asks_then_paid(rail: UpiRail):
    asked = order("deemed.2@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    heard = [(await rail.status(asked.attempt)).outcome for _ in range(3)]
    assert heard == [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.SUCCEEDED]


async def test_unknown_then_nothing_was_debited(rail: UpiRail):
    asked = order("fails@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    found = await rail.status(asked.attempt)
    assert (found.outcome, found.code) == (Outcome.DECLINED, "Z9")


async def test_an_answer_after_the_deadline_is_unknown_and_the_debit_is_found(hasty: UpiRail):
    asked = order("timeout@okbank")
    answer = await hasty.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, None)
    assert (await hasty.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_a_lost_answer_is_a_late_success(rail: UpiRail):
    asked = order("late@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    heard = [(await rail.status(asked.attempt)).code for _ in range(2)]
    assert heard == ["01", "00"]


async def test_a_lost_request_is_not_found_for_ever(rail: UpiRail):
    asked = order("lost@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND
    late = await rail.authorize(replace(asked, instrument="asha@okbank"))
    assert (late.outcome, late.code) == (Outcome.NOT_FOUND, "upi.txn_tombstoned")
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize("spoilt", ["garbage", "oversized", "wrongid"])
async def test_a_spoilt_answer_is_unknown_and_the_debit_is_found(rail: UpiRail, spoilt: str):
    asked = order(f"{spoilt}@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_a_repeat_is_the_same_debit(rail: UpiRail):
    asked = order()
    first = await rail.authorize(asked)
    again = await asyncio.gather(*(rail.authorize(asked) for _ in range(5)))
    assert {one.rail_reference for one in again} == {first.rail_reference}
    assert {one.outcome for one in again} == {Outcome.SUCCEEDED}


async def test_another_body_under_the_same_id_is_refused_and_says_nothing_of_the_debit(
    rail: UpiRail,
):
    asked = order()
    await rail.authorize(asked)
    for other in (replace(asked, amount_minor=1), replace(asked, currency="USD")):
        answer = await rail.authorize(other)
        assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, "upi.txn_conflict")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"instrument": ""}, "upi.vpa"),
        ({"payee_vpa": "nowhere"}, "upi.vpa"),
        ({"currency": "USD"}, "upi.currency"),
        ({"amount_minor": 0}, "upi.amount"),
        ({"note": "\ud800"}, "upi.note"),
    ],
)
async def test_a_bad_request_is_a_decline(rail: UpiRail, wrong: dict[str, object], code: str):
    asked = order(**wrong)
    answer = await rail.authorize(asked)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, code)
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND


async def test_a_long_note_is_cut_not_refused(rail: UpiRail):
    long = order(note="x" * 140, payee_name="y" * 300)
    assert (await rail.authorize(long)).outcome is Outcome.SUCCEEDED


async def test_a_stuck_debit_is_reversed_once(rail: UpiRail):
    asked = order("stuck@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.UNKNOWN
    for _ in range(2):
        assert (await rail.reverse(asked.attempt)).outcome is Outcome.REVERSED
    assert (await rail.status(asked.attempt)).outcome is Outcome.REVERSED
    assert (await rail.authorize(asked)).outcome is Outcome.REVERSED


async def test_a_debit_that_the_switch_gave_back_is_reversed(rail: UpiRail):
    asked = order("returned@okbank")
    assert (await rail.authorize(asked)).outcome is Outcome.UNKNOWN
    assert (await rail.status(asked.attempt)).outcome is Outcome.REVERSED


async def test_there_is_nothing_to_reverse_of_a_decline_or_of_nothing(rail: UpiRail):
    asked = order("decline.Z9@okbank")
    await rail.authorize(asked)
    answer = await rail.reverse(asked.attempt)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "Z9")
    assert (await rail.reverse(_IDS.new())).outcome is Outcome.NOT_FOUND


async def test_capture_says_what_became_of_the_one_step(rail: UpiRail):
    asked = order()
    await rail.authorize(asked)
    assert (await rail.capture(asked.attempt, _IDS.new(), 15_000)).outcome is Outcome.SUCCEEDED


async def test_an_outage_is_unknown_and_debits_nothing(rail: UpiRail, switch: str):
    asked = order()
    async with httpx.AsyncClient(base_url=switch) as admin:
        await admin.post("/upi/admin/behaviour", json={"outage": True})
        try:
            heard = [
                await rail.authorize(asked),
                await rail.status(asked.attempt),
                await rail.reverse(asked.attempt),
            ]
        finally:
            await admin.post("/upi/admin/behaviour", json={"outage": False})
    assert {one.outcome for one in heard} == {Outcome.UNKNOWN}
    assert (await rail.status(asked.attempt)).outcome is Outcome.NOT_FOUND


async def test_only_a_payment_that_did_not_leave_says_not_sent():
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        async with UpiRail.connect(f"http://127.0.0.1:{taken.getsockname()[1]}") as rail:
            assert (await rail.authorize(order())).outcome is Outcome.NOT_SENT
            assert (await rail.status(_IDS.new())).outcome is Outcome.UNKNOWN
            assert (await rail.reverse(_IDS.new())).outcome is Outcome.UNKNOWN


async def test_a_payment_that_waited_for_a_connection_in_vain_was_not_sent(switch: str):
    narrow = RailSettings(max_connections=1, connect_s=0.2, authorize_s=1)
    async with UpiRail.connect(switch, settings=narrow) as rail:
        held = asyncio.create_task(rail.authorize(order("timeout@okbank")))
        waiting = order()
        async with httpx.AsyncClient(base_url=switch) as admin:
            before = (await admin.get("/health")).json()["transactions"]
            while (await admin.get("/health")).json()["transactions"] == before and not held.done():
                pass  # until the one connection carries the held payment
            assert (await rail.authorize(waiting)).outcome is Outcome.NOT_SENT
            assert (await held).outcome is Outcome.UNKNOWN


async def test_a_cancelled_call_leaves_the_rail_usable(switch: str):
    async with UpiRail.connect(switch, settings=RailSettings(max_connections=1)) as rail:
        asked = order("timeout@okbank")
        call = asyncio.create_task(rail.authorize(asked))
        async with httpx.AsyncClient(base_url=switch) as admin:
            before = (await admin.get("/health")).json()["transactions"]
            while (await admin.get("/health")).json()["transactions"] == before:
                pass
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await rail.status(asked.attempt)).outcome is Outcome.SUCCEEDED


async def test_an_answer_that_drips_ends_at_the_deadline():
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while await reader.read(1):  # the request's body, then the client's going
                writer.write(b" ")
        except ConnectionError:
            pass
        finally:
            writer.close()
            gone.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with UpiRail.connect(address, settings=SHORT) as rail:
            assert (await rail.authorize(order())).outcome is Outcome.UNKNOWN
            await asyncio.wait_for(gone.wait(), timeout=5)
