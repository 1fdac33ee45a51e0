"""The way to the OTLP collector: bounded in memory and time, and quiet while the collector is away.

What cannot be sent is lost. A payment never waits for it, nor fails by it.
"""

import logging
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from devices.clock import Clock, SystemClock

QUEUE: Final = 8_192
"""Spans that wait at most, some 20 MB; the oldest give way."""
DELAY_MS: Final = 1_000
TIMEOUT_S: Final = 3.0
"""For one batch with all its tries, and so for the stop of a server whose collector is away."""
_QUIET_MS: Final = 60_000
_log: Final = structlog.get_logger("hundi.telemetry")


class _OnceAMinute(logging.Handler):
    """OpenTelemetry's own lines as ours: the first of a minute, as JSON, and no other."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._quiet_until = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock.monotonic_ms()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_MS
            _log.warning("spans.unsent", reason=record.getMessage()[:300])


_THEIRS: Final = logging.getLogger("opentelemetry")
_THEIRS.addHandler(_OnceAMinute(SystemClock()))
_THEIRS.propagate = False


class _Exporter(SpanExporter):
    """Over HTTP; once it is closing, the first batch that fails is the last one that is tried."""

    def __init__(self, url: str) -> None:
        self._otlp = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", timeout=TIMEOUT_S)
        self._failed = False
        self.closing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.closing and self._failed:
            return SpanExportResult.FAILURE
        result = self._otlp.export(spans)
        self._failed = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


class Collector(BatchSpanProcessor):
    """Sends spans in batches from a thread of its own."""

    def __init__(self, url: str) -> None:
        self._exporter = _Exporter(url)
        super().__init__(self._exporter, max_queue_size=QUEUE, schedule_delay_millis=DELAY_MS)

    def shutdown(self) -> None:
        """Send what waits; blocks up to TIMEOUT_S when nobody takes it."""
        self._exporter.closing = True
        super().shutdown()  # type: ignore[no-untyped-call]
