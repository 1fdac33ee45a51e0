"""Which rail carries a payment, and why: decided from numbers alone, so that it can be decided again."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from server_core.rails.breaker import State
from server_core.rails.health import Reading
from server_core.rails.traits import TRAITS

ON_US: Final = "book"
HEDGE: Final = 50
"""Of a thousand payments, those that try the second best, lest nobody learns that it is better."""

PRIOR: Final = 20
"""A rail counts as good as nineteen of twenty before anything is known of it."""


class Reason(StrEnum):
    """Why a rail was chosen, or none could be."""

    ON_US = "on_us"
    ONLY_ONE = "only_one"
    PREFERRED = "preferred"
    PROBE = "probe"
    HEDGE = "hedge"
    BEST_SCORE = "best_score"
    UNKNOWN_METHOD = "unknown_method"
    CURRENCY = "currency"
    CAPTURE = "capture"
    AMOUNT = "amount"
    NOT_CONNECTED = "not_connected"
    TRIED = "tried"
    BREAKER_OPEN = "breaker_open"


class Why(StrEnum):
    """What stands against a candidate, or nothing."""

    ELIGIBLE = "eligible"
    PROBE = "probe"
    TRIED = "tried"
    BREAKER_OPEN = "breaker_open"


class Ask(Struct, frozen=True, kw_only=True):
    """What is to be paid: `bank` is whose health counts, `tried` what was not reached already.

    `preferred` are the payee's own wishes, the first the dearest; `amount` and `most`, what the
    method carries at most, are in minor units.
    """

    method: str
    currency: str
    amount: int
    bank: str
    captures_later: bool
    most: int | None = None
    preferred: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()


class Candidate(Struct, frozen=True, kw_only=True):
    """A rail as it was weighed; `score` is its expected success, of a thousand."""

    rail: str
    why: Why
    score: int


class Decision(Struct, frozen=True, kw_only=True):
    """The rail, None when the ledger alone suffices or none can be taken, and how all were weighed."""

    rail: str | None
    reason: Reason
    candidates: tuple[Candidate, ...] = ()


def decide(ask: Ask, readings: Sequence[Reading], draw: int) -> Decision:
    """The way for a payment; never raises. `draw` is 0 to 999, drawn by the caller."""
    refused = _not_at_all(ask)
    if refused is not None:
        return Decision(rail=None, reason=refused)
    weighed = tuple(_weigh(ask, one) for one in readings)
    probes = [one for one in weighed if one.why is Why.PROBE]
    able = sorted(
        (one for one in weighed if one.why is Why.ELIGIBLE), key=lambda one: (-one.score, one.rail)
    )
    if probes and (not able or draw < HEDGE):
        return Decision(rail=probes[0].rail, reason=Reason.PROBE, candidates=weighed)
    if not able:
        return Decision(rail=None, reason=_why_none(weighed), candidates=weighed)
    chosen, reason = _best(ask, able, draw)
    return Decision(rail=chosen.rail, reason=reason, candidates=weighed)


def stored(ask: Ask, readings: Sequence[Reading], draw: int, decision: Decision) -> dict[str, Any]:
    """The decision and all that it was made of, for JSON."""
    return {
        "v": 1,
        "ask": asdict(ask),
        "readings": [asdict(one) for one in readings],
        "draw": draw,
        "rail": decision.rail,
        "reason": decision.reason,
    }


def replay(record: Mapping[str, Any]) -> Decision:
    """Decide again by what was stored; a decision that differs was not made by these rules."""
    said = dict(record["ask"])
    ask = Ask(**said | {name: tuple(said[name]) for name in ("preferred", "tried")})
    readings = [Reading(**one | {"state": State(one["state"])}) for one in record["readings"]]
    return decide(ask, readings, record["draw"])


def _not_at_all(ask: Ask) -> Reason | None:
    if ask.method == ON_US:
        return Reason.ON_US
    traits = TRAITS.get(ask.method)
    if traits is None:
        return Reason.UNKNOWN_METHOD
    if ask.currency not in traits.currencies:
        return Reason.CURRENCY
    if ask.captures_later and not traits.captures_later:
        return Reason.CAPTURE
    return Reason.AMOUNT if ask.most is not None and ask.amount > ask.most else None


def _weigh(ask: Ask, one: Reading) -> Candidate:
    if one.rail in ask.tried:
        why = Why.TRIED
    elif one.state is State.OPEN:
        why = Why.BREAKER_OPEN
    else:
        why = Why.PROBE if one.state is State.HALF_OPEN else Why.ELIGIBLE
    score = 1000 * (one.good + PRIOR - 1) // (one.total + PRIOR)
    return Candidate(rail=one.rail, why=why, score=score)


def _why_none(weighed: Sequence[Candidate]) -> Reason:
    if not weighed:
        return Reason.NOT_CONNECTED
    shut = any(one.why is Why.BREAKER_OPEN for one in weighed)
    return Reason.BREAKER_OPEN if shut else Reason.TRIED


def _best(ask: Ask, able: Sequence[Candidate], draw: int) -> tuple[Candidate, Reason]:
    if len(able) == 1:
        return able[0], Reason.ONLY_ONE
    healthy = [one for one in able if 2 * one.score >= able[0].score]
    for rail in ask.preferred:
        for one in healthy:
            if one.rail == rail:
                return one, Reason.PREFERRED
    if draw < HEDGE:
        return able[1], Reason.HEDGE
    return able[0], Reason.BEST_SCORE
