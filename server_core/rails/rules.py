"""What an answer makes of an attempt, and when an unknown one is asked about again. Pure."""

from typing import Final

from server_core.rails.model import Outcome

LANDS: Final[dict[Outcome, str]] = {
    Outcome.SUCCEEDED: "succeeded",
    Outcome.DECLINED: "declined",
    Outcome.REVERSED: "reversed",
    Outcome.NOT_SENT: "not_sent",
    Outcome.NOT_FOUND: "not_sent",
    Outcome.AUTHORIZED: "unknown",
    Outcome.ACTION: "unknown",
    Outcome.UNKNOWN: "unknown",
}
"""The state an attempt ends in. What the rail never took, and never will, was never sent. What is
only set aside, or waits for the payer, has not ended: it is asked about as an unknown one is."""

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


def _paced(wait_ms: int, pace: float) -> int:
    return max(1, int(wait_ms * pace))
