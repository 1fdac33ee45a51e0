"""Metrics for Prometheus: what this process counted, and how rails and queues stand now."""

from typing import Any

from litestar import Request, get
from litestar.response import Response

from bff import readings
from bff.auth import core_of


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[str]:
    """Prometheus text, also while PostgreSQL is away. For the inside: a proxy keeps it there."""
    return Response(
        await readings.take(core_of(request)),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )
