"""How a JSON body is read: strictly, so that two readers cannot see two requests in one body."""

import json
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request

from server_core.errors import DomainError, invalid

JSON: Final = "application/json"
_EXACT: Final = 2**53 - 1
_DIGITS: Final = len(str(_EXACT))

Shape = TypeVar("Shape", bound="Body")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """JSON of a client: unknown members are mistakes, not extensions."""


async def read(request: Request[Any, Any, Any], shape: type[Shape]) -> Shape:
    """The request's body as `shape`; no body at all is an empty object. Raises http.malformed."""
    raw = await request.body()
    if raw:
        _check_type(request.headers.get("content-type", ""))
    return decode(raw or b"{}", shape)


def decode(raw: bytes, shape: type[Shape]) -> Shape:
    """UTF-8 JSON as I-JSON (RFC 7493) wants it, and without fractions; raises http.malformed.

    A name that stands twice is refused, and so is a number that is no whole number of up to
    2^53 - 1, half a surrogate pair, and a value of another type than the member's: "1" is not 1.
    """
    try:
        parsed = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
        msgspec.json.encode(parsed)  # half a surrogate pair is no character
        return msgspec.convert(parsed, type=shape)
    except UnicodeError:
        raise malformed("the body must be UTF-8 text") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise malformed(str(error)) from None
    except RecursionError:
        raise malformed("the body is nested too deeply") from None


def malformed(why: str) -> DomainError:
    return invalid("http.malformed", why)


def _check_type(header: str) -> None:
    """JSON only: a form of another site cannot send it without asking first."""
    kind, _, parameters = header.partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if kind.strip().lower() != JSON or charset not in {"", "charset=utf-8"}:
        raise malformed("send application/json in UTF-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > _DIGITS + 1 or abs(number := int(text)) > _EXACT:
        raise ValueError("a number is larger than 2^53 - 1")
    return number


def _no_number(text: str) -> None:
    raise ValueError(f"{text[:20]} is not a whole number; amounts are strings of minor units")
