"""Metrics for Prometheus: the event log's consumers, and what this process counted. No personal data."""

from typing import Any

from litestar import Request, get
from litestar.response import Response

from bff.auth import core_of
from server_core.events import lag, store
from server_core.telemetry import metrics as counted


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[str]:
    """503 db.unreachable while PostgreSQL does not answer. For the inside: a proxy keeps it there."""
    core = core_of(request)
    async with core.db.reader() as reader:
        lags, head = await lag.read(reader), await store.head(reader)
    return Response(
        lag.metrics(lags, core.db.cell, head) + counted.text(),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )
