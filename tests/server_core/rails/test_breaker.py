"""A breaker never admits while it is open, tries one call at a time, and closes when the rail is back."""

from hypothesis import given
from hypothesis import strategies as st

from server_core.rails import breaker
from server_core.rails.breaker import LIMITS, Breaker, State

calls = st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=120)


def broken(now: int = 0) -> Breaker:
    known = Breaker()
    for _ in range(LIMITS.least_bad):
        known = breaker.record(known, good=False, now_ms=now)
    return known


def test_a_few_bad_ones_among_good_ones_do_not_open_it():
    known = Breaker()
    for n in range(100):
        known = breaker.record(known, good=n % 3 != 0, now_ms=n)
    assert breaker.state(known, 100) is State.CLOSED


def test_bad_ones_of_long_ago_do_not_count():
    known = Breaker()
    for n in range(20):
        known = breaker.record(known, good=False, now_ms=n * LIMITS.within_ms)
    assert breaker.state(known, 20 * LIMITS.within_ms) is State.CLOSED


def test_an_outage_opens_it_and_two_good_probes_close_it():
    known = broken()
    assert (breaker.state(known, 0), breaker.admits(known, 0)) == (State.OPEN, False)
    now = LIMITS.wait_ms
    for _ in range(LIMITS.probes):
        assert breaker.admits(known, now)
        known = breaker.probing(known, now)
        assert not breaker.admits(known, now + 1)
        known = breaker.record(known, good=True, now_ms=now + 1)
        now += 2
    assert known == Breaker()


def test_each_failed_probe_waits_twice_as_long_and_never_longer_than_the_bound():
    known, now, waits = broken(), 0, []
    for _ in range(8):
        waits.append(known.wait_ms)
        now += known.wait_ms
        known = breaker.record(breaker.probing(known, now), good=False, now_ms=now)
    assert waits[:5] == [5_000, 10_000, 20_000, 40_000, 60_000]
    assert set(waits[4:]) == {LIMITS.most_wait_ms}


def test_a_probe_that_never_comes_back_gives_up_its_place():
    known = breaker.probing(broken(), LIMITS.wait_ms)
    assert not breaker.admits(known, LIMITS.wait_ms + LIMITS.probe_ms - 1)
    assert breaker.admits(known, LIMITS.wait_ms + LIMITS.probe_ms)


@given(calls)
def test_what_was_sent_before_it_opened_moves_nothing(late):
    known = broken()
    for at, good in late:
        if at < LIMITS.wait_ms:
            assert breaker.record(known, good=good, now_ms=at) == known


@given(calls, st.integers(0, 10**6))
def test_it_always_lets_a_call_through_again(story, extra):
    known, now = Breaker(), 0
    for gap, good in story:
        now += gap
        if breaker.admits(known, now):
            if breaker.state(known, now) is State.HALF_OPEN:
                known = breaker.probing(known, now)
            known = breaker.record(known, good=good, now_ms=now)
        assert known.wait_ms <= LIMITS.most_wait_ms
        assert len(known.recent) <= LIMITS.calls
    assert breaker.admits(known, now + LIMITS.most_wait_ms + LIMITS.probe_ms + extra)
