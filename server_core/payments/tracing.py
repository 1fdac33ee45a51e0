"""The spans of a payment: risk, route, ledger, and every word with its rail."""

from uuid import UUID

from server_core.db.work import Work
from server_core.payments.model import Attempt
from server_core.rails.model import RailAnswer
from server_core.telemetry.spans import Fact, Span, Tracing


def decided(work: Work, attempt: Attempt, asked: int, judged: int, routed: int) -> None:
    """Transaction 1, which decides many at once: each is told its batch's times (Unix ms)."""
    if work.tracing.on:
        work.span("risk", attempt.intent, asked, judged, attempt=attempt.number)
        work.span(
            "route", attempt.intent, judged, routed,
            attempt=attempt.number, method=attempt.method, rail=attempt.rail,
        )  # fmt: skip
        work.span("ledger", attempt.intent, routed, attempt=attempt.number)


def called(
    tracing: Tracing, intent: UUID, rail: str | None, call: str, began: int, answer: RailAnswer
) -> None:
    """A call of the rail: `authorize` and `refund` move money, the others hear what became of it."""
    if tracing.on:
        facts: dict[str, Fact] = {
            "rail": rail,
            "call": call,
            "outcome": answer.outcome,
            "code": answer.code,
        }
        tracing.tell([Span("rail", intent, began, tracing.now(), facts)])


def landed(work: Work, attempt: Attempt, began: int) -> None:
    """Transaction 2: what the rail's answer made of the attempt."""
    if work.tracing.on:
        work.span("ledger", attempt.intent, began, attempt=attempt.number, state=attempt.state)
