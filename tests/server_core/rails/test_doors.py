"""What every adapter makes of answers that cannot be believed, and of none at all."""

import socket
from collections.abc import Callable

import pytest

from server_core.rails.calls import RailSettings
from server_core.rails.card import CardRail
from server_core.rails.doors import DoorRail
from server_core.rails.model import Outcome, Rail, RailAnswer, RailRefund
from server_core.rails.netbanking import NetbankingRail
from server_core.rails.upi import UpiRail
from tests.server_core.rails.rude import (
    AMOUNT,
    ATTEMPT,
    OTHER,
    Asked,
    answering,
    every_verb,
    http,
    said,
)

RAILS = {
    "upi": (UpiRail, "00"),
    "card": (CardRail, "00"),
    "netbanking": (NetbankingRail, "SUCCESS"),
}
EACH = pytest.mark.parametrize("name", RAILS)


async def heard(name: str, answer: Callable[[Asked, str], bytes]) -> dict[str, RailAnswer]:
    kind, ok = RAILS[name]
    async with answering(lambda asked: answer(asked, ok)) as address, kind.connect(address) as rail:
        return await every_verb(rail)


@EACH
async def test_every_adapter_is_a_rail(name: str):
    async with RAILS[name][0].connect("http://127.0.0.1:9") as adapter:
        rail: Rail = adapter
        assert isinstance(adapter, DoorRail)
        assert rail.name == name


def test_the_deadlines_are_npci_s():
    assert (RailSettings().authorize_s, RailSettings().rest_s) == (15, 10)


@EACH
async def test_the_rude_server_can_speak_properly(name: str):
    answers = await heard(name, lambda asked, ok: http(said(asked, ok)))
    assert {verb for verb, one in answers.items() if one.outcome is Outcome.SUCCEEDED} == {
        "authorize", "capture", "status", "refund", "refund_status",
    }  # fmt: skip
    reversal = answers["reverse"]  # a debit that stands was not reversed
    assert (reversal.outcome, reversal.code) == (Outcome.UNKNOWN, RAILS[name][1])


@EACH
async def test_a_debit_of_another_amount_is_not_believed_when_asked_about(name: str):
    refund = RailRefund(refund=OTHER, attempt=ATTEMPT, amount_minor=AMOUNT, currency="INR")
    async with (
        answering(lambda asked: http(said(asked, RAILS[name][1], amount_minor=1))) as url,
        RAILS[name][0].connect(url) as rail,
    ):
        assert (await rail.status(ATTEMPT, AMOUNT)).outcome is Outcome.UNKNOWN
        assert (await rail.refund_status(refund)).outcome is Outcome.UNKNOWN


UNBELIEVABLE: dict[str, Callable[[Asked, str], bytes]] = {
    "hangs up": lambda _, __: b"",
    "hangs up within the head": lambda asked, ok: http(said(asked, ok))[:20],
    "hangs up within the body": lambda asked, ok: http(said(asked, ok))[:-5],
    "is not HTTP": lambda _, __: b"\x00\x16\x03" * 50,
    "says nothing": lambda _, __: http(b""),
    "is not JSON": lambda _, __: http(b"<html>"),
    "is not UTF-8": lambda _, __: http(b'{"txn_id": "\xff"}'),
    "is not an object": lambda _, __: http(b"[]"),
    "is nested without end": lambda _, __: http(b"[" * 10_000),
    "has an endless number": lambda _, __: http(b'{"amount_minor": ' + b"9" * 9_000 + b"}"),
    "is too large": lambda asked, ok: http(said(asked, ok, pad="x" * 20_000)),
    "says a name twice": lambda asked, ok: http(said(asked, ok)[:-1] + b', "code": "00"}'),
    "is about another": lambda asked, ok: http(said(asked, ok, **{asked.name: "HUN" + "0" * 32})),
    "has no code": lambda asked, ok: http(said(asked, ok, code=None)),
    "has a number for a code": lambda asked, ok: http(said(asked, ok, code=0)),
    "has a code with more behind it": lambda asked, ok: http(said(asked, ok, code=ok + "\n")),
    "has no reference": lambda asked, ok: http(said(asked, ok, rrn=None)),
    "has a reference of other digits": lambda asked, ok: http(said(asked, ok, rrn="٦٢٢٤١٥٠٠٠٠٠١")),
    "has an amount that is true": lambda asked, ok: http(said(asked, ok, amount_minor=True)),
    "has a one for reversed": lambda asked, ok: http(said(asked, ok, reversed=1)),
    "is a server's failure": lambda asked, ok: http(said(asked, ok), "500 Oops"),
    "is a gateway's failure": lambda asked, ok: http(said(asked, ok), "504 Gateway Timeout"),
    "is a redirect": lambda asked, ok: http(said(asked, ok), "302 Found", "location: /else\r\n"),
    "is another success": lambda asked, ok: http(said(asked, ok), "202 Accepted"),
    "is a gateway's bad request": lambda _, __: http(b"bad", "400 Bad Request"),
    "is a gateway's not found": lambda _, __: http(b'{"error": "nope"}', "404 Not Found"),
    "is a refusal of no one": lambda _, __: http(b'{"error": "upi.amount"}', "400 Bad Request"),
    "is a refusal without a name": lambda asked, ok: http(
        said(asked, ok, error="No Such Thing"), "404 Not Found"
    ),
    "is a refusal of another transaction": lambda _, __: http(
        b'{"error": "upi.txn_not_found", "txn_id": "HUN0"}', "404 Not Found"
    ),
    "is compressed, unasked": lambda _, __: http(
        b"\x1f\x8b\x08\x00", headers="content-encoding: gzip\r\n"
    ),
}


