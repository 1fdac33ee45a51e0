"""Offline money over REST, for a shop: its terminals, and what it may claim."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta

from bff.auth import actor_of, core_of
from bff.rest.openapi import responses
from bff.rest.pages import Query, paged, query_of
from graph.money import instant
from graph.pages import cursor, place_of
from server_core.errors import DomainError, invalid
from server_core.terminals.model import State
from server_core.vouchers import service as vouchers
from server_core.vouchers.fleet import Standing
from server_core.vouchers.model import Claim, ClaimState, Unclaimed

Asked = Request[Any, Any, Any]
_NO_STORE: Final = {"Cache-Control": "no-store"}
_TERMINAL: Final = Meta(description="8 hex digits.", examples=["5f3a91c2"])
_H: Final = Meta(description="What a voucher is known by: 64 hex digits.")
_AMOUNT: Final = Meta(description="Minor units.", examples=["15000"])
_TERMINAL_SIZE, _H_SIZE = 4, 32


class TerminalSaid(msgspec.Struct, kw_only=True, frozen=True):
    """One terminal as the server knows it."""

    id: Annotated[str, _TERMINAL]
    state: State
    enrolled_at: datetime
    synced_at: Annotated[datetime, Meta(description="Its enrolment until it has synced.")]
    rows_behind: Annotated[int, Meta(description="Journal rows that it told of and has not sent.")]
    stops_behind: Annotated[int, Meta(description="Stopped allowances that it still would take.")]
    unsent: Annotated[
        dict[str, str],
        Meta(
            description="By currency, minor units that payers showed us and it has not sent: at"
            " least so much is unsettled there."
        ),
    ]

    @classmethod
    def of(cls, one: Standing) -> "TerminalSaid":
        return cls(
            id=one.terminal.id.hex(),
            state=one.terminal.state,
            enrolled_at=instant(one.terminal.enrolled_at),
            synced_at=instant(one.synced_at),
            rows_behind=one.behind,
            stops_behind=one.unapplied,
            unsent={currency: str(amount) for currency, amount in one.unsent.items()},
        )


class Terminals(msgspec.Struct, kw_only=True, frozen=True):
    """A page of terminals."""

    terminals: list[TerminalSaid]
    next: Annotated[str | None, Meta(description="`after` of the next page; null on the last.")]


class UnclaimedSaid(msgspec.Struct, kw_only=True, frozen=True):
    """Money that a payer says is yours and that no terminal of yours brought in time."""

    voucher: Annotated[str, _H]
    terminal: Annotated[str, _TERMINAL]
    amount: Annotated[str, _AMOUNT]
    until: Annotated[datetime, Meta(description="From then on it is the payer's again.")]
    paid_to: Annotated[str | None, Meta(description="`merchant`, `payer`, or null: it waits.")]

    @classmethod
    def of(cls, one: Unclaimed) -> "UnclaimedSaid":
        return cls(
            voucher=one.h.hex(),
            terminal=one.terminal.hex(),
            amount=str(one.amount),
            until=instant(one.until * 1000),
            paid_to=one.paid_to,
        )


class UnclaimedList(msgspec.Struct, kw_only=True, frozen=True):
    """What waits, or went out of it: at most 1,000, the first to run out first."""

    unclaimed: list[UnclaimedSaid]


class ClaimSaid(msgspec.Struct, kw_only=True, frozen=True):
    """What a claim came to."""

    voucher: Annotated[str, _H]
    amount: Annotated[str, _AMOUNT]
    currency: str
    state: Annotated[ClaimState, Meta(description="`waiting`: an operator decides it.")]

    @classmethod
    def of(cls, one: Claim) -> "ClaimSaid":
        return cls(
            voucher=one.h.hex(), amount=str(one.amount), currency=one.currency, state=one.state
        )


@get("/terminals", operation_class=paged(), responses=responses(200, Terminals, keyed=False))
async def terminals(request: Asked) -> Response[Terminals]:
    """One's own terminals, by id: when each was last heard, and what may be on it that is not here."""
    actor, query = await actor_of(request), query_of(request)
    after = _place(query)
    async with core_of(request).db.reader() as reader:
        found = await vouchers.fleet(reader, actor, after=after, limit=query.limit + 1)
    page = found[: query.limit]
    more = None
    if len(found) > query.limit:
        more = cursor("terminals", page[-1].terminal.id.hex())
    said = Terminals(terminals=[TerminalSaid.of(one) for one in page], next=more)
    return Response(said, headers=_NO_STORE)


@get("/vouchers/unclaimed", responses=responses(200, UnclaimedList, keyed=False))
async def unclaimed(request: Asked) -> Response[UnclaimedList]:
    """Vouchers that payers showed us and your terminals did not send before their close."""
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await vouchers.unclaimed(reader, actor)
    said = UnclaimedList(unclaimed=[UnclaimedSaid.of(one) for one in found])
    return Response(said, headers=_NO_STORE)


@post(
    "/vouchers/{voucher:str}/claim",
    status_code=200,
    responses=responses(200, ClaimSaid, keyed=False),
)
async def claim(request: Asked, voucher: FromPath[str]) -> Response[ClaimSaid]:
    """Claim a voucher that your terminal sent after its allowance was closed; a repeat answers the same.

    Paid at once where its payer had shown it to us; else it waits for an operator.
    """
    actor, core = await actor_of(request), core_of(request)
    try:
        h = bytes.fromhex(voucher)
    except ValueError:
        h = b""
    if len(h) != _H_SIZE:
        raise invalid("vouchers.name", "a voucher is named by 64 hex digits", field="voucher")
    return Response(
        ClaimSaid.of(await vouchers.claim(core.db, actor, h)), status_code=200, headers=_NO_STORE
    )


def _place(query: Query) -> bytes:
    try:
        place = bytes.fromhex(place_of("terminals", query.after) or "")
    except (DomainError, ValueError):
        place = b"?"
    if len(place) not in {0, _TERMINAL_SIZE}:
        raise invalid("http.cursor", "after is `next` of this list, as we gave it", field="after")
    return place


def routes() -> list[HTTPRouteHandler]:
    return [terminals, unclaimed, claim]
