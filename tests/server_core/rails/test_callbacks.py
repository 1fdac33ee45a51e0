"""Callbacks verified, forged, replayed, stale and unreadable."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_core.errors import DomainError
from server_core.rails.callbacks import FRESH_MS, HEADER, Callback, read_callback, sign
from server_core.rails.model import Outcome

KEY = bytes(range(32))
NOW_MS = 1_790_000_000_000
GOOD: dict[str, Any] = {
    "id": "cb_" + "0a" * 16,
    "kind": "upi.txn",
    "txn_id": "HUN" + "A" * 32,
    "code": "00",
    "rrn": "622415000001",
    "amount_minor": 15_000,
    "reversed": False,
    "reference": "ORDER0042",
}


def read(said: object = GOOD, at_ms: int = NOW_MS, now_ms: int = NOW_MS) -> Callback:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return read_callback({HEADER: sign(raw, KEY, at_ms)}, raw, KEY, now_ms)


def refusal(headers: dict[str, str], raw: bytes, key: bytes = KEY, now_ms: int = NOW_MS) -> str:
    with pytest.raises(DomainError) as refused:
        read_callback(headers, raw, key, now_ms)
    return refused.value.code


def test_what_is_signed_is_read_and_a_replay_has_the_same_id():
    first = read()
    assert first == Callback(
        id=GOOD["id"],
        door="upi",
        txn_id=GOOD["txn_id"],
        refund_id=None,
        reference="ORDER0042",
        outcome=Outcome.SUCCEEDED,
        code="00",
        rail_reference="622415000001",
        amount_minor=15_000,
    )
    assert read(now_ms=NOW_MS + FRESH_MS) == first


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        ({"code": "Z9"}, Outcome.DECLINED),
        ({"code": "RB"}, Outcome.UNKNOWN),
        ({"code": "Q7"}, Outcome.UNKNOWN),
        ({"reversed": True}, Outcome.REVERSED),
        ({"kind": "bank.txn", "code": "SUCCESS"}, Outcome.SUCCEEDED),
        ({"kind": "bank.txn", "code": "CANCELLED"}, Outcome.DECLINED),
        ({"kind": "upi.refund", "refund_id": "HUN" + "B" * 32}, Outcome.SUCCEEDED),
    ],
)
def test_codes_mean_what_they_mean_in_an_answer(other: dict[str, Any], outcome: Outcome):
    assert read(GOOD | other).outcome is outcome


@pytest.mark.parametrize("off_ms", [-FRESH_MS - 1, FRESH_MS + 1])
def test_a_stale_one_is_refused(off_ms: int):
    raw = json.dumps(GOOD).encode()
    headers = {HEADER: sign(raw, KEY, NOW_MS - off_ms)}
    assert refusal(headers, raw) == "rails.callback_stale"


def test_a_forged_one_is_refused():
    raw = json.dumps(GOOD).encode()
    good = sign(raw, KEY, NOW_MS)
    forged = [
        {},
        {HEADER: ""},
        {HEADER: sign(raw, bytes(32), NOW_MS)},
        {HEADER: good[:-1] + ("0" if good[-1] != "0" else "1")},
        {HEADER: good.replace(f"t={NOW_MS}", f"t={NOW_MS + 1}")},
        {HEADER: good + ",v1=" + "0" * 64},
        {HEADER: good.upper()},
        {HEADER: "t=" + "9" * 5_000 + ",v1=" + "0" * 64},
        {HEADER: good.replace(f"t={NOW_MS}", f"t=0{NOW_MS}")},
    ]
    for headers in forged:
        assert refusal(headers, raw) == "rails.callback_signature"
    assert refusal({HEADER: good}, raw + b" ") == "rails.callback_signature"
    long = b" " * 20_000 + raw
    assert refusal({HEADER: sign(long, KEY, NOW_MS)}, long) == "rails.callback_signature"


@pytest.mark.parametrize(
    "said",
    [
        b"", b"[]", b"\xff", b'{"id": 1, "id": 2}',
        GOOD | {"id": "7"}, GOOD | {"id": None}, GOOD | {"kind": "card.txn"},
        GOOD | {"kind": "upi"}, GOOD | {"kind": None}, GOOD | {"kind": "upi.refund"},
        GOOD | {"refund_id": "HUN" + "B" * 32}, GOOD | {"txn_id": "a/b"}, GOOD | {"txn_id": 7},
        GOOD | {"reference": "a b"}, GOOD | {"code": 0}, GOOD | {"amount_minor": 1.5},
        GOOD | {"rrn": "1"}, GOOD | {"reversed": 0}, GOOD | {"kind": "bank.txn"},
    ],
)  # fmt: skip
def test_one_that_is_signed_and_cannot_be_read_is_refused(said: object):
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    assert refusal({HEADER: sign(raw, KEY, NOW_MS)}, raw) == "rails.callback"


def test_a_short_key_is_no_key():
    with pytest.raises(ValueError, match="32 bytes"):
        read_callback({}, b"", b"", NOW_MS)


@given(st.text(max_size=120), st.binary(max_size=200))
def test_nothing_that_is_sent_breaks_it(header: str, raw: bytes):
    assert refusal({HEADER: header}, raw) == "rails.callback_signature"
    assert refusal({HEADER: sign(raw, KEY, NOW_MS)}, raw) == "rails.callback"
