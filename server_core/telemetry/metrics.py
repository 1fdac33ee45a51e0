"""Numbers for Prometheus: one private registry of this process, every name in one place.

Label values come from bounded sets (route templates, codes, rail names), never from a caller's
text: a series a path would fill the memory of whoever scrapes. docs/observability.md says what
each number means and what to do about it.
"""

from functools import cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use

REGISTRY: Final = CollectorRegistry()
_LONG: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
"""Seconds: a rail has 15 of them to answer."""


def _counter(name: str, said: str, *labels: str) -> Counter:
    return Counter(name, said, labels, registry=REGISTRY)


def _gauge(name: str, said: str, *labels: str) -> Gauge:
    return Gauge(name, said, labels, registry=REGISTRY)


# Requests, jobs.
HTTP_REQUESTS: Final = _counter(
    "hundi_http_requests", "Requests answered, by route template.", "route", "method", "status"
)
HTTP_SECONDS: Final = Histogram(
    "hundi_http_request_seconds", "How long requests took.", ("route", "method"), registry=REGISTRY
)
OPERATIONS: Final = _counter(
    "hundi_graphql_operations", "GraphQL operations executed, by root field.",
    "kind", "field", "outcome",
)  # fmt: skip
OPERATION_SECONDS: Final = Histogram(
    "hundi_graphql_operation_seconds", "How long queries and mutations took.",
    ("kind", "field"), registry=REGISTRY,
)  # fmt: skip
JOB_TICKS: Final = _counter("hundi_jobs_ticks", "Ticks of jobs.", "name", "outcome")
JOB_SECONDS: Final = Histogram(
    "hundi_jobs_tick_seconds", "How long ticks took.", ("name",), registry=REGISTRY
)

# What was committed. A Work counts these, and they are told of once it is.
EVENTS: Final = _counter("hundi_events", "Events committed.", "type")
CONFIRMS: Final = _counter("hundi_confirms", "Attempts to pay that were begun.", "method")
ATTEMPTS: Final = _counter(
    "hundi_attempts", "Attempts that ended; rail `book` is the ledger alone.",
    "rail", "operation", "outcome",
)  # fmt: skip
CHALLENGES: Final = _counter("hundi_challenges", "Attempts whose payer had to act first.", "action")
DUPLICATES: Final = _counter(
    "hundi_duplicates_suspected", "Signs that money moved twice, or not as was told.", "kind"
)
IDEMPOTENCY: Final = _counter("hundi_idempotency", "Keys claimed, by what was found.", "found")

# Rails.
RAIL_CALLS: Final = _counter(
    "hundi_rail_calls", "Calls of rails, by what they answered.", "rail", "operation", "outcome"
)
RAIL_SECONDS: Final = Histogram(
    "hundi_rail_call_seconds", "How long rails took.",
    ("rail", "operation"), registry=REGISTRY, buckets=_LONG,
)  # fmt: skip

# Read from this process when it is scraped.
RAIL_STATE: Final = _gauge(
    "hundi_rail_health", "1 at the state that the rail's breaker is in, else 0.", "rail", "state"
)
RAIL_SUCCESS: Final = _gauge(
    "hundi_rail_success_ratio", "Share of a rail's recent calls that went well.", "rail"
)
QUEUE: Final = _gauge("hundi_queue_waiting", "Commands that wait for their batch.", "queue")
DATABASE_UP: Final = _gauge("hundi_database_up", "Whether PostgreSQL answered.", "cell")

# Read from the database when it is scraped.
EVENT_HEAD: Final = _gauge("hundi_event_head", "The number of the newest event.", "cell")
EVENT_POSITION: Final = _gauge(
    "hundi_event_position", "The last event that the consumer has done with.", "cell", "consumer"
)
EVENT_LAG: Final = _gauge(
    "hundi_event_lag", "Events that the consumer has not done with.", "cell", "consumer"
)
EVENT_LAG_SECONDS: Final = _gauge(
    "hundi_event_lag_seconds", "Age of the first event that the consumer has not done with.",
    "cell", "consumer",
)  # fmt: skip
ATTEMPTS_OPEN: Final = _gauge(
    "hundi_attempts_open", "Attempts that have not ended.", "cell", "rail", "state"
)
ATTEMPTS_OLDEST: Final = _gauge(
    "hundi_attempts_open_oldest_seconds", "Age of the oldest of them.", "cell", "rail", "state"
)
REFUNDS_OPEN: Final = _gauge("hundi_refunds_open", "Refunds without a clear answer.", "cell")
REFUNDS_OLDEST: Final = _gauge(
    "hundi_refunds_open_oldest_seconds", "Age of the oldest of them.", "cell"
)
CONFLICTED: Final = _gauge(
    "hundi_intents_conflicted", "Paid intents whose rail denies the payment.", "cell"
)
STRAYS_OPEN: Final = _gauge("hundi_strays_open", "Strays that are not given back yet.", "cell")
STRAYS_OLDEST: Final = _gauge(
    "hundi_strays_open_oldest_seconds", "Age of the oldest of them.", "cell"
)
WEBHOOKS_DUE: Final = _gauge("hundi_webhooks_due", "Webhook messages to be sent now.", "cell")
WEBHOOKS_OLDEST: Final = _gauge(
    "hundi_webhooks_due_oldest_seconds", "For how long the first of them has been due.", "cell"
)
TERMINALS_OVERDUE: Final = _gauge(
    "hundi_terminals_overdue", "Active terminals that have not synced for two days.", "cell"
)
SYNC_OLDEST: Final = _gauge(
    "hundi_terminal_sync_oldest_seconds", "Time since the sync of the active terminal that is"
    " longest without one.", "cell",
)  # fmt: skip
KEYS_HELD: Final = _gauge(
    "hundi_idempotency_keys", "Keys remembered, as PostgreSQL's statistics estimate.", "cell"
)

READ: Final = (
    EVENT_HEAD, EVENT_POSITION, EVENT_LAG, EVENT_LAG_SECONDS, ATTEMPTS_OPEN, ATTEMPTS_OLDEST,
    REFUNDS_OPEN, REFUNDS_OLDEST, CONFLICTED, STRAYS_OPEN, STRAYS_OLDEST, WEBHOOKS_DUE,
    WEBHOOKS_OLDEST, TERMINALS_OVERDUE, SYNC_OLDEST, KEYS_HELD,
)  # fmt: skip
"""What only the database knows: forgotten while it does not answer."""


@cache
def counter(of: Counter, *labels: str) -> Counter:
    """The series of `of` with these labels, kept: `labels()` costs ten times as much as `inc()`."""
    return of.labels(*labels)


@cache
def timer(of: Histogram, *labels: str) -> Histogram:
    return of.labels(*labels)


def text() -> str:
    """Everything that this process counted and last read, as Prometheus text (format 0.0.4)."""
    return generate_latest(REGISTRY).decode()
