"""The brown-out: seeded faults of single calls, and repeats that come through."""

from collections import Counter
from typing import Any

import pytest

from devices.clock import ManualClock
from server_core.sandbox.line import Due, Line
from server_core.sandbox.model import Answer, Behaviour, Refusal

NOW_MS = 1_790_000_000_000


def line(**behaviour: Any) -> tuple[Line, ManualClock]:
    clock = ManualClock(NOW_MS)
    return Line(Behaviour(**{"latency_median_ms": 10} | behaviour), clock), clock


async def called(one: Line, clock: ManualClock, key: str) -> tuple[bool, int, int]:
    """Whether it was done, the status that was answered, and after how many milliseconds."""
    done: list[str] = []

    def act() -> Due:
        done.append(key)
        return Due(say=lambda: Answer(said={}))

    before = clock.now_ms()
    answer = await one.carry("pay", key, act, lambda: Refusal(503, "upi.outage", "out"))
    return bool(done), answer.status, clock.now_ms() - before


async def test_a_brown_out_loses_before_and_after_and_slows_by_the_seed():
    told = []
    for seed in (1, 1, 2):
        one, clock = line(brownout_rate=0.6, brownout_factor=50, seed=seed)
        told.append([await called(one, clock, str(number)) for number in range(600)])
    assert told[0] == told[1] != told[2]
    kinds = Counter((done, status, took > 150) for done, status, took in told[0])
    assert set(kinds) >= {(False, 504, False), (True, 504, False), (True, 200, True)}
    assert 180 < kinds[True, 200, False] < 300
    assert all(kinds[kind] > 90 for kind in ((False, 504, False), (True, 504, False)))


async def test_a_repeat_of_a_call_that_was_lost_may_come_through():
    one, clock = line(brownout_rate=0.5)
    statuses = [(await called(one, clock, "same"))[1] for _ in range(40)]
    assert {200, 504} == set(statuses)


async def test_a_brown_out_of_no_rate_is_none():
    one, clock = line()
    assert {(await called(one, clock, str(number)))[:2] for number in range(50)} == {(True, 200)}


async def test_an_outage_does_nothing():
    one, clock = line(outage=True)
    with pytest.raises(Refusal, match="out"):
        await called(one, clock, "1")
