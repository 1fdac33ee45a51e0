"""Counts and times every HTTP request by its route's template, never by its path."""

from typing import cast

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from devices.clock import Clock
from server_core.telemetry import metrics


class Measuring(ASGIMiddleware):
    """What matches no route does not come here: strangers cannot make series."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        began, status = self._clock.monotonic_ms(), 500

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await next_app(scope, receive, heard)
        finally:
            route, method = scope["path_template"], cast("HTTPScope", scope)["method"]
            metrics.counter(metrics.HTTP_REQUESTS, route, method, str(status)).inc()
            took_s = (self._clock.monotonic_ms() - began) / 1000
            metrics.timer(metrics.HTTP_SECONDS, route, method).observe(took_s)
