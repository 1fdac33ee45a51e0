"""The Idempotency-Key of a POST, and how an answer says that it was given before.

Semantics of draft-ietf-httpapi-idempotency-key-header-07: 400 without a key, 422 for a key that was
used for another request, 409 while the first request is at work; docs/idempotency.md says the rest.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from litestar import Request, Response

from bff import problems
from bff.auth import actor_of
from server_core.actor import Actor
from server_core.errors import DomainError, invalid
from server_core.idempotency.model import Repeated
from server_core.idempotency.rules import check_key

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"

_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
"""A String of RFC 9651 (structured field values): visible ASCII and space, with \\" and \\\\."""

_FIELDS: Final = {"idempotencyKey": HEADER}
_AMOUNTS: Final = {
    "payments.insufficient_funds": "available",
    "payments.over_capturable": "capturable",
    "payments.over_limit": "limit",
    "refunds.exceeds_captured": "refundable",
    "refunds.insufficient_funds": "available",
}
"""Facts that are amounts: in JSON a string of minor units, as every amount."""

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

Do = Callable[[Actor, str], Awaitable[Response[Any]]]


def key_of(lines: list[str]) -> str:
    """The key in the header's lines, quoted ("k-1", as the draft has it) or bare (k-1): the same key.

    Raises idempotency.key_missing, idempotency.key_malformed.
    """
    if len(lines) > 1:
        raise _malformed(f"send {HEADER} once")
    text = lines[0].strip(" \t") if lines else ""
    if text.startswith('"'):
        quoted = _STRING.fullmatch(text)
        if quoted is None:
            raise _malformed(f"{HEADER} begins with a quote and is no quoted string (RFC 9651)")
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    return check_key(text, field=HEADER)


async def once(request: Request[Any, Any, Any], do: Do) -> Response[Any]:
    """Run `do` as who asks, with their key; a refusal becomes a problem in this API's spelling."""
    try:
        actor = await actor_of(request)
        response = await do(actor, key_of(request.headers.getall(HEADER, [])))
    except DomainError as refused:
        response = refusal(request, refused)
    response.headers["Cache-Control"] = "no-store"
    return response


def refusal(request: Request[Any, Any, Any], refused: DomainError) -> Response[bytes]:
    """The problem behind `refused`; one that was told before says so, and is the same bytes."""
    field = refused.field and _FIELDS.get(refused.field, _HUMP.sub("_", refused.field).lower())
    if refused.field == HEADER:
        field = HEADER
    # Facts come back from storage in another order than they were made in.
    facts = msgspec.to_builtins(refused.facts, order="sorted")
    amount = _AMOUNTS.get(refused.code)
    if amount in facts:
        facts[amount] = str(facts[amount])
    said = DomainError(refused.kind, refused.code, refused.message, field=field, **facts)
    response = problems.refused(request, said)
    if isinstance(refused, Repeated):
        response.headers[REPLAYED] = "true"
    return response


def _malformed(why: str) -> DomainError:
    return invalid("idempotency.key_malformed", why, field=HEADER)
