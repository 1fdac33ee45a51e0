"""What `/schema` says of a door that reads its own body and its own key."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from bff.rest.bodies import JSON, Body
from server_core.idempotency.model import MAX_KEY

_PROBLEM: Final = "application/problem+json"
_REFUSED: Final = {
    400: "The request is wrong, or has no key: mend it; the key is still free.",
    401: "Not signed in.",
    403: "You may not do this.",
    404: "No such thing, or not yours to see.",
    409: "The state does not allow it, or (idempotency.still_running, with Retry-After) the first"
    " request with this key is still at work.",
    422: "The key was used for another request.",
    429: "A limit; the members say which.",
    503: "Nothing was decided: repeat with the same key.",
}
_UNKEYED: Final = {number: _REFUSED[number] for number in (401, 403, 404)} | {
    400: "The request is wrong: `code` says how, `field` names what.",
    503: "Not answered: repeat it.",
}


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457, with a stable `code` (docs/errors.md) and members that belong to it."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None


def responses(
    status: int, shape: type[msgspec.Struct], *, keyed: bool = True, pays: bool = False
) -> dict[int, ResponseSpec]:
    """Every answer of a door by its status; 202 where a rail may be slower than we wait."""
    found = {status: ResponseSpec(shape, generate_examples=False, description="As it stands.")}
    if pays:
        found[202] = ResponseSpec(
            shape,
            generate_examples=False,
            description="The rail has not said yet; a repeat of the key tells how it ended.",
        )
    for number, what in (_REFUSED if keyed else _UNKEYED).items():
        found[number] = ResponseSpec(
            Problem, generate_examples=False, description=what, media_type=_PROBLEM
        )
    return found


def takes(shape: type[Body]) -> type[Operation]:
    """An operation that takes `shape` and requires a key."""
    schema = _schema_of(shape)

    @dataclass
    class Keyed(Operation):
        def __post_init__(self) -> None:
            required = bool(schema.get("required"))
            media: Any = OpenAPIMediaType(schema=schema)  # type: ignore[arg-type]
            self.request_body = RequestBody(content={JSON: media}, required=required)
            self.parameters = [*(self.parameters or []), _KEY]
            for status, answer in (self.responses or {}).items():
                if status[0] != "5" and isinstance(answer, OpenAPIResponse):
                    answer.headers = {**(answer.headers or {}), **_REPLAYED}

    return Keyed


_KEY: Final = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=True,
    description="One per effect you mean, the same on every retry: visible ASCII, bare or as a"
    " quoted string (draft-ietf-httpapi-idempotency-key-header-07).",
    schema=Schema(type="string", min_length=1, max_length=MAX_KEY),  # type: ignore[arg-type]
)
_REPLAYED: Final = {
    "Idempotency-Replayed": OpenAPIHeader(
        description="`true` when an earlier request with this key was answered so.",
        schema=Schema(type="string"),  # type: ignore[arg-type]
    )
}


def _schema_of(shape: type[Body]) -> dict[str, Any]:
    """The JSON Schema of `shape` with its references written out."""
    [schema], components = msgspec.json.schema_components([shape], ref_template="{name}")

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return whole(components[node["$ref"]])
        return {name: whole(value) for name, value in node.items()}

    found: dict[str, Any] = whole(schema)
    return found
