import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server_core.rails.breaker import State
from server_core.rails.health import (
    MOST_BANKS,
    SLOW_MS,
    WINDOW_CALLS,
    WINDOW_MS,
    Health,
    Reading,
    verdict,
)
from server_core.rails.model import Outcome, RailAnswer
from server_core.rails.router import Ask, Reason, decide

GOOD = RailAnswer(outcome=Outcome.SUCCEEDED, latency_ms=100)
BAD = RailAnswer(outcome=Outcome.UNKNOWN, latency_ms=100)
DECLINED = RailAnswer(outcome=Outcome.DECLINED, code="Z9", latency_ms=100)


def counts(health: Health, rail: str, bank: str, now_ms: int) -> tuple[int, int]:
    (one,) = health.reading((rail,), bank, now_ms)
    return one.good, one.total


@pytest.mark.parametrize(
    ("outcome", "quick", "slow"),
    [
        (Outcome.SUCCEEDED, True, False),
        (Outcome.AUTHORIZED, True, False),
        (Outcome.ACTION, True, False),
        (Outcome.NOT_SENT, False, False),
        (Outcome.UNKNOWN, False, False),
        (Outcome.DECLINED, None, None),
        (Outcome.REVERSED, None, False),
        (Outcome.NOT_FOUND, None, False),
    ],
)
def test_what_speaks_for_a_rail(outcome: Outcome, quick: bool | None, slow: bool | None):
    assert verdict(RailAnswer(outcome=outcome, latency_ms=SLOW_MS)) is quick
    assert verdict(RailAnswer(outcome=outcome, latency_ms=SLOW_MS + 1)) is slow


def test_a_rail_that_nothing_was_heard_of_is_closed_and_empty():
    assert Health().reading(("upi", "upi.2"), "sbi", 0) == (
        Reading(rail="upi", state=State.CLOSED, good=0, total=0),
        Reading(rail="upi.2", state=State.CLOSED, good=0, total=0),
    )
    assert Health().states(0) == []


def test_each_bank_has_its_own_window_and_a_strange_one_reads_all_of_them():
    health = Health()
    for _ in range(3):
        health.record("upi", "sbi", GOOD, 1)
    health.record("upi", "hdfc", BAD, 1)
    health.record("upi", "", BAD, 1)
    assert counts(health, "upi", "sbi", 1) == (3, 3)
    assert counts(health, "upi", "hdfc", 1) == (0, 1)
    assert counts(health, "upi", "axis", 1) == (3, 5)
    assert counts(health, "upi", "", 1) == (3, 5)
    assert counts(health, "upi.2", "sbi", 1) == (0, 0)


def test_a_window_holds_the_last_calls_of_half_an_hour():
    health = Health()
    for index in range(WINDOW_CALLS + 75):
        health.record("upi", "sbi", GOOD if index >= 75 else BAD, index)
    assert counts(health, "upi", "sbi", 200) == (WINDOW_CALLS, WINDOW_CALLS)
    assert counts(health, "upi", "sbi", 75 + WINDOW_MS) == (WINDOW_CALLS - 1, WINDOW_CALLS - 1)
    assert counts(health, "upi", "sbi", 200 + WINDOW_MS) == (0, 0)


def test_the_bank_least_recently_heard_of_is_dropped():
    health = Health()
    health.record("upi", "first", GOOD, 0)
    health.record("upi", "second", GOOD, 0)
    for index in range(MOST_BANKS - 2):
        health.record("upi", f"bank{index}", BAD, 0)
    health.record("upi", "first", GOOD, 0)
    health.record("upi", "one more", BAD, 0)
    assert counts(health, "upi", "first", 0) == (2, 2)
    assert counts(health, "upi", "second", 0)[1] == WINDOW_CALLS, "it reads all banks again"
    assert len(health._windows["upi"]) == MOST_BANKS


def test_an_outage_opens_the_breaker_and_one_probe_is_handed_out():
    health = Health()
    for _ in range(5):
        health.record("upi", "sbi", BAD, 1_000)
    states = [health.reading(("upi",), "sbi", at)[0].state for at in (1_000, 5_999, 6_000)]
    assert states == [State.OPEN, State.OPEN, State.HALF_OPEN]
    assert not health.probe("upi", 5_999)
    assert health.probe("upi", 6_000)
    assert not health.probe("upi", 6_000)
    assert health.reading(("upi",), "sbi", 6_000)[0].state is State.OPEN, "the place is taken"
    assert health.states(6_000) == [("upi", State.HALF_OPEN, 0.0)]
    health.record("upi", "sbi", GOOD, 6_100)
    assert health.probe("upi", 6_100)
    health.record("upi", "sbi", GOOD, 6_200)
    assert health.states(6_200) == [("upi", State.CLOSED, 2 / 7)]
    assert not health.probe("upi", 6_200), "a closed one needs none"


def test_a_probe_that_is_declined_was_answered():
    health = Health()
    for _ in range(5):
        health.record("upi", "sbi", BAD, 0)
    for at in (5_000, 5_200):
        assert health.probe("upi", at)
        health.record("upi", "sbi", DECLINED, at + 100)
    assert health.states(5_300) == [("upi", State.CLOSED, 0.0)]


