"""What one has, page by page over REST: payments with their tries, and refunds; newest first."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta

from bff.auth import actor_of, core_of
from bff.rest.openapi import responses
from bff.rest.pages import following, paged, query_of
from bff.rest.payments import PaymentIntent
from bff.rest.refunds import RefundSaid
from graph.money import instant
from server_core.ids import parse, public
from server_core.payments import service as payments
from server_core.payments import showing
from server_core.payments.model import AttemptState, Method, Operation
from server_core.refunds import service as refunds

Asked = Request[Any, Any, Any]
_NO_STORE: Final = {"Cache-Control": "no-store"}
_NEXT: Final = Meta(
    description="`after` of the next page; null when this one is the last.",
    examples=["aW50ZW50czowMTlhYWU2YjdhMmM3MDAwODAwMDAwYzBmZmVlMDAwMQ"],
)
_HINT: Final = Meta(
    description="Enough of what paid to know it again, such as a bank's code.",
    examples=["as***@okbank"],
)
_OF: Final = "Only those of this payment, `pay_…`."


class PaymentIntents(msgspec.Struct, kw_only=True, frozen=True):
    """A page of payments."""

    intents: list[PaymentIntent]
    next: Annotated[str | None, _NEXT]


class PaymentAttempt(msgspec.Struct, kw_only=True, frozen=True):
    """One try to pay or to capture. What a bank said of it, only who tried sees."""

    number: int
    operation: Annotated[
        Operation,
        Meta(description="Money taken or set aside (`pay`), captured, or let go (`void`)."),
    ]
    amount: Annotated[str, Meta(description="Minor units.", examples=["15000"])]
    method: Method
    state: AttemptState
    rail_code: Annotated[str | None, Meta(description="The rail's own code.", examples=["Z9"])]
    rail_reference: str | None
    hint: Annotated[str | None, _HINT]
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, one: showing.Shown) -> "PaymentAttempt":
        return cls(
            number=one.number,
            operation=one.operation,
            amount=str(one.amount),
            method=one.method,
            state=one.state,
            rail_code=one.code,
            rail_reference=one.rail_reference,
            hint=one.hint,
            started_at=instant(one.started_at),
            ended_at=instant(one.ended_at) if one.ended_at else None,
        )


class PaymentAttempts(msgspec.Struct, kw_only=True, frozen=True):
    """All tries at a payment: there are never more than fit on one page."""

    attempts: list[PaymentAttempt]


class Refunds(msgspec.Struct, kw_only=True, frozen=True):
    """A page of refunds."""

    refunds: list[RefundSaid]
    next: Annotated[str | None, _NEXT]


@get(
    "/intents",
    operation_class=paged(),
    responses=responses(200, PaymentIntents, keyed=False),
)
async def intents(request: Asked) -> Response[PaymentIntents]:
    """One's own payments, sent and received, newest first.

    What is made while you read stands before your first page: no page repeats or leaves out
    another. To follow what happens, take webhooks.
    """
    actor, query = await actor_of(request), query_of(request)
    place = query.place("intents", timed=False)
    async with core_of(request).db.reader() as reader:
        found = await payments.mine(reader, actor, before=place and place[1], limit=query.limit + 1)
    page = found[: query.limit]
    more = following("intents", page[-1].id) if len(found) > query.limit else None
    said = PaymentIntents(intents=[PaymentIntent.of(one) for one in page], next=more)
    return Response(said, headers=_NO_STORE)


@get("/intents/{intent:str}/attempts", responses=responses(200, PaymentAttempts, keyed=False))
async def attempts(request: Asked, intent: FromPath[str]) -> Response[PaymentAttempts]:
    """The tries, oldest first: the payee's all, a payer's their own."""
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await showing.attempts(reader, actor, parse("pay", intent))
    said = PaymentAttempts(attempts=[PaymentAttempt.of(one) for one in found])
    return Response(said, headers=_NO_STORE)


@get(
    "/refunds",
    operation_class=paged(intent=_OF),
    responses=responses(200, Refunds, keyed=False),
)
async def refunded(request: Asked) -> Response[Refunds]:
    """One's own refunds, given and got, newest first; or those of one payment."""
    actor, query = await actor_of(request), query_of(request, "intent")
    named = query.filters.get("intent")
    intent = None if named is None else parse("pay", named, field="intent")
    kind = "refunds" if intent is None else f"refunds {public('pay', intent)}"
    place, limit = query.place(kind, timed=True), query.limit + 1
    async with core_of(request).db.reader() as reader:
        if intent is None:
            found = await refunds.mine(reader, actor, before=place, limit=limit)
        else:
            found = await refunds.of_payment(reader, actor, intent, before=place, limit=limit)
    page = found[: query.limit]
    more = None
    if len(found) > query.limit:
        more = following(kind, page[-1].id, page[-1].created_at)
    said = Refunds(refunds=[RefundSaid.of(one) for one in page], next=more)
    return Response(said, headers=_NO_STORE)


def routes() -> list[HTTPRouteHandler]:
    return [intents, attempts, refunded]
