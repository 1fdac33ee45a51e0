"""How each rail has been doing, by bank: what the router chooses by."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from server_core.rails import breaker
from server_core.rails.breaker import Breaker, State
from server_core.rails.model import Outcome, RailAnswer

WINDOW: Final = 125
"""Answers that count, as routers of the field keep them."""

WINDOW_MS: Final = 30 * 60 * 1000
MAX_BANKS: Final = 256
"""Of one rail; the one that nobody paid from for longest is forgotten first."""

SLOW_MS: Final = 5_000
_GOOD: Final = frozenset({Outcome.SUCCEEDED, Outcome.AUTHORIZED, Outcome.ACTION})
_BAD: Final = frozenset({Outcome.NOT_SENT, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One rail at one instant, for one bank: of `total` answers that count, `good` were good.

    `free` says whether its breaker lets a call through.
    """

    rail: str
    state: State
    free: bool
    good: int
    total: int


class Health:
    """Windows and breakers of one server process, in memory.

    Each process learns for itself, and forgets when it ends: nothing of money hangs on it, a rail that is
    wrongly tried answers for itself.
    """

    __slots__ = ("_breakers", "_windows")

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}
        self._windows: dict[str, OrderedDict[str, deque[tuple[int, bool]]]] = {}

    def record(self, rail: str, bank: str, answer: RailAnswer, now_ms: int) -> None:
        """Count an answer. A decline is the payer's and counts for nothing, unless it was slow."""
        slow = answer.latency_ms >= SLOW_MS
        if answer.outcome not in _GOOD | _BAD and not slow:
            return
        good = answer.outcome in _GOOD and not slow
        known = self._breakers.get(rail, Breaker())
        self._breakers[rail] = breaker.record(known, good=good, now_ms=now_ms)
        banks = self._windows.setdefault(rail, OrderedDict())
        banks.setdefault(bank, deque(maxlen=WINDOW)).append((now_ms, good))
        banks.move_to_end(bank)
        if len(banks) > MAX_BANKS:
            banks.popitem(last=False)

    def reading(self, rails: Sequence[str], bank: str, now_ms: int) -> tuple[Reading, ...]:
        """How they stand for that bank, in the order given."""
        return tuple(self._reading(rail, bank, now_ms) for rail in rails)

    def probe(self, rail: str, now_ms: int) -> None:
        """The call that is about to go is the half-open breaker's one probe."""
        self._breakers[rail] = breaker.probing(self._breakers.get(rail, Breaker()), now_ms)

    def _reading(self, rail: str, bank: str, now_ms: int) -> Reading:
        banks = self._windows.get(rail)
        window = banks.get(bank, ()) if banks else ()
        counted = [good for at, good in window if at > now_ms - WINDOW_MS]
        known = self._breakers.get(rail, Breaker())
        return Reading(
            rail=rail,
            state=breaker.state(known, now_ms),
            free=breaker.admits(known, now_ms),
            good=sum(counted),
            total=len(counted),
        )
