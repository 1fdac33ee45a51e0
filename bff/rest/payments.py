"""Payments over REST: the same commands of the core as the GraphQL mutations, each once per key."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta

from bff.auth import actor_of, core_of
from bff.rest.bodies import Body, malformed, read
from bff.rest.idempotency import REPLAYED, once
from bff.rest.openapi import responses, takes
from graph.money import instant
from server_core.actor import Actor
from server_core.idempotency.model import Answer
from server_core.ids import parse, public
from server_core.money import parse_minor
from server_core.payments import commands, service
from server_core.payments.attempts import one_instrument
from server_core.payments.model import (
    LIFE_MS,
    ActionType,
    Cancel,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Pay,
    Purpose,
    State,
)
from server_core.payments.rules import action_type

Asked = Request[Any, Any, Any]

_AMOUNT: Final = Meta(
    description="Minor units as a string of digits: `15000` is INR 150.00.",
    examples=["15000"],
    extra_json_schema={"pattern": "^[1-9][0-9]{0,15}$"},
)
_CURRENCY: Final = Meta(description="ISO 4217.", examples=["INR"])
_VPA: Final = Meta(description="The payer's account, `name@bank`; for `upi` only.")
_TOKEN: Final = Meta(description="The card's token, `tok_…`, never its number; for `card` only.")
_BANK: Final = Meta(description="The bank's code; for `netbanking` only.")
_CAPTURE: Final = Meta(
    description="When the money is taken: at once, by one capture later, or by several."
)
_PAYEE: Final = Meta(description="Who is paid, `pty_…`; of a top-up the payer, by itself.")


class CreateIntent(Body):
    """Ask for money (as its payee), offer it (as its payer), or fill one's own wallet (top_up)."""

    amount: Annotated[str, _AMOUNT]
    payee_id: Annotated[str | None, _PAYEE] = None
    currency: Annotated[str, _CURRENCY] = "INR"
    purpose: Purpose = Purpose.PAYMENT
    description: str = ""
    expires_in: Annotated[int, Meta(description="Seconds, up to 7 days.")] = LIFE_MS // 1000
    capture_method: Annotated[CaptureMethod, _CAPTURE] = CaptureMethod.AUTOMATIC

    def command(self, actor: Actor, key: str) -> Create:
        return Create(
            actor=actor,
            key=key,
            payee=_payee(self.payee_id, self.purpose, actor),
            amount=parse_minor(self.amount),
            currency=self.currency,
            purpose=self.purpose,
            description=self.description,
            life_ms=self.expires_in * 1000,
            capture_method=self.capture_method,
        )


class _Instrument(Body, kw_only=True):
    """What pays, by the method that it belongs to."""

    method: Method
    payer_vpa: Annotated[str | None, _VPA] = None
    card_token: Annotated[str | None, _TOKEN] = None
    bank: Annotated[str | None, _BANK] = None

    def instrument(self) -> str | None:
        """The one that the method takes; raises payments.instrument for another's."""
        return one_instrument(
            self.method, payerVpa=self.payer_vpa, cardToken=self.card_token, bank=self.bank
        )


class ConfirmIntent(_Instrument, kw_only=True):
    """Pay an intent: from the wallet, over UPI, by a link that any app pays, by card, at a bank."""

    dry_run: Annotated[
        bool, Meta(description="Say what would come of it, and do nothing. The key stays free.")
    ] = False


class MakePayment(_Instrument, kw_only=True):
    """Create and confirm in one, as its payer."""

    amount: Annotated[str, _AMOUNT]
    payee_id: Annotated[str | None, _PAYEE] = None
    currency: Annotated[str, _CURRENCY] = "INR"
    purpose: Purpose = Purpose.PAYMENT
    description: str = ""
    capture_method: Annotated[CaptureMethod, _CAPTURE] = CaptureMethod.AUTOMATIC

    def command(self, actor: Actor, key: str) -> Pay:
        offer = Create(
            actor=actor,
            key=key,
            payee=_payee(self.payee_id, self.purpose, actor),
            amount=parse_minor(self.amount),
            currency=self.currency,
            purpose=self.purpose,
            description=self.description,
            capture_method=self.capture_method,
        )
        return Pay(offer=offer, method=self.method, instrument=self.instrument())


class CaptureIntent(Body):
    """Take what was set aside: `amount`, or all that is left; `final` gives the rest back."""

    amount: Annotated[str, _AMOUNT] | None = None
    final: Annotated[bool, Meta(description="False to capture more later.")] = True


class CancelIntent(Body):
    """Nothing more is said: no body, or an empty object."""


class NextAction(msgspec.Struct, kw_only=True, frozen=True):
    """What the payer must do before anything moves."""

    type: ActionType
    url: Annotated[
        str, Meta(description="A bank's page to open, or a `upi://pay` link to show as a QR code.")
    ]


