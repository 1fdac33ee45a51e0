"""When a rail is asked again, when it is to reverse, and what is owed when that was late. Pure."""

from typing import Final

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE

FIRST_CHECK_MS: Final = 90 * _SECOND
EARLY_CHECKS_MS: Final = (FIRST_CHECK_MS, 15 * _MINUTE, _HOUR)
LATE_CHECKS_FROM_MS: Final = 2 * _HOUR
LATE_CHECKS_EVERY_MS: Final = _HOUR
"""NPCI's quota on checking a transaction's status (circular of 21 May 2025 on API use, as the
press reports it): at most 3 in the first 2 hours, the first not before 90 s after the
authentication. The hourly pace after that is ours."""

REVERSE_AFTER_MS: Final = 22 * _HOUR
"""RBI/2019-20/67 (20 Sep 2019): a debit without a credit is reversed by T+1, the end of the next
calendar day. A debit of the last second of T leaves 24 h; two hours of them are for reversing."""


def next_status_check(started_ms: int, asked: int, now_ms: int, *, pace: float = 1.0) -> int:
    """When to ask again, in Unix ms, after `asked` unknown answers (the first is authorize's own).

    An ask that is overdue does not make the next one come sooner than the quota allows. `pace`
    below 1 shortens every wait alike, for a sandbox whose switch has no quota. There is no last
    ask: what is still unknown after `is_over` is reversed, and the reversal is asked for hourly.
    """
    checks = max(asked, 1) - 1
    if checks < len(EARLY_CHECKS_MS):
        after, gap = EARLY_CHECKS_MS[checks], FIRST_CHECK_MS
    else:
        after, gap = LATE_CHECKS_FROM_MS, LATE_CHECKS_EVERY_MS
    return max(started_ms + _paced(after, pace), now_ms + _paced(gap, pace))


def is_over(started_ms: int, now_ms: int, *, pace: float = 1.0) -> bool:
    """Whether an unknown attempt is to be reversed rather than asked about once more."""
    return now_ms >= started_ms + _paced(REVERSE_AFTER_MS, pace)


ACTION_CHECKS_MS: Final = (30 * _SECOND, _MINUTE, 2 * _MINUTE, 5 * _MINUTE)
"""While the payer acts on a bank's page or in an app. NPCI's quota is on a transaction that was
authenticated: here there is none yet."""


def next_action_check(started_ms: int, asked: int, now_ms: int, *, pace: float = 1.0) -> int:
    """When to ask again whether the payer has acted, in Unix ms; every 5 minutes in the end."""
    wait = ACTION_CHECKS_MS[min(asked, len(ACTION_CHECKS_MS) - 1)]
    return max(started_ms, now_ms) + _paced(wait, pace)


LATE_PER_DAY_MINOR: Final = 100_00
"""RBI/2019-20/67: 100 rupees for each day of delay, unasked, for domestic payments."""

_IST_MS: Final = int(5.5 * _HOUR)
_DAY_MS: Final = 24 * _HOUR


def days_late(started_ms: int, given_back_ms: int, *, days_allowed: int) -> int:
    """By how many days a reversal was late: `days_allowed` is n of T+n, T the Indian day of the debit."""
    return max(0, _indian_day(given_back_ms) - _indian_day(started_ms) - days_allowed)


def _indian_day(ms: int) -> int:
    return (ms + _IST_MS) // _DAY_MS


def _paced(wait_ms: int, pace: float) -> int:
    return max(1, int(wait_ms * pace))
