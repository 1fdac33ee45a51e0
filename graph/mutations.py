"""Mutations: each input to one command of the core, each answer a payment or its refusal."""

from typing import Annotated, Self
from uuid import UUID

import strawberry

from graph.context import Context, Info
from graph.money import MinorUnits
from graph.payments import Payment
from graph.refunds import Refund
from graph.refusals import UserError, user_error
from server_core.errors import DomainError, Kind
from server_core.ids import parse
from server_core.money import parse_minor
from server_core.payments import commands
from server_core.payments import service as payments
from server_core.payments.attempts import one_instrument
from server_core.payments.model import (
    LIFE_MS,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Purpose,
)
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask, Reason

_KEY = "One per payment you mean: 1 to 255 visible ASCII characters, the same on every retry."


@strawberry.input(description="Ask for money (as payee), or offer it (as payer).")
class CreatePaymentInput:
    idempotency_key: str = strawberry.field(description=_KEY)
    payee_id: strawberry.ID
    amount: MinorUnits
    currency: str = strawberry.field(default="INR", description="ISO 4217.")
    description: str = ""
    expires_in: int = strawberry.field(
        default=LIFE_MS // 1000, description="Seconds, up to 7 days."
    )
    capture_method: CaptureMethod = CaptureMethod.AUTOMATIC


@strawberry.input(description="Fill one's own wallet from a bank.")
class CreateTopUpInput:
    idempotency_key: str = strawberry.field(description=_KEY)
    amount: MinorUnits
    currency: str = strawberry.field(default="INR", description="ISO 4217.")


@strawberry.input(
    description="Pay: from the wallet (BOOK), over UPI, by a link that any app pays (UPI_LINK), by"
    " card, at a bank (NETBANKING)."
)
class ConfirmPaymentInput:
    idempotency_key: str = strawberry.field(description=_KEY)
    id: strawberry.ID
    method: Method
    payer_vpa: str | None = strawberry.field(
        default=None, description="The account's address, name@bank; for UPI only."
    )
    card_token: str | None = strawberry.field(
        default=None, description="tok_…, never the card's number; for CARD only."
    )
    bank: str | None = strawberry.field(
        default=None, description="The bank's code; for NETBANKING only."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Say what would come of it, and do nothing. The key stays free."
    )


@strawberry.input(description="Take what a payment has set aside; what is not taken goes back.")
class CapturePaymentInput:
    idempotency_key: str = strawberry.field(description=_KEY)
    id: strawberry.ID
    amount: MinorUnits | None = strawberry.field(
        default=None, description="All that is left when it is not said."
    )
    final: bool = strawberry.field(
        default=True, description="False to capture more later: MANUAL_MULTIPLE only."
    )


@strawberry.input(description="Give captured money back: all that is left of it, or a part.")
class RefundPaymentInput:
    idempotency_key: str = strawberry.field(description=_KEY)
    id: strawberry.ID
    amount: MinorUnits | None = strawberry.field(
        default=None, description="All that is left when it is not said."
    )
    reason: Reason = Reason.REQUESTED_BY_CUSTOMER
    note: str = ""


@strawberry.input(
    description="End a payment that nobody has paid, or give back what it set aside."
    " A repeat changes nothing: no key."
)
class CancelPaymentInput:
    id: strawberry.ID


@strawberry.type
class _Payload:
    payment: Payment | None
    user_errors: list[UserError]

    @classmethod
    def of(cls, intent: Intent) -> Self:
        return cls(payment=Payment.of(intent), user_errors=[])

    @classmethod
    def refused(
        cls, refused: DomainError, currency: str | None = None, *, stands: Intent | None = None
    ) -> Self:
        return cls(
            payment=Payment.of(stands) if stands else None,
            user_errors=[user_error(refused, currency)],
        )


@strawberry.type
class CreatePaymentPayload(_Payload):
    pass


@strawberry.type
class CreateTopUpPayload(_Payload):
    pass


@strawberry.type(description="After a refusal `payment` says how it stands now.")
class ConfirmPaymentPayload(_Payload):
    pass


@strawberry.type
class CapturePaymentPayload(_Payload):
    pass


@strawberry.type
class RefundPaymentPayload:
    refund: Refund | None
    user_errors: list[UserError]


@strawberry.type
class CancelPaymentPayload(_Payload):
    pass


