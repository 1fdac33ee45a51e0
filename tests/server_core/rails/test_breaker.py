import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server_core.rails.breaker import (
    LIMITS,
    Breaker,
    State,
    admits,
    probing,
    record,
    state_at,
)


def fed(calls: str, *, every_ms: int = 100, start_ms: int = 0) -> Breaker:
    """A breaker after calls written as "+" and "-"."""
    breaker = Breaker()
    for index, call in enumerate(calls):
        breaker = record(breaker, good=call == "+", now_ms=start_ms + index * every_ms)
    return breaker


def opened(at_ms: int = 0) -> Breaker:
    return fed("-----", every_ms=0, start_ms=at_ms)


@pytest.mark.parametrize(
    ("calls", "opens"),
    [
        ("", False),
        ("----", False),
        ("-----", True),
        ("+++++-----", True),
        ("++++++-----", False),
        ("++++++------", True),
        ("+" * 20 + "-" * 9, False),
        ("+" * 20 + "-" * 10, True),
        ("+" * 500 + "-" * 10, True),
        ("-+" * 4 + "+" * 12 + "-" * 4, False),
        ("----" + "+" * 40, False),
    ],
)
def test_it_opens_when_five_and_half_of_the_last_twenty_were_bad(calls: str, opens: bool):
    assert fed(calls).opened is opens


def test_bad_calls_of_more_than_a_minute_ago_are_forgotten():
    assert not record(fed("----"), good=False, now_ms=60_300).opened
    assert record(fed("----"), good=False, now_ms=59_000).opened


def test_a_good_call_never_opens_it_even_when_older_good_ones_are_forgotten():
    breaker = fed("+" * 6)
    for _ in range(5):
        breaker = record(breaker, good=False, now_ms=30_000)
    assert not breaker.opened
    assert not record(breaker, good=True, now_ms=60_450).opened
    assert record(breaker, good=False, now_ms=60_450).opened


def test_it_stays_open_for_the_wait_and_then_takes_one_probe():
    breaker = opened()
    assert (state_at(breaker, 4_999), admits(breaker, 4_999)) == (State.OPEN, False)
    assert (state_at(breaker, 5_000), admits(breaker, 5_000)) == (State.HALF_OPEN, True)
    breaker = probing(breaker, 5_000)
    assert (state_at(breaker, 5_001), admits(breaker, 5_001)) == (State.HALF_OPEN, False)


def test_two_good_probes_close_it_and_it_starts_afresh():
    breaker = record(probing(opened(), 5_000), good=True, now_ms=5_100)
    assert state_at(breaker, 5_100) is State.HALF_OPEN
    breaker = record(probing(breaker, 5_100), good=True, now_ms=5_200)
    assert state_at(breaker, 5_200) is State.CLOSED
    assert (breaker.calls, breaker.wait_ms) == ((), LIMITS.wait_ms)
    for _ in range(4):
        breaker = record(breaker, good=False, now_ms=5_300)
    assert not breaker.opened


def test_each_failed_probe_doubles_the_wait_up_to_a_minute():
    breaker, now_ms, waits = opened(), 0, []
    for _ in range(40):
        waits.append(breaker.wait_ms)
        now_ms += breaker.wait_ms
        breaker = record(probing(breaker, now_ms), good=False, now_ms=now_ms)
    assert waits[:6] == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
    assert set(waits[5:]) == {60_000}


def test_a_good_probe_before_a_bad_one_does_not_shorten_the_wait():
    breaker = record(probing(opened(), 5_000), good=True, now_ms=5_100)
    breaker = record(probing(breaker, 5_100), good=False, now_ms=5_200)
    assert (state_at(breaker, 5_200), breaker.wait_ms) == (State.OPEN, 10_000)
    assert breaker.good_probes == 0


def test_the_place_of_a_probe_that_never_answers_lapses():
    breaker = probing(opened(), 5_000)
    assert not admits(breaker, 5_000 + LIMITS.probe_ms - 1)
    assert admits(breaker, 5_000 + LIMITS.probe_ms)
    again = probing(breaker, 5_000 + LIMITS.probe_ms)
    assert not admits(again, 5_000 + LIMITS.probe_ms)


