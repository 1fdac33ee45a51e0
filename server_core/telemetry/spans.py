"""Spans of payments for OpenTelemetry; a payment's trace id is the bytes of its intent's UUID.

So spans made in other processes or days later join the payment's trace with no context stored, and
whoever knows a payment's id (the correlation of its events) finds its trace. They hang from one root,
whose id is derived from the intent too. Attributes are states, codes and names of rails: never a
VPA, a name or a token. Spans are told after their commit, and lost with their process: the events and
the journal are the record, a trace is for looking.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from devices.clock import Clock, SystemClock
from server_core.telemetry.collector import Collector

ENDS: Final = frozenset({"payment.succeeded", "payment.canceled", "payment.expired"})
"""The events that end a payment, and so its root."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_LOW_64: Final = (1 << 64) - 1
Fact = str | int | None


def root_id(intent: UUID) -> int:
    """The root span's 64-bit id: the half of a UUIDv7 that is random, and so never 0."""
    return intent.int & _LOW_64


class Span(NamedTuple):
    """One step of a payment; times are Unix ms, and it lasts until the commit without an end."""

    name: str
    trace: UUID
    began_ms: int
    ended_ms: int | None
    facts: dict[str, Fact]


class _Ids(IdGenerator):
    """Random, but for the root of a payment, whose two ids are the intent's."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.intent: UUID | None = None

    def generate_trace_id(self) -> int:
        return self._random.generate_trace_id() if self.intent is None else self.intent.int

    def generate_span_id(self) -> int:
        return self._random.generate_span_id() if self.intent is None else root_id(self.intent)


class Tracing:
    """Where spans go. Without `url` nothing is made: ask `on` before a span's facts are put together."""

    __slots__ = ("_clock", "_ids", "_provider", "_tracer", "on")

    def __init__(
        self, url: str | None = None, *, clock: Clock | None = None, service: str = "hundi"
    ) -> None:
        self._clock, self._ids = clock or SystemClock(), _Ids()
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self.on = url is not None
        if url is not None:
            self._provider = TracerProvider(
                id_generator=self._ids,
                resource=Resource({"service.name": service}),
                shutdown_on_exit=False,
            )
            self._provider.add_span_processor(Collector(url))
            self._tracer = self._provider.get_tracer("hundi")

    def now(self) -> int:
        """Unix ms; 0 when nothing is made of it."""
        return self._clock.now_ms() if self.on else 0

    def tell(self, spans: Sequence[Span]) -> None:
        """Record steps that are over, each under its payment's root."""
        if self._tracer is None:
            return
        now_ms = self._clock.now_ms()
        for one in spans:
            ended = now_ms if one.ended_ms is None else one.ended_ms
            facts = {key: value for key, value in one.facts.items() if value is not None}
            self._tracer.start_span(
                one.name, _under(one.trace), attributes=facts, start_time=one.began_ms * 1_000_000
            ).end(max(ended, one.began_ms) * 1_000_000)

    def root(self, intent: UUID, outcome: str) -> None:
        """Record the root of a payment that has ended, from the intent's making until now."""
        if self._tracer is None:
            return
        began_ms = intent.int >> 80  # a UUIDv7 begins with its Unix ms
        self._ids.intent = intent
        try:
            one = self._tracer.start_span(
                "payment",
                Context(),
                attributes={"outcome": outcome},
                start_time=began_ms * 1_000_000,
            )
        finally:
            self._ids.intent = None
        one.end(max(self._clock.now_ms(), began_ms) * 1_000_000)

    def close(self) -> None:
        """Send what waits; blocks up to the exporter's deadline, so call it off the loop."""
        if self._provider is not None:
            self._provider.shutdown()


OFF: Final = Tracing()
"""Traces nothing."""


def _under(intent: UUID) -> Context:
    at = SpanContext(intent.int, root_id(intent), is_remote=True, trace_flags=_SAMPLED)
    return set_span_in_context(NonRecordingSpan(at), Context())