def test_calls_that_were_under_way_when_the_outage_ended_do_not_count_again():
    health = Health()
    for _ in range(5):
        health.record("upi", "sbi", BAD, 0)
    assert health.probe("upi", 5_000)
    health.record("upi", "sbi", replace(BAD, latency_ms=15_000), 5_050)
    health.record("upi", "sbi", GOOD, 5_100)
    assert health.probe("upi", 5_200)
    health.record("upi", "sbi", GOOD, 5_300)
    for _ in range(10):
        health.record("upi", "sbi", replace(BAD, latency_ms=15_000), 6_000)
    assert health.states(6_000)[0][1] is State.CLOSED


def test_a_gauge_of_a_rail_without_recent_calls_is_whole():
    health = Health()
    health.record("upi", "sbi", BAD, 0)
    assert health.states(WINDOW_MS) == [("upi", State.CLOSED, 1.0)]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(list(Outcome)),
        st.integers(min_value=0, max_value=15_000),
        st.integers(min_value=0, max_value=20_000),
        st.sampled_from(["", "sbi", "hdfc"]),
    ),
    max_size=80,
)


@given(CALLS, st.integers(min_value=0, max_value=60_000))
def test_a_decline_never_opens_a_breaker_nor_lowers_a_count(
    calls: list[tuple[Outcome, int, int, str]], latency_ms: int
):
    health, now_ms = Health(), 0
    for outcome, took_ms, later_ms, bank in calls:
        now_ms += later_ms
        health.probe("upi", now_ms)
        health.record("upi", bank, RailAnswer(outcome=outcome, latency_ms=took_ms), now_ms)
        before = health.reading(("upi",), bank, now_ms)
        was = health.states(now_ms)
        health.record("upi", bank, replace(DECLINED, latency_ms=latency_ms), now_ms)
        after = health.reading(("upi",), bank, now_ms)
        assert [(one.good, one.total) for one in after] == [(one.good, one.total) for one in before]
        if before[0].state is State.CLOSED:
            assert after[0].state is State.CLOSED
        assert (State.OPEN in {one[1] for one in health.states(now_ms)}) <= (
            State.OPEN in {one[1] for one in was}
        )


@given(CALLS)
def test_declines_alone_leave_no_trace(calls: list[tuple[Outcome, int, int, str]]):
    health = Health()
    for _, took_ms, now_ms, bank in calls:
        health.record("upi", bank, replace(DECLINED, latency_ms=took_ms), now_ms)
    assert health.states(20_000) == []
    assert counts(health, "upi", "sbi", 20_000) == (0, 0)


def draws():
    """0..999, evenly and without chance."""
    draw = 0
    while True:
        yield draw
        draw = (draw + 379) % 1000


class Shop:
    """Ten payments a second over two rails, the first preferred; a dead one answers nothing."""

    def __init__(self) -> None:
        self.health = Health()
        self.draws = draws()
        self.now_ms = 0
        self.lost: list[int] = []
        self.refused = 0
        self.used: dict[str, int] = {}

    def run(self, seconds: int, *, dead: tuple[str, ...] = (), preferred: str = "upi") -> None:
        self.lost, self.used, self.refused = [], {}, 0
        for _ in range(seconds * 10):
            self.now_ms += 100
            self.pay(dead, preferred)

    def pay(self, dead: tuple[str, ...], preferred: str) -> None:
        ask = Ask(
            method="upi", currency="INR", amount=100, bank="sbi", captures_later=False,
            preferred=(preferred,),
        )  # fmt: skip
        readings = self.health.reading(("upi", "upi.2"), "sbi", self.now_ms)
        decision = decide(ask, readings, next(self.draws))
        if decision.rail is None:
            self.refused += 1
            return
        if decision.reason is Reason.PROBE:
            assert self.health.probe(decision.rail, self.now_ms)
        rail = decision.rail
        self.used[rail] = self.used.get(rail, 0) + 1
        if rail in dead:
            self.lost.append(self.now_ms)
        self.health.record(rail, "sbi", BAD if rail in dead else GOOD, self.now_ms + 100)


def test_a_rail_that_dies_costs_few_calls_and_is_used_again_when_it_returns():
    shop = Shop()
    shop.run(60)
    assert shop.lost == []
    assert shop.used["upi"] > 500

    died = shop.now_ms
    shop.run(600, dead=("upi",))
    at_once = [at for at in shop.lost if at < died + 5_000]
    assert len(at_once) <= 11, "half of the last twenty, and a hedge"
    assert len(shop.lost) - len(at_once) <= 15, "a probe for each wait, which doubles to a minute"
    assert shop.refused == 0

    shop.run(120)
    assert shop.health.states(shop.now_ms)[0][1] is State.CLOSED
    assert shop.used["upi"] >= 300, "back in its place after the longest wait at most"
    assert shop.lost == []


def test_when_both_die_payments_are_refused_and_both_come_back():
    shop = Shop()
    shop.run(60)
    shop.run(300, dead=("upi", "upi.2"))
    assert len(shop.lost) <= 45, "the openings, and the probes of two rails"
    assert shop.refused > 2_900
    shop.run(120)
    assert {state for _, state, _ in shop.health.states(shop.now_ms)} == {State.CLOSED}
    assert shop.refused <= 600, "not longer than the longest wait"
