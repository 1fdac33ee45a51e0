"""One page of a list: what its query may say, read as strictly as a body, and its cursor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from litestar import Request
from litestar.openapi.spec import Example, Operation, Parameter, Schema

from graph.pages import DEFAULT_PAGE, MAX_PAGE, cursor, place_of
from server_core.errors import DomainError, invalid
from server_core.ids import public

_LIMIT: Final = re.compile(r"[1-9][0-9]{0,2}")
_EXAMPLE: Final = UUID("019aae6b-7a2c-7000-8000-00c0ffee0001")
_PLACE: Final = re.compile(r"(?:(?P<ms>[0-9]{1,18})\.)?(?P<id>[0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What was asked of a list: `filters` by name, `limit`, and the cursor `after`, not yet read."""

    filters: Mapping[str, str]
    limit: int
    after: str | None

    def place(self, kind: str, *, timed: bool) -> tuple[int, UUID] | None:
        """Where list `kind` goes on: Unix ms (0 unless `timed`) and id. Raises http.cursor."""
        try:
            plain = place_of(kind, self.after)
        except DomainError:
            raise _bad_cursor() from None
        if plain is None:
            return None
        found = _PLACE.fullmatch(plain)
        if found is None or (found["ms"] is not None) is not timed:
            raise _bad_cursor()
        return int(found["ms"] or 0), UUID(hex=found["id"])


def query_of(request: Request[Any, Any, Any], *filters: str) -> Query:
    """The query of a list that takes these filters; raises http.malformed, http.page_size.

    A name that is not known, or stands twice, is refused: what was meant by it would be passed over.
    """
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in said:
            raise _wrong(name, "stands twice")
        if name not in {"limit", "after", *filters}:
            raise _wrong(name, "is nothing that this list is asked by")
        said[name] = value
    limit = said.pop("limit", str(DEFAULT_PAGE))
    if not _LIMIT.fullmatch(limit) or int(limit) > MAX_PAGE:
        raise invalid("http.page_size", f"limit is 1 to {MAX_PAGE}", field="limit")
    return Query(limit=int(limit), after=said.pop("after", None), filters=said)


def following(kind: str, last: UUID, at_ms: int | None = None) -> str:
    """The cursor of list `kind` after its entry `last`, made at `at_ms` if time orders the list."""
    return cursor(kind, last.hex if at_ms is None else f"{at_ms}.{last.hex}")


def paged(**filters: str) -> type[Operation]:
    """An operation that gives a page; `filters` are its own parameters, each with its sentence."""
    own = [
        Parameter(
            name=name,
            param_in="query",
            description=said,
            schema=Schema(type="string"),  # type: ignore[arg-type]
            examples={name: Example(value=public("pay", _EXAMPLE))},
        )
        for name, said in filters.items()
    ]

    @dataclass
    class Paged(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *own, _SIZE, _AFTER]

    return Paged


_SIZE: Final = Parameter(
    name="limit",
    param_in="query",
    description="How many at most.",
    schema=Schema(type="integer", minimum=1, maximum=MAX_PAGE, default=DEFAULT_PAGE),  # type: ignore[arg-type]
    examples={"limit": Example(value=50)},
)
_AFTER: Final = Parameter(
    name="after",
    param_in="query",
    description="`next` of the page before, as it was given; it fits this list and filter only.",
    schema=Schema(type="string"),  # type: ignore[arg-type]
    examples={"after": Example(value=following("intents", _EXAMPLE))},
)


def _wrong(name: str, why: str) -> DomainError:
    return invalid("http.malformed", f"{name[:32]} {why}", field=name[:32])


def _bad_cursor() -> DomainError:
    return invalid("http.cursor", "after is `next` of this list, as we gave it", field="after")
