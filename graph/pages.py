"""Relay connections: pages of at most 100, opaque cursors that fit one list only."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import strawberry

from server_core.errors import DomainError, invalid

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100


@strawberry.type(description="Where a page stands in its list (Relay).")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


def page_info(cursors: Sequence[str], *, more: bool, after: str | None) -> PageInfo:
    return PageInfo(
        has_next_page=more,
        has_previous_page=after is not None,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )


def page_size(first: int) -> int:
    """`first` if a page may be that long; raises graphql.page_size."""
    if not 1 <= first <= MAX_PAGE:
        raise invalid("graphql.page_size", f"first is 1 to {MAX_PAGE}", field="first")
    return first


def cursor(kind: str, place: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{place}".encode()).rstrip(b"=").decode()


def place_of(kind: str, text: str | None) -> str | None:
    """What `cursor` hid, None at the list's head; raises graphql.cursor for any other text."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        head, colon, place = plain.decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    if head != kind or not colon or cursor(kind, place) != text:
        raise bad_cursor()
    return place


def bad_cursor() -> DomainError:
    return invalid("graphql.cursor", "after is a cursor of this list, as we gave it", field="after")
