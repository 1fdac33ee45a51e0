"""POST /graphql, and the same path as a WebSocket for subscriptions.

As the GraphQL-over-HTTP specification says: what was executed answers 200, with its errors inside;
what could not be run answers 400; whoever is not signed in, 401.
"""

from typing import Any, Final

import msgspec
import strawberry
from litestar import MediaType, Request, Response, WebSocket, get, post, websocket
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from bff.auth import actor_of
from bff.guard import Refused
from bff.operations import MAX_BODY, Operations, malformed, read, refusal
from bff.problems import status_of
from bff.routes.graphql_socket import INIT_WAIT_S, Socket
from graph.schema import SCHEMA
from server_core.app import Core
from server_core.errors import DomainError

JSON: Final = "application/json"
GRAPHQL_JSON: Final = "application/graphql-response+json"
_encode: Final = msgspec.json.Encoder().encode


def routes(
    core: Core,
    *,
    dev: bool | None = None,
    schema: strawberry.Schema = SCHEMA,
    init_wait_s: float = INIT_WAIT_S,
) -> list[BaseRouteHandler]:
    """The handlers of /graphql over `core`; `dev` is the settings' own unless it is given."""
    operations = Operations(core, dev=core.settings.dev if dev is None else dev, schema=schema)

    @post("/graphql", status_code=200, request_max_body_size=MAX_BODY, include_in_schema=False)
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await _answer(operations, request)

    @websocket("/graphql")
    async def subscriptions(socket: WebSocket[Any, Any, Any]) -> None:
        await Socket(operations, socket, init_wait_s=init_wait_s).serve()

    made: list[BaseRouteHandler] = [answer, subscriptions]
    if operations.dev:
        made.append(_page)
    return made


async def _answer(operations: Operations, request: Request[Any, Any, Any]) -> Response[bytes]:
    status = 200
    headers = {"Cache-Control": "no-store"}
    body: dict[str, Any]
    try:
        actor = await actor_of(request)
        _check_type(request)
        result = await operations.execute(read(await request.body()), actor)
        body = {"data": result.data}
        if result.errors:
            body = {"errors": operations.told(result.errors)} | body
            if result.data is None and all(error.path is None for error in result.errors):
                status = 400  # its variables did not fit: nothing was executed
                del body["data"]
    except Refused as refused:
        status, body = 400, {"errors": operations.told(refused.errors)}
    except DomainError as refused:
        status, body = status_of(refused), {"errors": [refusal(refused)]}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
    except HTTPException as error:
        status = error.status_code
        code = "http.too_large" if status == 413 else "graphql.request"
        body = {"errors": [{"message": str(error.detail), "extensions": {"code": code}}]}
    except Exception as error:  # noqa: BLE001 - told as a bug, once, in this endpoint's own form
        status, body = 500, {"errors": [operations.bug(error)]}
    asked_for = request.headers.get("accept", "")
    return Response(
        _encode(body),
        status_code=status,
        media_type=GRAPHQL_JSON if GRAPHQL_JSON in asked_for else JSON,
        headers=headers,
    )


def _check_type(request: Request[Any, Any, Any]) -> None:
    """JSON only: a form of another site cannot send it without asking first."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.replace(" ", "").lower()
    if kind.strip().lower() != JSON or charset not in {"", "charset=utf-8"}:
        raise malformed("send application/json in UTF-8")


@get("/graphql", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def _page() -> str:
    """GraphiQL, for developers only; its scripts come from the public network."""
    from strawberry.http.ides import get_graphql_ide_html  # noqa: PLC0415 - never in production

    return get_graphql_ide_html(graphql_ide="graphiql")
