"""A breaker: stops asking a rail that does not answer, and tries it again by and by. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """`half_open` lets one call through at a time, to see whether the rail is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Opens when of the last `calls` within `within_ms` at least `least_bad` and half were bad.

    Tries again after `wait_ms`, doubled by each failed probe up to `most_wait_ms`; `probes` good ones
    in a row close it. A probe that never comes back gives up its place after `probe_ms`.
    """

    calls: int = 20
    within_ms: int = 60_000
    least_bad: int = 5
    wait_ms: int = 5_000
    most_wait_ms: int = 60_000
    probes: int = 2
    probe_ms: int = 20_000


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """How one rail has answered of late. All times are of one monotonic clock, in ms."""

    recent: tuple[tuple[int, bool], ...] = ()
    opened_at: int | None = None
    wait_ms: int = LIMITS.wait_ms
    probed_at: int | None = None
    good_probes: int = 0


def state(breaker: Breaker, now_ms: int) -> State:
    if breaker.opened_at is None:
        return State.CLOSED
    waited = now_ms - breaker.opened_at >= breaker.wait_ms
    return State.HALF_OPEN if waited else State.OPEN


def admits(breaker: Breaker, now_ms: int) -> bool:
    """Whether a call may go; half open, only while no other probe is under way."""
    match state(breaker, now_ms):
        case State.CLOSED:
            return True
        case State.OPEN:
            return False
    return breaker.probed_at is None or now_ms - breaker.probed_at >= LIMITS.probe_ms


def probing(breaker: Breaker, now_ms: int) -> Breaker:
    """The breaker while its one probe is under way."""
    return replace(breaker, probed_at=now_ms)


def record(breaker: Breaker, *, good: bool, now_ms: int) -> Breaker:
    """The breaker after a call came back. What was sent before it opened is not a probe."""
    if breaker.opened_at is None:
        since = now_ms - LIMITS.within_ms
        recent = (*(one for one in breaker.recent if one[0] > since), (now_ms, good))
        recent = recent[-LIMITS.calls :]
        bad = sum(not well for _, well in recent)
        if bad >= LIMITS.least_bad and 2 * bad >= len(recent):
            return Breaker(opened_at=now_ms)
        return replace(breaker, recent=recent)
    if breaker.probed_at is None or state(breaker, now_ms) is State.OPEN:
        return breaker
    if not good:
        return Breaker(opened_at=now_ms, wait_ms=min(2 * breaker.wait_ms, LIMITS.most_wait_ms))
    if breaker.good_probes + 1 >= LIMITS.probes:
        return Breaker()
    return replace(breaker, probed_at=None, good_probes=breaker.good_probes + 1)
