"""A rail's circuit breaker: when calls to it stop, and how it is tried again. Pure.

Every time is monotonic ms, read and passed by the caller.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace


class State(StrEnum):
    """`closed`: calls pass. `open`: none does. `half_open`: one at a time does, as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Limits(Struct, frozen=True, kw_only=True):
    """When a breaker opens: `least_bad` and at least half of the last `calls` within `within_ms`.

    It stays open for `wait_ms`, twice as long after each failed probe, `longest_wait_ms` at most.
    `good_probes` in a row close it. `probe_ms` outlasts the longest deadline of a call: a probe
    that has not answered by then never will.
    """

    calls: int = 20
    within_ms: int = 60_000
    least_bad: int = 5
    wait_ms: int = 5_000
    longest_wait_ms: int = 60_000
    good_probes: int = 2
    probe_ms: int = 30_000


LIMITS: Final = Limits()


class Breaker(Struct, frozen=True, kw_only=True):
    """What is remembered of a rail.

    `calls`: (when it ended, whether it was good), oldest first, while closed. `since_ms`: when it
    opened, or last closed again; None before it ever opened. `failed_probes` doubles the wait.
    `probe_at_ms`: when the probe that is out took its place.
    """

    limits: Limits = LIMITS
    opened: bool = False
    since_ms: int | None = None
    calls: tuple[tuple[int, bool], ...] = ()
    failed_probes: int = 0
    good_probes: int = 0
    probe_at_ms: int | None = None

    @property
    def wait_ms(self) -> int:
        """How long it stays open."""
        # The exponent is bounded too: a rail that is gone for a year must not make huge numbers.
        doubled = self.limits.wait_ms << min(self.failed_probes, 16)
        return min(doubled, self.limits.longest_wait_ms)


def state_at(breaker: Breaker, now_ms: int) -> State:
    """Its state; an open one becomes half-open by the passing of time alone."""
    if not breaker.opened:
        return State.CLOSED
    over = now_ms >= (breaker.since_ms or 0) + breaker.wait_ms
    return State.HALF_OPEN if over else State.OPEN


def admits(breaker: Breaker, now_ms: int) -> bool:
    """Whether a call may be made; in half-open only by who then takes the place by `probing`."""
    state = state_at(breaker, now_ms)
    if state is not State.HALF_OPEN:
        return state is State.CLOSED
    taken = breaker.probe_at_ms
    return taken is None or now_ms >= taken + breaker.limits.probe_ms


def probing(breaker: Breaker, now_ms: int) -> Breaker:
    """The half-open breaker with the probe's place taken; any other one as it is."""
    if not breaker.opened or not admits(breaker, now_ms):
        return breaker
    return replace(breaker, probe_at_ms=now_ms)


def record(breaker: Breaker, *, good: bool, now_ms: int, took_ms: int = 0) -> Breaker:
    """The breaker after a call that ended now and took `took_ms`.

    A call that began before the breaker last opened or closed says nothing of the rail since: the
    stragglers of an outage neither fail the probe nor open a breaker that the probes closed.
    """
    if breaker.since_ms is not None and now_ms - took_ms < breaker.since_ms:
        return breaker
    if breaker.opened:
        return _after_probe(breaker, good=good, now_ms=now_ms)
    limits = breaker.limits
    ended = ((at, one) for at, one in breaker.calls if at > now_ms - limits.within_ms)
    calls = (*ended, (now_ms, good))[-limits.calls :]
    bad = sum(not one for _, one in calls)
    if not good and bad >= limits.least_bad and 2 * bad >= len(calls):
        return Breaker(limits=limits, opened=True, since_ms=now_ms)
    return replace(breaker, calls=calls)


def _after_probe(breaker: Breaker, *, good: bool, now_ms: int) -> Breaker:
    if breaker.probe_at_ms is None:
        return breaker
    if not good:
        failed = breaker.failed_probes + 1
        return Breaker(limits=breaker.limits, opened=True, since_ms=now_ms, failed_probes=failed)
    if breaker.good_probes + 1 >= breaker.limits.good_probes:
        return Breaker(limits=breaker.limits, since_ms=now_ms)
    return replace(breaker, good_probes=breaker.good_probes + 1, probe_at_ms=None)
