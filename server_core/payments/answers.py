"""What a payment says: to the key that asked for it, and to the event log."""

from typing import Any, Final
from uuid import UUID

import msgspec

from server_core.actor import Actor
from server_core.db.work import Emitted
from server_core.errors import DomainError, Kind, conflict
from server_core.idempotency import rules as keys
from server_core.idempotency.model import Answer, Claim, Repeated
from server_core.ids import derived, public
from server_core.payments.model import (
    Attempt,
    AttemptState,
    Cancel,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Operation,
    Pay,
)

_PAY: Final = "payment.pay"
_CONFIRM: Final = "payment.confirm"
_CAPTURE: Final = "payment.capture"


def claim_of(command: Create | Confirm | Pay | Capture | Cancel) -> Claim:
    """The caller's party, the key, the verb and the canonical body; raises idempotency.key_….

    The scope is the party, not the session: a retry after a new sign-in finds its answer. Both
    faces of the server make these commands, so a key means the same through either.
    """
    match command:
        case Create():
            verb, body = "payment.create", _offered(command)
        case Confirm():
            verb = _CONFIRM
            body = _confirmed(command.intent, command.method, command.instrument)
        case Pay():
            verb, body = _PAY, _paid(_offered(command.offer), command.method, command.instrument)
        case Capture():
            verb = _CAPTURE
            body = {"intent": command.intent, "amount": command.amount, "final": command.final}
        case Cancel():
            verb, body = "payment.cancel", {"intent": command.intent}
    return Claim(
        scope=str(command.actor.party),
        key=keys.check_key(command.key),
        verb=verb,
        body=keys.body_hash(body),
    )


def claim_of_attempt(attempt: Attempt) -> Claim | None:
    """The claim that began the attempt: its answer is for that request alone. A void has none."""
    if not attempt.verb:
        return None
    return Claim(scope=attempt.scope, key=attempt.key, verb=attempt.verb, body=attempt.body)


def origin_of(claim: Claim) -> UUID:
    """What an intent keeps of the command and the key that made it, after the answer is forgotten."""
    return derived("intent", claim.verb, claim.scope, claim.key)


def _paid_at_once(attempt: Attempt, intent: Intent) -> bool:
    return intent.origin == derived("intent", _PAY, attempt.scope, attempt.key)


def _offered(command: Create) -> dict[str, Any]:
    return _offer(
        payee=command.payee, amount=command.amount, currency=command.currency,
        purpose=command.purpose, description=command.description, life=command.life_ms,
        capture=command.capture_method,
    )  # fmt: skip


def _offer(*, capture: CaptureMethod, **said: Any) -> dict[str, Any]:
    """What is ordinary is not said: keys from before there was a choice mean what they meant."""
    return said if capture is CaptureMethod.AUTOMATIC else said | {"capture": capture}


def _confirmed(intent: UUID, method: Method, instrument: str | None) -> dict[str, Any]:
    return {"intent": intent, "method": method, "vpa": instrument}


def _paid(offered: dict[str, Any], method: Method, instrument: str | None) -> dict[str, Any]:
    return offered | {"method": method, "vpa": instrument}


def event(name: str, intent: Intent, actor: Actor, attempt: Attempt | None = None) -> Emitted:
    payload = {
        "state": intent.state,
        "purpose": intent.purpose,
        "amount": str(intent.amount),
        "captured": str(intent.captured),
        "capturable": str(intent.capturable),
        "currency": intent.currency,
        "payee": str(intent.payee),
        "payer": str(intent.payer) if intent.payer else None,
    }
    if attempt is not None:
        payload |= {
            "attempt": str(attempt.number),
            "operation": attempt.operation,
            "method": attempt.method,
            "rail": attempt.rail,
            "outcome": attempt.state,
            "code": attempt.code,
        }
    return Emitted(
        aggregate_type="payment",
        aggregate_id=intent.id,
        type=name,
        payload=payload,
        actor=actor,
        correlation=intent.id,
    )


def declined(attempt: Attempt, intent: Intent) -> DomainError:
    """What is told of an attempt that ended without money moving."""
    if attempt.operation is Operation.CAPTURE and attempt.state is AttemptState.DECLINED:
        return conflict(
            "payments.capture_declined",
            "the bank refused to take what was set aside",
            rail_code=attempt.code,
        )
    if attempt.state is AttemptState.NOT_SENT:
        return DomainError(
            Kind.UNAVAILABLE,
            "payments.rail_unavailable",
            "the bank network was not reached and nothing was debited: try again",
            **named(attempt, intent),
        )
    return conflict(
        "payments.declined",
        "the bank declined and nothing was debited: choose another way to pay",
        rail_code=attempt.code,
        **named(attempt, intent),
    )


def named(attempt: Attempt, intent: Intent) -> dict[str, str]:
    """The intent as a fact for whoever paid at once: its id was not known before."""
    return {"payment": public("pay", intent.id)} if _paid_at_once(attempt, intent) else {}


def said(intent: Intent) -> Any:
    return {"intent": intent}


def intent_of(answer: Any) -> Intent:
    return msgspec.convert(answer["intent"], Intent, strict=False)


def replayed(answer: Any) -> Answer[Intent] | Repeated:
    """The stored answer as the outcome of a repeat."""
    if "intent" in answer:
        return Answer(value=intent_of(answer), replayed=True)
    return keys.repeated(answer)
