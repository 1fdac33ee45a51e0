"""Numbers for Prometheus, counted in this process: one private registry, every name in one place.

Label values come from bounded sets (route templates, codes, rail names), never from a caller's
text: a series a path would fill the memory of whoever scrapes.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()

HTTP_REQUESTS: Final = Counter(
    "hundi_http_requests", "Requests answered, by route template.",
    ("route", "method", "status"), registry=REGISTRY,
)  # fmt: skip
HTTP_SECONDS: Final = Histogram(
    "hundi_http_request_seconds", "How long requests took.", ("route", "method"), registry=REGISTRY
)
JOB_TICKS: Final = Counter(
    "hundi_jobs_ticks", "Ticks of jobs, by how they ended.", ("job", "outcome"), registry=REGISTRY
)
JOB_SECONDS: Final = Histogram(
    "hundi_jobs_tick_seconds", "How long ticks took.", ("job",), registry=REGISTRY
)
RAIL_STATE: Final = Gauge(
    "hundi_rail_health", "1 at the state that the rail's breaker is in, else 0.",
    ("rail", "state"), registry=REGISTRY,
)  # fmt: skip
RAIL_SUCCESS: Final = Gauge(
    "hundi_rail_success_ratio", "Share of a rail's recent calls that were answered.",
    ("rail",), registry=REGISTRY,
)  # fmt: skip
IDEMPOTENCY: Final = Counter(
    "hundi_idempotency", "Keys claimed, by what was found.", ("found",), registry=REGISTRY
)

_states: dict[str, str] = {}


def rail_health(rail: str, state: str, success_rate: float) -> None:
    """What the router's breaker thinks of a rail; `success_rate` is 0 to 1."""
    before = _states.get(rail)
    if before is not None and before != state:
        RAIL_STATE.labels(rail, before).set(0)
    _states[rail] = state
    RAIL_STATE.labels(rail, state).set(1)
    RAIL_SUCCESS.labels(rail).set(success_rate)


def text() -> str:
    """Everything that this process counted, as Prometheus text (format 0.0.4)."""
    return generate_latest(REGISTRY).decode()
