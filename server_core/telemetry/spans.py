"""Spans of payments for OpenTelemetry; a payment's trace id is the bytes of its intent's UUID.

So spans made in other processes or days later join the payment's trace with no context stored.
They hang from one root, whose id is derived from the intent too and which `root` records once.
Attributes are ids, states, codes and names of rails: never a VPA, a name or a token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_LOW_64: Final = (1 << 64) - 1


def root_id(intent: UUID) -> int:
    """The root span's 64-bit id: the half of a UUIDv7 that is random, and so never 0."""
    return intent.int & _LOW_64


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
    """Where spans go. Without `url` every call is one comparison and nothing is made."""

    __slots__ = ("_ids", "_provider", "_tracer")

    def __init__(self, url: str | None, *, service: str = "hundi") -> None:
        self._ids = _Ids()
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if url is not None:
            self._provider = TracerProvider(
                id_generator=self._ids,
                resource=Resource({"service.name": service}),
                shutdown_on_exit=False,
            )
            exporter = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces")
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            self._tracer = self._provider.get_tracer("hundi")

    @property
    def on(self) -> bool:
        return self._tracer is not None

    def root(self, name: str, intent: UUID, start_ms: int, end_ms: int, **facts: str | int) -> None:
        """Record the one root of a payment; times are Unix ms. Only whoever made the intent does."""
        if self._tracer is None:
            return
        self._ids.intent = intent
        try:
            one = self._tracer.start_span(
                name, Context(), attributes=facts, start_time=start_ms * 1_000_000
            )
        finally:
            self._ids.intent = None
        one.end(end_ms * 1_000_000)

    def past(self, name: str, intent: UUID, start_ms: int, end_ms: int, **facts: str | int) -> None:
        """Record a step that is over, under the payment's root; times are Unix ms."""
        if self._tracer is not None:
            self._tracer.start_span(
                name, _under(intent), attributes=facts, start_time=start_ms * 1_000_000
            ).end(end_ms * 1_000_000)

    @contextmanager
    def span(self, name: str, intent: UUID, **facts: str | int) -> Iterator[None]:
        """A step while it lasts, under the payment's root.

        It says nothing of what the step raises: an error's text may tell who pays.
        """
        if self._tracer is None:
            yield
            return
        one = self._tracer.start_span(name, _under(intent), attributes=facts)
        try:
            yield
        finally:
            one.end()

    def close(self) -> None:
        """Send what waits; blocks up to the exporter's deadline, so call it off the loop."""
        if self._provider is not None:
            self._provider.shutdown()


def _under(intent: UUID) -> Context:
    at = SpanContext(intent.int, root_id(intent), is_remote=True, trace_flags=_SAMPLED)
    return set_span_in_context(NonRecordingSpan(at), Context())
