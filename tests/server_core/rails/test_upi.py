import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.model import Outcome, Rail, RailAnswer, RailOrder
from server_core.rails.upi import UpiRail, UpiSettings, txn_id
from tests.server_core.sandbox.running import sandbox

_IDS = Ids(SystemClock(), SeededEntropy("rails"))
SHORT = UpiSettings(authorize_s=0.3, status_s=5, reverse_s=5)


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
        payer_vpa=payer,
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
    late = await rail.authorize(replace(asked, payer_vpa="asha@okbank"))
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
        ({"payer_vpa": ""}, "upi.vpa"),
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
    assert (await rail.capture(asked.attempt, 15_000)).outcome is Outcome.SUCCEEDED


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
    narrow = UpiSettings(max_connections=1, connect_s=0.2, authorize_s=1)
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
    async with UpiRail.connect(switch, settings=UpiSettings(max_connections=1)) as rail:
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


@asynccontextmanager
async def answering(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """A server that reads one request, says `answer(txn id)` byte for byte, and hangs up."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        body = await reader.readexactly(length)
        path = head.split()[1].decode()
        txn = json.loads(body)["txn_id"] if body else path.rpartition("/")[2]
        writer.write(answer(txn))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def said(txn: str, **other: object) -> bytes:
    plain: dict[str, object] = {
        "txn_id": txn,
        "code": "00",
        "rrn": "622415000001",
        "amount_minor": 15_000,
        "reversed": False,
    }
    return json.dumps(plain | other).encode()


async def heard(answer: Callable[[str], bytes]) -> tuple[RailAnswer, RailAnswer, RailAnswer]:
    async with answering(answer) as address, UpiRail.connect(address) as rail:
        asked = order()
        return (
            await rail.authorize(asked),
            await rail.status(asked.attempt),
            await rail.reverse(asked.attempt),
        )


async def test_the_rude_server_can_speak_properly():
    paid, found, _ = await heard(lambda txn: http(said(txn)))
    assert (paid.outcome, found.outcome) == (Outcome.SUCCEEDED, Outcome.SUCCEEDED)


async def test_a_reversal_that_gave_nothing_back_is_unknown():
    *_, reversal = await heard(lambda txn: http(said(txn)))
    assert (reversal.outcome, reversal.code) == (Outcome.UNKNOWN, "00")


UNBELIEVABLE: dict[str, Callable[[str], bytes]] = {
    "hangs up": lambda _: b"",
    "hangs up within the head": lambda txn: http(said(txn))[:20],
    "hangs up within the body": lambda txn: http(said(txn))[:-5],
    "is not HTTP": lambda _: b"\x00\x16\x03" * 50,
    "says nothing": lambda _: http(b""),
    "is not JSON": lambda _: http(b"<html>"),
    "is not UTF-8": lambda _: http(b'{"txn_id": "\xff"}'),
    "is not an object": lambda _: http(b"[]"),
    "is nested without end": lambda _: http(b"[" * 10_000),
    "has an endless number": lambda _: http(b'{"amount_minor": ' + b"9" * 9_000 + b"}"),
    "is too large": lambda txn: http(said(txn, pad="x" * 20_000)),
    "says a name twice": lambda txn: http(said(txn)[:-1] + b', "code": "00"}'),
    "is about another transaction": lambda _: http(said("HUN" + "0" * 32)),
    "has no code": lambda txn: http(said(txn, code=None)),
    "has a number for a code": lambda txn: http(said(txn, code=0)),
    "has a code with more behind it": lambda txn: http(said(txn, code="00\n")),
    "has no reference": lambda txn: http(said(txn, rrn=None)),
    "has a reference of other digits": lambda txn: http(said(txn, rrn="٦٢٢٤١٥٠٠٠٠٠١")),
    "has an amount that is true": lambda txn: http(said(txn, amount_minor=True)),
    "has a one for reversed": lambda txn: http(said(txn, reversed=1)),
    "is a server's failure": lambda txn: http(said(txn), "500 Oops"),
    "is a gateway's failure": lambda txn: http(said(txn), "504 Gateway Timeout"),
    "is a redirect": lambda txn: http(said(txn), "302 Found", "location: /elsewhere\r\n"),
    "is another success": lambda txn: http(said(txn), "202 Accepted"),
    "is a gateway's bad request": lambda _: http(b"bad", "400 Bad Request"),
    "is a gateway's not found": lambda _: http(b'{"error": "nope"}', "404 Not Found"),
    "is a refusal of no one": lambda _: http(b'{"error": "upi.amount"}', "400 Bad Request"),
    "is a refusal of another transaction": lambda _: http(
        b'{"error": "upi.txn_not_found", "txn_id": "HUN0"}', "404 Not Found"
    ),
    "is compressed, unasked": lambda _: http(
        b"\x1f\x8b\x08\x00", headers="content-encoding: gzip\r\n"
    ),
}


@pytest.mark.parametrize("how", UNBELIEVABLE)
async def test_an_answer_that_cannot_be_believed_is_unknown(how: str):
    for answer in await heard(UNBELIEVABLE[how]):
        assert answer.outcome is Outcome.UNKNOWN
        assert answer.rail_reference is None


async def test_a_success_of_another_amount_is_unknown():
    paid, *_ = await heard(lambda txn: http(said(txn, amount_minor=14_999)))
    assert (paid.outcome, paid.code) == (Outcome.UNKNOWN, "00")


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