@EACH
@pytest.mark.parametrize("how", UNBELIEVABLE)
async def test_an_answer_that_cannot_be_believed_is_unknown(name: str, how: str):
    for verb, answer in (await heard(name, UNBELIEVABLE[how])).items():
        assert answer.outcome is Outcome.UNKNOWN, verb
        assert answer.rail_reference is None, verb


@EACH
async def test_a_success_of_another_amount_is_unknown(name: str):
    answers = await heard(name, lambda asked, ok: http(said(asked, ok, amount_minor=AMOUNT - 1)))
    moving = {"authorize", "refund"} | ({"capture"} if name == "card" else set())
    for verb in moving:
        assert answers[verb].outcome is Outcome.UNKNOWN, verb
        assert answers[verb].code == RAILS[name][1], verb


@EACH
async def test_a_refund_of_another_debit_is_unknown(name: str):
    answers = await heard(name, lambda asked, ok: http(said(asked, ok, txn_id="HUN" + "0" * 32)))
    assert answers["refund"].outcome is Outcome.UNKNOWN


@EACH
async def test_a_refusal_that_proves_nothing_is_unknown_and_kept(name: str):
    answers = await heard(
        name, lambda asked, ok: http(said(asked, ok, error="upi.mystery"), "409 Conflict")
    )
    for verb, answer in answers.items():
        assert (answer.outcome, answer.code) == (Outcome.UNKNOWN, "upi.mystery"), verb


@EACH
async def test_only_what_moves_money_says_that_it_was_malformed_or_did_not_leave(name: str):
    moving = {"authorize", "refund"} | ({"capture"} if name == "card" else set())
    answers = await heard(
        name, lambda asked, ok: http(said(asked, ok, error="upi.amount"), "400 Bad Request")
    )
    for verb, answer in answers.items():
        wanted = Outcome.DECLINED if verb in moving else Outcome.UNKNOWN
        assert answer.outcome is wanted, verb
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with RAILS[name][0].connect(address) as rail:
            for verb, answer in (await every_verb(rail)).items():
                wanted = Outcome.NOT_SENT if verb in moving else Outcome.UNKNOWN
                assert (answer.outcome, answer.code) == (wanted, None), verb


@pytest.mark.parametrize("captured", [None, True, "15000"])
async def test_a_card_s_answer_that_does_not_say_what_was_taken_is_unknown(captured: object):
    answers = await heard("card", lambda asked, ok: http(said(asked, ok, captured_minor=captured)))
    assert answers["authorize"].outcome is answers["status"].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "url",
    [
        None, 7, "", "/bank/page/1", "ftp://bank.example/", "http://bank.example/",
        "https://user@bank.example/", "https://", "javascript:alert(1)", "https://bank.example/ x",
        "https://bank.example/\n", "https://bänk.example/", "https://b.example/" + "x" * 2_100,
        "https://bank.example:0/", "https://[::1/",
    ],
)  # fmt: skip
async def test_a_payer_is_sent_to_no_page_that_looks_wrong(url: object):
    answers = await heard(
        "netbanking",
        lambda asked, _: http(said(asked, "INITIATED", action_url=url)),
    )
    assert answers["authorize"] == RailAnswer(
        outcome=Outcome.UNKNOWN,
        asked_at_ms=answers["authorize"].asked_at_ms,
        latency_ms=answers["authorize"].latency_ms,
    )


@pytest.mark.parametrize("url", ["https://bank.example/p?id=1", "http://127.0.0.1:8481/p"])
async def test_a_page_over_tls_or_on_this_machine_is_told(url: str):
    answers = await heard(
        "netbanking", lambda asked, _: http(said(asked, "INITIATED", rrn=None, action_url=url))
    )
    for verb in ("authorize", "status"):
        assert (answers[verb].outcome, answers[verb].action_url) == (Outcome.ACTION, url)
    assert answers["reverse"].outcome is Outcome.UNKNOWN