@strawberry.type(description="One a request. What is refused is told in userErrors.")
class Mutation:
    @strawberry.mutation
    async def create_payment(
        self, info: Info, data: Annotated[CreatePaymentInput, strawberry.argument(name="input")]
    ) -> CreatePaymentPayload:
        try:
            command = Create(
                actor=info.context.actor,
                key=data.idempotency_key,
                payee=parse("pty", data.payee_id, field="payeeId"),
                amount=parse_minor(data.amount),
                currency=data.currency,
                description=data.description,
                life_ms=data.expires_in * 1000,
                capture_method=data.capture_method,
            )
            made = await payments.create(info.context.db, command)
        except DomainError as refused:
            return CreatePaymentPayload.refused(refused, data.currency)
        return CreatePaymentPayload.of(made)

    @strawberry.mutation
    async def create_top_up(
        self, info: Info, data: Annotated[CreateTopUpInput, strawberry.argument(name="input")]
    ) -> CreateTopUpPayload:
        try:
            command = Create(
                actor=info.context.actor,
                key=data.idempotency_key,
                payee=info.context.party,
                amount=parse_minor(data.amount),
                currency=data.currency,
                purpose=Purpose.TOP_UP,
            )
            made = await payments.create(info.context.db, command)
        except DomainError as refused:
            return CreateTopUpPayload.refused(refused, data.currency)
        return CreateTopUpPayload.of(made)

    @strawberry.mutation
    async def confirm_payment(
        self, info: Info, data: Annotated[ConfirmPaymentInput, strawberry.argument(name="input")]
    ) -> ConfirmPaymentPayload:
        context = info.context
        try:
            command = Confirm(
                actor=context.actor,
                key=data.idempotency_key,
                intent=parse("pay", data.id),
                method=data.method,
                instrument=one_instrument(
                    data.method,
                    payerVpa=data.payer_vpa,
                    cardToken=data.card_token,
                    bank=data.bank,
                ),
            )
        except DomainError as refused:
            return ConfirmPaymentPayload.refused(refused)
        try:
            if data.dry_run:
                paid = await commands.dry_run(context.db, context.rails, command)
            else:
                paid = await payments.confirm(
                    context.db, context.confirmations, context.rails, command
                )
        except DomainError as refused:
            # The payer's next step hangs on how it stands now: declined, paid, or over.
            stands = await _stands(context, command.intent, refused)
            currency = stands.currency if stands else None
            return ConfirmPaymentPayload.refused(refused, currency, stands=stands)
        return ConfirmPaymentPayload.of(paid)

    @strawberry.mutation
    async def capture_payment(
        self, info: Info, data: Annotated[CapturePaymentInput, strawberry.argument(name="input")]
    ) -> CapturePaymentPayload:
        context = info.context
        try:
            command = Capture(
                actor=context.actor,
                key=data.idempotency_key,
                intent=parse("pay", data.id),
                amount=None if data.amount is None else parse_minor(data.amount),
                final=data.final,
            )
            taken = await payments.capture(context.db, context.rails, command)
        except DomainError as refused:
            return CapturePaymentPayload.refused(refused)
        return CapturePaymentPayload.of(taken)

    @strawberry.mutation
    async def refund_payment(
        self, info: Info, data: Annotated[RefundPaymentInput, strawberry.argument(name="input")]
    ) -> RefundPaymentPayload:
        context = info.context
        try:
            command = Ask(
                actor=context.actor,
                key=data.idempotency_key,
                intent=parse("pay", data.id),
                amount=None if data.amount is None else parse_minor(data.amount),
                reason=data.reason,
                note=data.note,
            )
            made = (await refunds.refund(context.db, context.rails, command)).value
        except DomainError as refused:
            return RefundPaymentPayload(refund=None, user_errors=[user_error(refused, None)])
        return RefundPaymentPayload(refund=Refund.of(made), user_errors=[])

    @strawberry.mutation
    async def cancel_payment(
        self, info: Info, data: Annotated[CancelPaymentInput, strawberry.argument(name="input")]
    ) -> CancelPaymentPayload:
        context = info.context
        try:
            over = await payments.cancel(
                context.db, context.rails, context.actor, parse("pay", data.id)
            )
        except DomainError as refused:
            return CancelPaymentPayload.refused(refused)
        return CancelPaymentPayload.of(over)


async def _stands(context: Context, intent: UUID, refused: DomainError) -> Intent | None:
    if refused.kind is not Kind.CONFLICT:
        return None
    try:
        async with context.db.reader() as reader:
            return await payments.get(reader, context.actor, intent)
    except DomainError:
        return None