def test_a_place_is_taken_only_of_a_half_open_breaker():
    half = probing(opened(), 5_000)
    for breaker, now_ms in ((Breaker(), 0), (opened(), 4_999), (half, 5_001)):
        assert probing(breaker, now_ms) is breaker


def test_what_ends_while_no_probe_is_out_changes_nothing():
    for now_ms in (100, 5_000):
        for good in (True, False):
            assert record(opened(), good=good, now_ms=now_ms) == opened()


def test_a_straggler_of_the_outage_neither_fails_the_probe_nor_opens_a_closed_one():
    breaker = probing(opened(at_ms=20_000), 25_000)
    assert record(breaker, good=False, now_ms=25_100, took_ms=15_000) == breaker
    breaker = record(breaker, good=True, now_ms=25_200, took_ms=200)
    breaker = record(probing(breaker, 25_200), good=True, now_ms=25_300, took_ms=100)
    closed = breaker
    for _ in range(20):
        breaker = record(breaker, good=False, now_ms=26_000, took_ms=15_000)
    assert breaker == closed


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["good", "bad", "probe", "look"]),
        st.integers(min_value=0, max_value=40_000),
        st.integers(min_value=0, max_value=20_000),
    ),
    max_size=120,
)


@given(STEPS)
def test_the_laws_hold_over_every_history(steps: list[tuple[str, int, int]]):
    breaker, now_ms = Breaker(), 0
    probes: list[int] = []
    for what, later_ms, took_ms in steps:
        now_ms += later_ms
        before = breaker
        if what == "probe":
            breaker = probing(breaker, now_ms)
            if breaker is not before:
                assert state_at(before, now_ms) is State.HALF_OPEN
                probes.append(now_ms)
        elif what != "look":
            breaker = record(breaker, good=what == "good", now_ms=now_ms, took_ms=took_ms)
        state = state_at(breaker, now_ms)
        assert admits(breaker, now_ms) or state is not State.CLOSED
        assert not (admits(breaker, now_ms) and state is State.OPEN)
        assert LIMITS.wait_ms <= breaker.wait_ms <= LIMITS.longest_wait_ms
        assert len(breaker.calls) <= LIMITS.calls
        if what == "good":
            assert breaker.opened <= before.opened, "a good call never opens it"
        if before.opened and breaker.opened:
            assert breaker.wait_ms >= before.wait_ms, "a wait only grows until it closes"
        if before.opened and not breaker.opened:
            assert what == "good"
            assert before.good_probes == LIMITS.good_probes - 1
            assert before.probe_at_ms is not None


@given(STEPS)
def test_at_most_one_probe_is_out(steps: list[tuple[str, int, int]]):
    breaker, now_ms, out = opened(), 0, None
    for what, later_ms, _ in steps:
        now_ms += later_ms
        if what in {"probe", "look"}:
            taken = probing(breaker, now_ms)
            if taken is not breaker:
                assert out is None or now_ms >= out + LIMITS.probe_ms
                out = now_ms
            breaker = taken
        elif out is not None and breaker.opened:
            breaker, out = record(breaker, good=what == "good", now_ms=now_ms), None


@given(STEPS)
def test_whatever_happened_it_recovers_when_the_outage_ends(steps: list[tuple[str, int, int]]):
    breaker, now_ms = Breaker(), 0
    for what, later_ms, _ in steps:
        now_ms += later_ms
        if what == "probe":
            breaker = probing(breaker, now_ms)
        else:
            breaker = record(breaker, good=False, now_ms=now_ms)
    end = now_ms + LIMITS.longest_wait_ms + LIMITS.probe_ms + 3_000
    while breaker.opened and now_ms < end:
        now_ms += 1_000
        if admits(breaker, now_ms):
            breaker = record(probing(breaker, now_ms), good=True, now_ms=now_ms)
    assert not breaker.opened


def test_limits_may_be_other_ones():
    quick = Breaker(limits=replace(LIMITS, least_bad=1, wait_ms=10))
    breaker = record(quick, good=False, now_ms=0)
    assert (state_at(breaker, 9), state_at(breaker, 10)) == (State.OPEN, State.HALF_OPEN)
    assert breaker.limits == quick.limits