class PaymentIntent(msgspec.Struct, kw_only=True, frozen=True):
    """What is to be paid, by whom, to whom, and where it stands."""

    id: str
    state: State
    purpose: Purpose
    amount: Annotated[str, _AMOUNT]
    currency: Annotated[str, _CURRENCY]
    capture_method: Annotated[CaptureMethod, _CAPTURE]
    amount_captured: Annotated[str, Meta(description="What the payee has.")]
    amount_capturable: Annotated[str, Meta(description="Set aside, and not taken yet.")]
    amount_refunded: Annotated[str, Meta(description="Of what was captured, what goes back.")]
    capture_before: Annotated[
        datetime | None, Meta(description="After it what is set aside is the payer's again.")
    ]
    next_action: NextAction | None
    description: str
    payee_id: str
    payer_id: Annotated[str | None, Meta(description="Null until somebody confirms.")]
    created_at: datetime
    expires_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, intent: Intent) -> "PaymentIntent":
        return cls(
            id=public("pay", intent.id),
            state=intent.state,
            purpose=intent.purpose,
            amount=str(intent.amount),
            currency=intent.currency,
            capture_method=intent.capture_method,
            amount_captured=str(intent.captured),
            amount_capturable=str(intent.capturable),
            amount_refunded=str(intent.refunded),
            capture_before=instant(intent.capture_before) if intent.capture_before else None,
            next_action=_next_action(intent),
            description=intent.description,
            payee_id=public("pty", intent.payee),
            payer_id=public("pty", intent.payer) if intent.payer else None,
            created_at=instant(intent.created_at),
            expires_at=instant(intent.expires_at),
            updated_at=instant(intent.updated_at),
        )


def _next_action(intent: Intent) -> NextAction | None:
    kind = action_type(intent)
    return None if kind is None else NextAction(type=kind, url=intent.action or "")


Said = Response[PaymentIntent]


def _payee(named: str | None, purpose: Purpose, actor: Actor) -> UUID:
    if named is not None:
        return parse("pty", named, field="payeeId")
    if purpose is Purpose.TOP_UP and actor.party is not None:
        return actor.party
    raise malformed("payee_id is missing")


def _said(answer: Answer[Intent], status: int) -> Said:
    """The intent as it was answered, the first time and on every repeat."""
    said = PaymentIntent.of(answer.value)
    headers = {REPLAYED: "true"} if answer.replayed else {}
    if status != 200:
        headers["Location"] = f"/intents/{said.id}"
    return Response(said, status_code=status, headers=headers)


def _paid(answer: Answer[Intent], status: int) -> Said:
    """202 while the rail has not said what became of it, or the payer has yet to act."""
    waits = answer.value.state in {State.PROCESSING, State.REQUIRES_ACTION}
    return _said(answer, 202 if waits else status)


@post("/intents", operation_class=takes(CreateIntent), responses=responses(201, PaymentIntent))
async def create(request: Asked) -> Said:
    """Make an intent; it moves no money until it is confirmed."""

    async def do(actor: Actor, key: str) -> Said:
        asked = await read(request, CreateIntent)
        return _said(await commands.create(core_of(request).db, asked.command(actor, key)), 201)

    return await once(request, do)


@post(
    "/intents/{intent:str}/confirm",
    status_code=200,
    operation_class=takes(ConfirmIntent),
    responses=responses(200, PaymentIntent, pays=True),
)
async def confirm(request: Asked, intent: FromPath[str]) -> Said:
    """Pay an intent; 202 when its rail has not said yet, or the payer must act first."""

    async def do(actor: Actor, key: str) -> Said:
        core, asked = core_of(request), await read(request, ConfirmIntent)
        command = Confirm(
            actor=actor,
            key=key,
            intent=parse("pay", intent),
            method=asked.method,
            instrument=asked.instrument(),
        )
        if asked.dry_run:
            return _said(Answer(value=await commands.dry_run(core.db, core.rails, command)), 200)
        answer = await commands.confirm(core.db, core.confirmations, core.rails, command)
        return _paid(answer, 200)

    return await once(request, do)


@post(
    "/payments",
    operation_class=takes(MakePayment),
    responses=responses(201, PaymentIntent, pays=True),
)
async def pay(request: Asked) -> Said:
    """Make an intent and pay it, as one command; 202 when its rail has not said yet.

    When it is refused after the intent was made, the problem's `payment` names it: it may be
    confirmed another way, with a new key.
    """

    async def do(actor: Actor, key: str) -> Said:
        core, asked = core_of(request), await read(request, MakePayment)
        command = asked.command(actor, key)
        answer = await commands.confirm(core.db, core.confirmations, core.rails, command)
        return _paid(answer, 201)

    return await once(request, do)


@post(
    "/intents/{intent:str}/capture",
    status_code=200,
    operation_class=takes(CaptureIntent),
    responses=responses(200, PaymentIntent),
)
async def capture(request: Asked, intent: FromPath[str]) -> Said:
    """Take what an intent has set aside, whole or in part; its payee may."""

    async def do(actor: Actor, key: str) -> Said:
        core, asked = core_of(request), await read(request, CaptureIntent)
        command = Capture(
            actor=actor,
            key=key,
            intent=parse("pay", intent),
            amount=None if asked.amount is None else parse_minor(asked.amount),
            final=asked.final,
        )
        return _said(await commands.capture(core.db, core.rails, command), 200)

    return await once(request, do)


@post(
    "/intents/{intent:str}/cancel",
    status_code=200,
    operation_class=takes(CancelIntent),
    responses=responses(200, PaymentIntent),
)
async def cancel(request: Asked, intent: FromPath[str]) -> Said:
    """End an intent that nobody has paid, or give back what it set aside."""

    async def do(actor: Actor, key: str) -> Said:
        await read(request, CancelIntent)
        command = Cancel(actor=actor, key=key, intent=parse("pay", intent))
        core = core_of(request)
        return _said(await commands.cancel(core.db, core.rails, command), 200)

    return await once(request, do)


@get("/intents/{intent:str}", responses=responses(200, PaymentIntent, keyed=False))
async def show(request: Asked, intent: FromPath[str]) -> Said:
    """The intent as it stands now; for whoever pays it, is paid, or may pay it."""
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await service.get(reader, actor, parse("pay", intent))
    return Response(PaymentIntent.of(found), headers={"Cache-Control": "no-store"})


def routes() -> list[HTTPRouteHandler]:
    return [create, confirm, pay, capture, cancel, show]
