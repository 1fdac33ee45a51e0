import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.clock import ManualClock
from server_core.sandbox import requests
from server_core.sandbox.line import Line
from server_core.sandbox.model import Behaviour, Order, Refusal
from server_core.sandbox.store import Store
from server_core.sandbox.upi import UpiDesk

GOOD = {
    "txn_id": "HUN" + "A" * 32,
    "amount_minor": 15_000,
    "currency": "INR",
    "payer_vpa": "asha@okbank",
    "payee_vpa": "shop@hundi",
    "payee_name": "Tea & Co",
    "mcc": "5814",
    "note": "चाय",
}


def parse_order(said: dict[str, Any]) -> Order:
    def nobody_hears(kind: str, outcome: dict[str, Any]) -> None:
        raise AssertionError

    desk = UpiDesk(Line(Behaviour(), ManualClock(0)), Store(), nobody_hears)
    return desk._parse(requests.parse_id(said.get("txn_id"), "upi", "txn_id"), said)


def test_a_good_order_is_read_as_it_stands():
    order = parse_order(requests.parse_object(json.dumps(GOOD).encode()))
    assert order.said | {"txn_id": order.id, "amount_minor": order.amount_minor} == GOOD
    assert order.word == "asha"


BAD = [
    ("amount_minor", value, "upi.amount")
    for value in (True, 1.0, 0, -1, 2**53, 2**63, 10**400, "100", None, [1])
] + [
    ("currency", "USD", "upi.currency"),
    ("currency", "inr", "upi.currency"),
    ("currency", None, "upi.currency"),
    ("payer_vpa", "asha", "upi.vpa"),
    ("payer_vpa", "asha@", "upi.vpa"),
    ("payer_vpa", "a@ok", "upi.vpa"),
    ("payer_vpa", "asha@okbank\n", "upi.vpa"),
    ("payee_vpa", "sh op@hundi", "upi.vpa"),
    ("payee_vpa", 7, "upi.vpa"),
    ("txn_id", "HUN", "upi.txn_id"),
    ("txn_id", "A" * 36, "upi.txn_id"),
    ("txn_id", "A" * 34 + "-", "upi.txn_id"),
    ("txn_id", "A" * 34 + "é", "upi.txn_id"),
    ("txn_id", None, "upi.txn_id"),
    ("payee_name", "x" * 100, "upi.payee_name"),
    ("payee_name", None, "upi.payee_name"),
    ("note", "\ud800", "upi.note"),
    ("note", "a\x00b", "upi.note"),
    ("mcc", "581", "upi.mcc"),
    ("mcc", 5814, "upi.mcc"),
    ("surprise", 1, "upi.field"),
]


@pytest.mark.parametrize(("name", "value", "code"), BAD)
def test_a_bad_field_is_refused_by_name(name: str, value: object, code: str):
    with pytest.raises(Refusal) as refused:
        parse_order(GOOD | {name: value})
    assert (refused.value.status, refused.value.code) == (400, code)


@pytest.mark.parametrize("name", ["txn_id", "amount_minor", "currency", "payer_vpa", "payee_vpa"])
def test_a_missing_field_is_refused(name: str):
    with pytest.raises(Refusal):
        parse_order({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1, "a": 1}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b"[" * 16_000,
        b'{"a":' * 3_000,
    ],
)
def test_what_is_no_object_is_refused(raw: bytes):
    with pytest.raises(Refusal) as refused:
        requests.parse_object(raw)
    assert refused.value.code == "upi.body"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), _JSON), st.sampled_from([{}, GOOD]))
def test_no_object_is_worse_than_refused(said: dict[str, object], over: dict[str, object]):
    refused = None
    try:
        order = parse_order(over | said)
    except Refusal as error:
        refused = error.status
    assert refused == 400 if refused else 1 <= order.amount_minor < 2**53


@pytest.mark.parametrize(
    "said",
    [
        {"latency_median_ms": -1},
        {"latency_median_ms": 1.5},
        {"latency_median_ms": True},
        {"latency_median_ms": 60_001},
        {"hold_ms": "5"},
        {"seed": None},
        {"decline_rate": 1.01},
        {"decline_rate": True},
        {"unknown_rate": float("inf")},
        {"decline_rate": 0.6, "unknown_rate": 0.6},
        {"outage": 1},
        {"mood": "bad"},
        {"brownout_rate": 2},
        {"brownout_factor": 0},
        {"callback_duplicates": 6},
        {"callback_url": None},
        {"callback_url": "https://127.0.0.1/x"},
        {"callback_url": "http://localhost:80/x"},
        {"callback_url": "http://10.0.0.1/x"},
        {"callback_url": "http://127.0.0.1@evil.example/x"},
        {"callback_url": "http://u@127.0.0.1/x"},
        {"callback_url": "http://127.0.0.1:x/"},
        {"callback_url": "http://127.1/"},
    ],
)
def test_bad_behaviour_is_refused(said: dict[str, object]):
    with pytest.raises(Refusal) as refused:
        requests.parse_behaviour(said, Behaviour())
    assert refused.value.code == "upi.behaviour"


def test_behaviour_changes_where_something_was_said():
    then = requests.parse_behaviour({"outage": True, "decline_rate": 1}, Behaviour(seed=5))
    assert then == Behaviour(seed=5, outage=True, decline_rate=1)
