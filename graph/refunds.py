"""A refund: captured money on its way back to its payer."""

from datetime import datetime
from typing import Self

import strawberry

from graph.money import Money, instant
from server_core.ids import public
from server_core.refunds import model

strawberry.enum(model.State, name="RefundState", description="Where a refund stands.")
strawberry.enum(model.Reason, name="RefundReason", description="Why money goes back.")


@strawberry.type(description="Captured money on its way back to who paid it.")
class Refund:
    id: strawberry.ID
    state: model.State
    amount: Money
    reason: model.Reason
    rail_reference: str | None = strawberry.field(
        description="The bank's own reference, once it has it."
    )
    created_at: datetime

    @classmethod
    def of(cls, refund: model.Refund) -> Self:
        return cls(
            id=strawberry.ID(public("ref", refund.id)),
            state=refund.state,
            amount=Money.of(refund.amount, refund.currency),
            reason=refund.reason,
            rail_reference=refund.rail_reference,
            created_at=instant(refund.created_at),
        )
