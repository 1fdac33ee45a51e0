"""What is counted of payments for Prometheus, once it is committed."""

from server_core.db.work import Work
from server_core.payments import rules
from server_core.payments.model import OPEN, Attempt, Intent
from server_core.telemetry import metrics

for _kind in ("contradicted", "conflicted", "stray"):
    # There from the start at 0: an alert on growth does not see a series that begins at 1.
    metrics.counter(metrics.DUPLICATES, _kind)


def begun(work: Work, attempt: Attempt) -> None:
    """A payer pays; over the ledger alone that is the end of it too."""
    work.count(metrics.CONFIRMS, attempt.method)
    ended(work, attempt)


def ended(work: Work, attempt: Attempt) -> None:
    """An attempt has ended; one that is open is none of these."""
    if attempt.state not in OPEN:
        work.count(metrics.ATTEMPTS, attempt.rail or "book", attempt.operation, attempt.state)


def challenged(work: Work, intent: Intent) -> None:
    """The payer is asked to act before anything moves."""
    action = rules.action_type(intent)
    if action is not None:
        work.count(metrics.CHALLENGES, action)


def doubted(work: Work, kind: str) -> None:
    """Money may have moved twice, or not as it was told.

    `contradicted`: a rail denies how an attempt ended. `conflicted`: it still does when asked.
    `stray`: it took money that no payment waits for.
    """
    work.count(metrics.DUPLICATES, kind)
