"""Metrics for Prometheus: how far the event log's consumers are behind. No personal data."""

from typing import Any

from litestar import Request, get
from litestar.response import Response

from bff.auth import core_of
from server_core.events import lag, store


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[str]:
    """503 db.unreachable while PostgreSQL does not answer. For the inside: a proxy keeps it there."""
    core = core_of(request)
    async with core.db.reader() as reader:
        lags, head = await lag.read(reader), await store.head(reader)
    return Response(
        lag.metrics(lags, core.db.cell, head), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
