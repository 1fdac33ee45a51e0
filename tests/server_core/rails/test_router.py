"""Each rule of the choice, that it can be made again from its record, and what an outage costs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from devices.entropy import SeededEntropy
from server_core.rails import router
from server_core.rails.breaker import State
from server_core.rails.health import Health, Reading
from server_core.rails.model import Outcome, RailAnswer
from server_core.rails.router import Ask, Reason
from server_core.rails.traits import TRAITS, carrier_of, method_of

ASK = Ask(method="upi", currency="INR", amount=100, bank="okbank", captures_later=False)


def reads(rail: str, good: int = 0, total: int = 0, state: State = State.CLOSED) -> Reading:
    return Reading(rail=rail, state=state, good=good, total=total)


WELL, POOR = reads("upi", 100, 100), reads("upi.2", 60, 100)
OPEN, HALF = reads("upi", 0, 5, State.OPEN), reads("upi", 0, 5, State.HALF_OPEN)


@pytest.mark.parametrize(
    ("ask", "readings", "draw", "rail", "reason"),
    [
        ({"method": "book"}, [], 0, None, "on_us"),
        ({"method": "cheque"}, [WELL], 0, None, "unknown_method"),
        ({"currency": "USD"}, [WELL], 0, None, "currency"),
        ({"captures_later": True}, [WELL], 0, None, "capture"),
        ({"most": 99}, [WELL], 0, None, "amount"),
        ({"most": 100}, [WELL], 0, "upi", "only_one"),
        ({"method": "card", "captures_later": True}, [reads("card")], 0, "card", "only_one"),
        ({}, [], 0, None, "not_connected"),
        ({"tried": ("upi",)}, [WELL], 0, None, "tried"),
        ({"tried": ("upi",)}, [WELL, POOR], 0, "upi.2", "only_one"),
        ({}, [WELL, POOR], 500, "upi", "best_score"),
        ({}, [WELL, POOR], 49, "upi.2", "hedge"),
        ({"preferred": ("upi.2",)}, [WELL, POOR], 49, "upi.2", "preferred"),
        ({"preferred": ("upi.2",)}, [WELL, reads("upi.2", 0, 100)], 500, "upi", "best_score"),
        ({}, [OPEN], 0, None, "breaker_open"),
        ({}, [OPEN, POOR], 0, "upi.2", "only_one"),
        ({}, [HALF], 999, "upi", "probe"),
        ({}, [HALF, POOR], 49, "upi", "probe"),
        ({}, [HALF, POOR], 50, "upi.2", "only_one"),
        ({"tried": ("upi.2",)}, [OPEN, POOR], 0, None, "breaker_open"),
        ({}, [reads("upi"), reads("upi.2")], 500, "upi", "best_score"),
    ],
)
def test_a_rule_each(ask, readings, draw, rail, reason):
    decision = router.decide(replace(ASK, **ask), readings, draw)
    assert (decision.rail, decision.reason) == (rail, reason)


def test_a_name_says_what_it_carries():
    assert (method_of("upi.2"), method_of("card")) == ("upi", "card")
    assert (carrier_of("upi_link"), carrier_of("upi"), carrier_of("cheque")) == (
        "upi", "upi", "cheque",
    )  # fmt: skip


asks = st.builds(
    Ask,
    method=st.sampled_from(["book", "cheque", *TRAITS]),
    currency=st.sampled_from(["INR", "USD", "KWD"]),
    amount=st.integers(1, 10**12),
    bank=st.text(max_size=8),
    captures_later=st.booleans(),
    most=st.none() | st.integers(1, 10**12),
    preferred=st.lists(st.sampled_from(["upi", "upi.2"]), max_size=2).map(tuple),
    tried=st.lists(st.sampled_from(["upi", "upi.2"]), max_size=2).map(tuple),
)
readings = st.lists(
    st.builds(
        Reading,
        rail=st.sampled_from(["upi", "upi.2", "upi.3", "card"]),
        state=st.sampled_from(State),
        good=st.integers(0, 60),
        total=st.integers(60, 125),
    ),
    max_size=4,
    unique_by=lambda one: one.rail,
)


@given(asks, readings, st.integers(0, 999))
def test_a_decision_is_made_again_from_its_record_and_takes_only_what_is_free(ask, found, draw):
    decision = router.decide(ask, found, draw)
    record = json.loads(json.dumps(router.stored(ask, found, draw, decision)))
    assert router.replay(record) == decision
    assert (record["rail"], record["reason"]) == (decision.rail, decision.reason)
    if decision.rail is None:
        return
    [chosen] = [one for one in found if one.rail == decision.rail]
    assert chosen.state is not State.OPEN
    assert chosen.rail not in ask.tried


def test_an_outage_of_one_costs_a_few_calls_and_it_is_used_again_after():
    health, drawn = Health(), SeededEntropy(7)
    lost, used = 0, {"upi": 0, "upi.2": 0}
    for now in range(0, 400_000, 20):  # 50 a second; the first rail is out from 100 s to 200 s
        [*found] = health.reading(["upi", "upi.2"], "okbank", now)
        decision = router.decide(ASK, found, drawn.below(1000))
        assert decision.rail is not None
        if decision.reason is Reason.PROBE:
            health.probe(decision.rail, now)
        out = decision.rail == "upi" and 100_000 <= now < 200_000
        lost += out
        used[decision.rail] += now >= 300_000
        outcome = Outcome.NOT_SENT if out else Outcome.SUCCEEDED
        health.record(decision.rail, "okbank", RailAnswer(outcome=outcome, latency_ms=100), now)
    assert lost <= 15  # of 5,000 in that time; each of them went over the other one
    assert used["upi"] > 100
