"""Builds the Litestar application over one Core."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from bff import problems
from bff.measuring import Measuring
from bff.rest import lists, offline, payments, refunds, webhooks
from bff.routes import edge, graphql, health, metrics, pages, passkeys, rails, sessions, ussd
from server_core.app import Core

MAX_BODY = 64 * 1024


def create_app(core: Core) -> Litestar:
    """The HTTP face of `core`; its lifespan follows the event log for live subscriptions."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with core.following():
            yield

    return Litestar(
        route_handlers=[
            health.live,
            health.ready,
            metrics.metrics,
            sessions.open_link,
            sessions.end,
            *passkeys.routes(),
            rails.callbacks,
            *edge.routes(),
            *ussd.routes(),
            *pages.routes(),
            *payments.routes(),
            *refunds.routes(),
            *lists.routes(),
            *offline.routes(),
            *webhooks.routes(),
            *graphql.routes(core),
        ],
        state=State({"core": core}),
        exception_handlers=problems.HANDLERS,
        lifespan=[lifespan],
        middleware=[Measuring(core.clock)],
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title="Hundi", version="0.1.0", path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
        debug=False,
    )


def create_watched(core: Core) -> Litestar:
    """What a worker serves, for whoever watches it: its health and its metrics."""
    return Litestar(
        route_handlers=[health.live, health.ready, metrics.metrics],
        state=State({"core": core}),
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
