"""Errors at the edge: a DomainError to RFC 9457 problem JSON, once; anything else is a bug."""

from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from server_core.errors import DomainError, Kind
from server_core.ids import public

STATUS: Final[dict[Kind, int]] = {
    Kind.INVALID: 400,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}
_BY_CODE: Final = {"idempotency.key_reused": 422, "sessions.unauthenticated": 401}
_log = structlog.get_logger("hundi.http")


def status_of(error: DomainError) -> int:
    return _BY_CODE.get(error.code, STATUS[error.kind])


def problem(status: int, code: str, message: str, **members: Any) -> Response[bytes]:
    body = {
        "type": f"urn:hundi:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": message,
    } | {name: value for name, value in members.items() if value is not None}
    response = Response(
        msgspec.json.encode(body), status_code=status, media_type="application/problem+json"
    )
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if "retry_after_s" in members:
        response.headers["Retry-After"] = str(members["retry_after_s"])
    return response


def refused(_: Request[Any, Any, Any], error: DomainError) -> Response[bytes]:
    return problem(status_of(error), error.code, error.message, field=error.field, **error.facts)


def malformed(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses: unknown paths, wrong methods, bodies of a wrong shape."""
    code = {404: "http.not_found", 405: "http.method", 413: "http.too_large"}.get(
        error.status_code, "http.malformed"
    )
    detail = (
        "the request has the wrong shape"
        if isinstance(error, ValidationException)
        else error.detail
    )
    return problem(error.status_code, code, str(detail))


def broken(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a bug: logged whole with an id, opaque outside."""
    trace: UUID = request.app.state.core.new_id()
    _log.error("bug", trace=str(trace), path=request.url.path, exc_info=error)
    return problem(500, "internal", "something went wrong on our side", trace=public("trc", trace))


HANDLERS: Final[dict[Any, Any]] = {
    DomainError: refused,
    msgspec.DecodeError: lambda _, error: problem(400, "http.malformed", str(error)),
    RecursionError: lambda *_: problem(400, "http.malformed", "the body is nested too deeply"),
    HTTPException: malformed,
    Exception: broken,
}
