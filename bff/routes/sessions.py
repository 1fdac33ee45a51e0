"""Sessions over HTTP: a one-time link becomes a cookie, and a session is ended."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import Cookie
from litestar.params import JSONBody

from bff.auth import COOKIE, actor_of, check_origin, core_of
from server_core.app import Core
from server_core.sessions import service as sessions
from server_core.sessions.model import LIFE_MS


class OpenLink(msgspec.Struct, forbid_unknown_fields=True):
    code: str


@post("/session/link", status_code=204)
async def open_link(request: Request[Any, Any, Any], data: JSONBody[OpenLink]) -> Response[None]:
    """Turn a one-time code into a session cookie; sessions.link_used for any other code."""
    check_origin(request)
    core = core_of(request)

    async with core.db.work() as work:
        token = await sessions.open_link(work, core.entropy, data.code)
    return signed_in(core, token)


def signed_in(core: Core, token: str) -> Response[None]:
    """The session as a cookie that no script reads."""
    cookie = Cookie(
        COOKIE,
        value=token,
        max_age=LIFE_MS // 1000,
        httponly=True,
        secure=core.settings.origin.startswith("https://"),
        samesite="strict",
    )
    return Response(None, status_code=204, cookies=[cookie])


@post("/session/end", status_code=204)
async def end(request: Request[Any, Any, Any]) -> Response[None]:
    core = core_of(request)
    actor = await actor_of(request)
    async with core.db.work() as work:
        await sessions.end(work, actor)
    return Response(None, status_code=204, cookies=[Cookie(COOKIE, value="", max_age=0)])
