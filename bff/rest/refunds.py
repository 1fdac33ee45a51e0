"""Refunds over REST: captured money back to its payer, each once per key."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta

from bff.auth import actor_of, core_of
from bff.rest.bodies import Body, read
from bff.rest.idempotency import REPLAYED, once
from bff.rest.openapi import responses, takes
from graph.money import instant
from server_core.actor import Actor
from server_core.ids import parse, public
from server_core.money import parse_minor
from server_core.refunds import service
from server_core.refunds.model import Ask, Reason, Refund, State

Asked = Request[Any, Any, Any]


class MakeRefund(Body):
    """Give a payment back, all that is left of it or `amount`; as its payee."""

    payment_id: Annotated[str, Meta(description="What was paid, `pay_…`.")]
    amount: (
        Annotated[str, Meta(description="Minor units as a string of digits.", examples=["5000"])]
        | None
    ) = None
    reason: Reason = Reason.REQUESTED_BY_CUSTOMER
    note: Annotated[str, Meta(description="Up to 140 characters, for your own books.")] = ""

    def command(self, actor: Actor, key: str) -> Ask:
        return Ask(
            actor=actor,
            key=key,
            intent=parse("pay", self.payment_id, field="paymentId"),
            amount=None if self.amount is None else parse_minor(self.amount),
            reason=self.reason,
            note=self.note,
        )


class RefundSaid(msgspec.Struct, kw_only=True, frozen=True):
    """Money on its way back, and where it stands."""

    id: str
    state: State
    payment_id: str
    amount: str
    currency: str
    reason: Reason
    note: str
    rail_reference: Annotated[str | None, Meta(description="The bank's own, once it has it.")]
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, refund: Refund) -> "RefundSaid":
        return cls(
            id=public("ref", refund.id),
            state=refund.state,
            payment_id=public("pay", refund.intent),
            amount=str(refund.amount),
            currency=refund.currency,
            reason=refund.reason,
            note=refund.note,
            rail_reference=refund.rail_reference,
            created_at=instant(refund.created_at),
            ended_at=instant(refund.ended_at) if refund.ended_at else None,
        )


@post(
    "/refunds", operation_class=takes(MakeRefund), responses=responses(201, RefundSaid, pays=True)
)
async def make(request: Asked) -> Response[RefundSaid]:
    """Give money back; 202 when its rail has not said yet what became of it."""

    async def do(actor: Actor, key: str) -> Response[RefundSaid]:
        core, asked = core_of(request), await read(request, MakeRefund)
        answer = await service.refund(core.db, core.rails, asked.command(actor, key))
        said = RefundSaid.of(answer.value)
        headers = {"Location": f"/refunds/{said.id}"}
        if answer.replayed:
            headers[REPLAYED] = "true"
        status = 202 if said.state is State.PENDING else 201
        return Response(said, status_code=status, headers=headers)

    return await once(request, do)


@get("/refunds/{refund:str}", responses=responses(200, RefundSaid, keyed=False))
async def show(request: Asked, refund: FromPath[str]) -> Response[RefundSaid]:
    """The refund as it stands now; for who gives it and who gets it."""
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await service.get(reader, actor, parse("ref", refund))
    return Response(RefundSaid.of(found), headers={"Cache-Control": "no-store"})


def routes() -> list[HTTPRouteHandler]:
    return [make, show]
