"""How the rails are doing: what their latest calls came to, and their breakers."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from server_core.rails.breaker import (
    LIMITS,
    Breaker,
    Limits,
    State,
    admits,
    probing,
    record,
    state_at,
)
from server_core.rails.model import Outcome, RailAnswer

SLOW_MS: Final = 5_000
WINDOW_CALLS: Final = 125
WINDOW_MS: Final = 30 * 60 * 1000
"""Bucket of 125 and 1800 s: the defaults of Juspay's decision-engine."""
MOST_BANKS: Final = 256

_GOOD: Final = frozenset({Outcome.SUCCEEDED, Outcome.AUTHORIZED, Outcome.ACTION})
_BAD: Final = frozenset({Outcome.NOT_SENT, Outcome.UNKNOWN})


class Reading(Struct, frozen=True, kw_only=True):
    """One rail as a decision sees it: `good` of `total` calls of the payer's bank went well.

    `state` is whether this caller may use it: `half_open` only while the probe's place is free,
    `open` also while another call holds that place.
    """

    rail: str
    state: State
    good: int
    total: int


def verdict(answer: RailAnswer) -> bool | None:
    """Whether a call speaks for the rail or against it; None of one that says neither.

    A decline, however slow, is the payer's or the bank's word on this payment: it never counts
    against a rail.
    """
    if answer.outcome is Outcome.DECLINED:
        return None
    if answer.outcome in _BAD or answer.latency_ms > SLOW_MS:
        return False
    return True if answer.outcome in _GOOD else None


class Health:
    """What one server process has seen of its rails. Times are monotonic ms.

    It lives in memory and each process learns for itself, which is enough: no money hangs on it.
    The database says what was tried and what came of it; a process that has just started, or
    guesses wrongly, loses a few calls that end as `not_sent` or `unknown` as they would anyway.
    No method awaits, so that callers on one event loop never see it half written.
    """

    __slots__ = ("_breakers", "_limits", "_whole", "_windows")

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._breakers: dict[str, Breaker] = {}
        self._whole: dict[str, _Window] = {}
        self._windows: dict[str, OrderedDict[str, _Window]] = {}

    def record(self, rail: str, bank: str, answer: RailAnswer, now_ms: int) -> None:
        """Take in what came of a call that was to move money; `bank` "" when it is not known."""
        good = verdict(answer)
        breaker = self._breaker(rail)
        if good is not None:
            self._whole.setdefault(rail, _Window()).add(good=good, now_ms=now_ms)
            if bank:
                self._window(rail, bank).add(good=good, now_ms=now_ms)
        elif state_at(breaker, now_ms) is not State.HALF_OPEN:
            return
        # A probe that was declined was answered all the same: the rail is back.
        self._breakers[rail] = record(
            breaker, good=good is not False, now_ms=now_ms, took_ms=answer.latency_ms
        )

    def reading(self, rails: Iterable[str], bank: str, now_ms: int) -> tuple[Reading, ...]:
        """A snapshot of the connected `rails`, in their order.

        Of a bank that nothing was heard of lately the counts are those of all banks together.
        """
        return tuple(self._read(rail, bank, now_ms) for rail in rails)

    def probe(self, rail: str, now_ms: int) -> bool:
        """Take the half-open rail's one place; False when there was none to take."""
        before = self._breaker(rail)
        if not before.opened or not admits(before, now_ms):
            return False
        self._breakers[rail] = probing(before, now_ms)
        return True

    def states(self, now_ms: int) -> list[tuple[str, State, float]]:
        """Of each rail of which a call counted: its name, state, and share of good calls, 0 to 1.

        The share of a rail without a call in the window is 1.
        """
        gauges = []
        for rail, breaker in sorted(self._breakers.items()):
            good, total = _counted(self._whole.get(rail), now_ms)
            share = good / total if total else 1.0
            gauges.append((rail, state_at(breaker, now_ms), share))
        return gauges

    def _breaker(self, rail: str) -> Breaker:
        return self._breakers.get(rail) or Breaker(limits=self._limits)

    def _window(self, rail: str, bank: str) -> "_Window":
        banks = self._windows.setdefault(rail, OrderedDict())
        window = banks.setdefault(bank, _Window())
        banks.move_to_end(bank)
        if len(banks) > MOST_BANKS:
            banks.popitem(last=False)
        return window

    def _read(self, rail: str, bank: str, now_ms: int) -> Reading:
        banks = self._windows.get(rail)
        good, total = _counted(banks.get(bank) if banks else None, now_ms)
        if not total:
            good, total = _counted(self._whole.get(rail), now_ms)
        breaker = self._breaker(rail)
        state = state_at(breaker, now_ms)
        if not admits(breaker, now_ms):
            state = State.OPEN
        return Reading(rail=rail, state=state, good=good, total=total)


class _Window:
    """The latest calls as (when, whether good), oldest first."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[tuple[int, bool]] = deque(maxlen=WINDOW_CALLS)

    def add(self, *, good: bool, now_ms: int) -> None:
        self._calls.append((now_ms, good))

    def count(self, now_ms: int) -> tuple[int, int]:
        """How many were good, and how many there were, within the window's time."""
        calls = self._calls
        while calls and calls[0][0] <= now_ms - WINDOW_MS:
            calls.popleft()
        return sum(good for _, good in calls), len(calls)


def _counted(window: _Window | None, now_ms: int) -> tuple[int, int]:
    return window.count(now_ms) if window else (0, 0)
