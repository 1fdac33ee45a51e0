"""What becomes of an order: steered by a word of it, or drawn from the seed. Pure."""

import math
from dataclasses import replace
from typing import Final

from devices.entropy import SeededEntropy
from server_core.sandbox.dialects import CARD, NETBANKING, UPI, Dialect
from server_core.sandbox.model import FOR_EVER, Behaviour, Delivery, Fate, Order

WORDS: Final[dict[str, str]] = {
    "decline.CODE": "refused with CODE, such as {no}; nothing is debited",
    "deemed": "answers {deemed}; status says {ok} at once, deemed.N after N more asks",
    "unknown": "the same as deemed",
    "pending": "answers {pending}; status says {ok} at once, pending.N after N more asks",
    "check.CODE": "answers CODE, such as {failed}, although it was debited; status says {ok}",
    "fails": "answers {failed} and debits nothing; status says {no}",
    "stuck": "answers {deemed}, and so does status for ever; only a reversal ends it",
    "returned": "answers {deemed}; the debit has been given back by the first status ask",
    "timeout": "debits and holds the answer for hold_ms; status says {ok}",
    "late": "debits, the answer is lost (504); status says {pending} once (late.N: N times), then {ok}",
    "lost": "the request is lost (504): never recorded, never debited; status: not found",
    "slow": "as ever, 3 s later; slow.MS by so many milliseconds, at most 60000",
    "contradict": "answers {no}, but debits; status says {ok}",
    "garbage": "debits and answers what is not JSON; status says {ok}",
    "oversized": "debits and answers a megabyte; status says {ok}",
    "wrongid": "debits and answers about another transaction; status says {ok}",
}
"""What steers, in any case: the payer VPA's local part, what follows a token's `tok_` (joined by
`_`), a bank's code, or the whole note of a refund. At a bank the codes follow on the payer's yes."""

UNKNOWN_MIX: Final = (("deemed", 40), ("late", 25), ("timeout", 20), ("lost", 10), ("fails", 5))
"""What drawn unknowns consist of, by weight. Plausible, not measured."""

LATENCY_SIGMA: Final = 0.45
"""Of the log-normal latency: p95 at about twice the median, p99 at about three times."""

_SPOILT: Final = frozenset({Delivery.GARBAGE, Delivery.OVERSIZED, Delivery.WRONG_ID})


def help_for(dialect: Dialect) -> dict[str, str]:
    """Every steering word as this door takes it, with what it does."""
    spoken = {name: getattr(dialect, name) for name in ("ok", "no", "deemed", "pending", "failed")}
    return {dialect.show(word): text.format(**spoken) for word, text in WORDS.items()}


def fate(order: Order, behaviour: Behaviour, dialect: Dialect) -> Fate:
    """Steering first; else a draw that depends on the seed and the order's id alone."""
    steered_by = steered(order.word, dialect)
    if steered_by is not None:
        return steered_by
    drawn = SeededEntropy(f"{behaviour.seed}:fate:{order.id}")
    at = drawn.unit()
    if at < behaviour.decline_rate:
        return declined(_pick(dialect.declines, drawn.below(100)))
    if at < behaviour.decline_rate + behaviour.unknown_rate:
        return _PLAIN[dialect.shown][_pick(UNKNOWN_MIX, drawn.below(100))]
    return Fate(code=dialect.ok, later=dialect.ok)


def mangling(word: str, dialect: Dialect) -> Delivery:
    """How answers to a repeat of the request are spoilt; a repeat is neither slow nor held."""
    one = steered(word, dialect)
    return one.delivery if one is not None and one.delivery in _SPOILT else Delivery.PROMPT


def latency_ms(behaviour: Behaviour, key: str, verb: str) -> int:
    """Log-normal around the median (Box-Muller over two draws); repeatable per seed, id and verb."""
    drawn = SeededEntropy(f"{behaviour.seed}:{verb}:{key}")
    normal = math.sqrt(-2 * math.log(1 - drawn.unit())) * math.cos(math.tau * drawn.unit())
    return round(behaviour.latency_median_ms * math.exp(LATENCY_SIGMA * normal))


def rrn(now_ms: int, sequence: int) -> str:
    """12 digits, as switches build them: last digit of the year, day of the year, hour, sequence.

    In Indian time (UTC+5:30, which has no summer time).
    """
    days, in_day_ms = divmod(now_ms + 19_800_000, 86_400_000)
    year, day = _year_and_day(days)
    return f"{year % 10}{day:03d}{in_day_ms // 3_600_000:02d}{sequence % 1_000_000:06d}"


def _year_and_day(days: int) -> tuple[int, int]:
    year = 1970
    while days >= (length := 366 if _is_leap(year) else 365):
        days, year = days - length, year + 1
    return year, days + 1


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _plain(d: Dialect) -> dict[str, Fate]:
    def paid(delivery: Delivery, extra_ms: int = 0) -> Fate:
        return Fate(code=d.ok, later=d.ok, delivery=delivery, extra_ms=extra_ms)

    return {
        "stuck": Fate(code=d.deemed, later=d.deemed, asks=FOR_EVER),
        "returned": Fate(code=d.deemed, later=d.deemed, returns=True),
        "fails": Fate(code=d.failed, later=d.no, debited=False),
        "contradict": Fate(code=d.no, later=d.ok),
        "timeout": paid(Delivery.HELD),
        "lost": Fate(code=d.ok, later=d.ok, debited=False, delivery=Delivery.LOST_REQUEST),
        "garbage": paid(Delivery.GARBAGE),
        "oversized": paid(Delivery.OVERSIZED),
        "wrongid": paid(Delivery.WRONG_ID),
        "deemed": Fate(code=d.deemed, later=d.ok),
        "unknown": Fate(code=d.deemed, later=d.ok),
        "pending": Fate(code=d.pending, later=d.ok),
        "late": Fate(code=d.pending, later=d.ok, asks=1, delivery=Delivery.LOST_ANSWER),
        "slow": paid(Delivery.SLOW, 3_000),
    }


_PLAIN: Final = {one.shown: _plain(one) for one in (UPI, CARD, NETBANKING)}


def steered(text: str, dialect: Dialect) -> Fate | None:
    """The fate that a word asks for; None when it is no steering word."""
    word, _, rest = text.lower().partition(".")
    if word in {"decline", "check"}:
        code = rest.upper()
        if not dialect.code.fullmatch(code):
            return None
        return declined(code) if word == "decline" else Fate(code=code, later=dialect.ok)
    plain = _PLAIN[dialect.shown].get(word)
    if plain is None or not rest:
        return plain
    number = _number(rest)
    if number is None:
        return None
    if word == "slow":
        return replace(plain, extra_ms=min(number, 60_000))
    return replace(plain, asks=number) if word in {"late", "deemed", "pending"} else None


def declined(code: str) -> Fate:
    return Fate(code=code, later=code, debited=False)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _pick(mix: tuple[tuple[str, int], ...], at: int) -> str:
    for name, weight in mix:
        at -= weight
        if at < 0:
            return name
    raise AssertionError("the weights make 100")
