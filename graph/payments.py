"""A payment and its attempts, each side seeing its own: names of the other, nothing private."""

from datetime import datetime
from typing import Self

import strawberry

from graph.context import Info, described
from graph.money import Money, instant
from graph.parties import Party
from graph.refunds import Refund
from server_core.ids import public
from server_core.payments import model, rules
from server_core.payments.showing import Shown, shown

strawberry.enum(model.State, name="PaymentState", description="Where a payment stands.")
strawberry.enum(model.Purpose, name="PaymentPurpose", description="What the money is for.")
strawberry.enum(model.Method, name="PaymentMethod", description="How the payer pays.")
strawberry.enum(
    model.CaptureMethod,
    name="CaptureMethod",
    description="When the money is taken: at once, by one capture later, or by several.",
)
strawberry.enum(
    model.Operation,
    name="AttemptOperation",
    description="PAY takes the money or sets it aside; CAPTURE takes what was set aside; VOID lets it go.",
)
strawberry.enum(
    model.AttemptState, name="AttemptState", description="What is known of one try over one rail."
)


@strawberry.type(description="One try to pay. What a bank said of it, only its payer sees.")
class Attempt:
    number: int
    operation: model.Operation
    method: model.Method
    state: model.AttemptState
    rail_code: str | None = strawberry.field(description="The rail's own code, verbatim.")
    rail_reference: str | None
    hint: str | None = strawberry.field(
        description="Enough of what paid to know it again: `as***@okbank`, a bank's code."
    )
    started_at: datetime

    @classmethod
    def of(cls, attempt: Shown) -> Self:
        return cls(
            number=attempt.number,
            operation=attempt.operation,
            method=attempt.method,
            state=attempt.state,
            rail_code=attempt.code,
            rail_reference=attempt.rail_reference,
            hint=attempt.hint,
            started_at=instant(attempt.started_at),
        )


strawberry.enum(
    model.ActionType,
    name="NextActionType",
    description="A bank's page to open, or a link to show as a QR code.",
)


@strawberry.type(description="What the payer must do before anything moves.")
class NextAction:
    type: model.ActionType
    url: str


@strawberry.type(description="A payment intent: what is to be paid, by whom, to whom.")
class Payment:
    intent: strawberry.Private[model.Intent]
    id: strawberry.ID
    state: model.State
    purpose: model.Purpose
    amount: Money
    capture_method: model.CaptureMethod
    amount_captured: Money
    amount_capturable: Money = strawberry.field(description="Set aside, and not taken yet.")
    amount_refunded: Money
    capture_before: datetime | None = strawberry.field(
        description="Until when it may be captured; after that it is the payer's again."
    )
    next_action: NextAction | None
    description: str
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, intent: model.Intent) -> Self:
        return cls(
            intent=intent,
            id=strawberry.ID(public("pay", intent.id)),
            state=intent.state,
            purpose=intent.purpose,
            amount=Money.of(intent.amount, intent.currency),
            capture_method=intent.capture_method,
            amount_captured=Money.of(intent.captured, intent.currency),
            amount_capturable=Money.of(intent.capturable, intent.currency),
            amount_refunded=Money.of(intent.refunded, intent.currency),
            capture_before=instant(intent.capture_before) if intent.capture_before else None,
            next_action=_next_action(intent),
            description=intent.description,
            created_at=instant(intent.created_at),
            expires_at=instant(intent.expires_at),
        )

    @described("Who is paid.")
    async def payee(self, info: Info) -> Party:
        return Party.of(await info.context.party_of(self.intent.payee))

    @described("Who pays; null until somebody confirms.")
    async def payer(self, info: Info) -> Party | None:
        if self.intent.payer is None:
            return None
        return Party.of(await info.context.party_of(self.intent.payer))

    @described("The tries, oldest first; another payer's are not shown.")
    async def attempts(self, info: Info) -> list[Attempt]:
        if self.intent.attempts == 0:
            return []
        context = info.context
        tried = await context.attempts_of(self.intent.id)
        return [Attempt.of(one) for one in shown(context.actor, self.intent, tried)]

    @described("What of it went back, or is on its way back; oldest first.")
    async def refunds(self, info: Info) -> list[Refund]:
        if self.intent.captured == 0:
            return []
        return [Refund.of(one) for one in await info.context.refunds_of(self.intent.id)]


def _next_action(intent: model.Intent) -> NextAction | None:
    kind = rules.action_type(intent)
    return None if kind is None else NextAction(type=kind, url=intent.action or "")
