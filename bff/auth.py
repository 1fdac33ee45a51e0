"""Who asks: the token in the Authorization header or the session cookie, made an Actor."""

from typing import Any, Final

from litestar.connection import ASGIConnection

from server_core.actor import Actor
from server_core.app import Core
from server_core.errors import denied
from server_core.sessions import service as sessions

COOKIE: Final = "hundi_session"
Connection = ASGIConnection[Any, Any, Any, Any]


def core_of(connection: Connection) -> Core:
    core: Core = connection.app.state.core
    return core


def token_of(connection: Connection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token
    return connection.cookies.get(COOKIE)


async def actor_of(connection: Connection) -> Actor:
    """The Actor behind the request; raises sessions.unauthenticated, http.origin."""
    check_origin(connection)
    return await sessions.authenticate(core_of(connection).db, token_of(connection))


def check_origin(connection: Connection) -> None:
    """An Origin, when sent (native apps send none), is ours; there is no CORS."""
    origin = connection.headers.get("origin")
    if origin is not None and origin != core_of(connection).settings.origin:
        raise denied("http.origin", "this origin may not call Hundi")
