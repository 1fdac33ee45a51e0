"""What becomes of a transaction: steered by the payer's VPA, or drawn from the seed. Pure."""

import math
import re
from typing import Final

from devices.entropy import SeededEntropy
from server_core.sandbox.model import FOR_EVER, Behaviour, Delivery, Fate, Order

HELP: Final[dict[str, str]] = {
    "decline.CODE@bank": "refused with CODE, such as Z9; nothing is debited",
    "deemed@bank": "answers RB; status says 00 at once, deemed.N after N asks that still say RB",
    "pending@bank": "answers 01; status says 00 at once, pending.N after N asks that still say 01",
    "check.CODE@bank": "answers CODE, such as U30, although it was debited; status says 00",
    "fails@bank": "answers U30 and debits nothing; status says Z9",
    "stuck@bank": "answers RB, and so does status for ever; only a reversal ends it",
    "returned@bank": "answers RB; the switch has given the debit back by the first status ask",
    "timeout@bank": "debits and holds the answer for hold_ms; status says 00",
    "late@bank": "debits, the answer is lost (504); status says 01 once (late.N: N times), then 00",
    "lost@bank": "the request is lost (504): never recorded, never debited; status: not found",
    "slow@bank": "as ever, 3 s later; slow.MS by so many milliseconds, at most 60000",
    "contradict@bank": "answers Z9, but debits; status says 00",
    "garbage@bank": "debits and answers what is not JSON; status says 00",
    "oversized@bank": "debits and answers a megabyte; status says 00",
    "wrongid@bank": "debits and answers about another transaction; status says 00",
}
"""The payer VPA's local part before the first dot steers; case does not matter."""

DECLINE_MIX: Final = (
    ("Z9", 50),
    ("ZA", 20),
    ("ZM", 12),
    ("Z8", 8),
    ("59", 5),
    ("XH", 3),
    ("YE", 2),
)
UNKNOWN_MIX: Final = (("deemed", 40), ("late", 25), ("timeout", 20), ("lost", 10), ("fails", 5))
"""What drawn declines and unknowns consist of, by weight. Plausible, not measured."""

LATENCY_SIGMA: Final = 0.45
"""Of the log-normal latency: p95 at about twice the median, p99 at about three times."""

_CODE: Final = re.compile(r"[A-Z0-9]{2,4}")


def fate(order: Order, behaviour: Behaviour) -> Fate:
    """Steering first; else a draw that depends on the seed and the transaction's id alone."""
    steered = _steered(order.payer_vpa)
    if steered is not None:
        return steered
    drawn = SeededEntropy(f"{behaviour.seed}:fate:{order.txn_id}")
    at = drawn.unit()
    if at < behaviour.decline_rate:
        return _declined(_pick(DECLINE_MIX, drawn.below(100)))
    if at < behaviour.decline_rate + behaviour.unknown_rate:
        return _PLAIN[_pick(UNKNOWN_MIX, drawn.below(100))]
    return Fate()


def mangling(payer_vpa: str) -> Delivery:
    """How answers to a repeat of the request are spoilt; a repeat is neither slow nor held."""
    steered = _steered(payer_vpa)
    if steered is not None and steered.delivery in {
        Delivery.GARBAGE,
        Delivery.OVERSIZED,
        Delivery.WRONG_ID,
    }:
        return steered.delivery
    return Delivery.PROMPT


def latency_ms(behaviour: Behaviour, txn_id: str, verb: str) -> int:
    """Log-normal around the median (Box-Muller over two draws); repeatable per seed, id and verb."""
    drawn = SeededEntropy(f"{behaviour.seed}:{verb}:{txn_id}")
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


_PLAIN: Final[dict[str, Fate]] = {
    "stuck": Fate(code="RB", later="RB", asks=FOR_EVER),
    "returned": Fate(code="RB", later="RB", returns=True),
    "fails": Fate(code="U30", later="Z9", debited=False),
    "contradict": Fate(code="Z9", later="00"),
    "timeout": Fate(delivery=Delivery.HELD),
    "lost": Fate(debited=False, delivery=Delivery.LOST_REQUEST),
    "garbage": Fate(delivery=Delivery.GARBAGE),
    "oversized": Fate(delivery=Delivery.OVERSIZED),
    "wrongid": Fate(delivery=Delivery.WRONG_ID),
    "deemed": Fate(code="RB"),
    "pending": Fate(code="01"),
    "late": Fate(code="01", asks=1, delivery=Delivery.LOST_ANSWER),
    "slow": Fate(delivery=Delivery.SLOW, extra_ms=3_000),
}


def _steered(payer_vpa: str) -> Fate | None:
    word, _, rest = payer_vpa.partition("@")[0].lower().partition(".")
    if word in {"decline", "check"}:
        code = rest.upper()
        if not _CODE.fullmatch(code):
            return None
        return _declined(code) if word == "decline" else Fate(code=code)
    if not rest:
        return _PLAIN.get(word)
    number = _number(rest)
    if number is None:
        return None
    if word == "slow":
        return Fate(delivery=Delivery.SLOW, extra_ms=min(number, 60_000))
    if word == "late":
        return Fate(code="01", asks=number, delivery=Delivery.LOST_ANSWER)
    if word in {"deemed", "pending"}:
        return Fate(code=_PLAIN[word].code, asks=number)
    return None


def _declined(code: str) -> Fate:
    return Fate(code=code, later=code, debited=False)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _pick(mix: tuple[tuple[str, int], ...], at: int) -> str:
    for name, weight in mix:
        at -= weight
        if at < 0:
            return name
    raise AssertionError("the weights make 100")
