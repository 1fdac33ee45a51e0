"""Windows by rail and bank: what counts, what does not, and how much is kept."""

import pytest

from server_core.rails.breaker import State
from server_core.rails.health import MAX_BANKS, SLOW_MS, WINDOW, WINDOW_MS, Health
from server_core.rails.model import Outcome, RailAnswer


def told(outcome: Outcome, latency_ms: int = 100) -> RailAnswer:
    return RailAnswer(outcome=outcome, latency_ms=latency_ms)


def counted(health: Health, bank: str = "okbank", now: int = 0) -> tuple[int, int]:
    [one] = health.reading(["upi"], bank, now)
    return one.good, one.total


@pytest.mark.parametrize(
    ("outcome", "latency_ms", "good", "total"),
    [
        (Outcome.SUCCEEDED, 100, 1, 1), (Outcome.AUTHORIZED, 100, 1, 1), (Outcome.ACTION, 100, 1, 1),
        (Outcome.UNKNOWN, 100, 0, 1), (Outcome.NOT_SENT, 100, 0, 1),
        (Outcome.DECLINED, 100, 0, 0), (Outcome.SUCCEEDED, SLOW_MS, 0, 1),
        (Outcome.DECLINED, SLOW_MS, 0, 1),
    ],
)  # fmt: skip
def test_what_an_answer_counts_for(outcome, latency_ms, good, total):
    health = Health()
    health.record("upi", "okbank", told(outcome, latency_ms), 0)
    assert counted(health) == (good, total)
    assert counted(health, "another") == (0, 0)


def test_declines_never_open_a_breaker():
    health = Health()
    for now in range(500):
        health.record("upi", "okbank", told(Outcome.DECLINED), now)
    [one] = health.reading(["upi"], "okbank", 500)
    assert (one.state, one.free, one.total) == (State.CLOSED, True, 0)


def test_an_outage_opens_it_for_every_bank():
    health = Health()
    for now in range(5):
        health.record("upi", f"bank{now}", told(Outcome.NOT_SENT), now)
    [one] = health.reading(["upi"], "okbank", 5)
    assert (one.state, one.free) == (State.OPEN, False)


def test_what_is_old_or_too_much_is_forgotten():
    health = Health()
    for _ in range(2 * WINDOW):
        health.record("upi", "okbank", told(Outcome.SUCCEEDED), 0)
    assert counted(health) == (WINDOW, WINDOW)
    assert counted(health, now=WINDOW_MS) == (0, 0)
    for n in range(MAX_BANKS):
        health.record("upi", f"bank{n}", told(Outcome.SUCCEEDED), 1)
    assert counted(health) == (0, 0)
