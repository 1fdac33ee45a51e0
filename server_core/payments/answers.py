"""What a payment says: to the key that asked for it, and to the event log."""

from typing import Any

import msgspec

from server_core.actor import Actor
from server_core.db.work import Emitted
from server_core.errors import DomainError, Kind, conflict
from server_core.idempotency import rules as keys
from server_core.idempotency.model import Claim
from server_core.payments.model import Attempt, AttemptState, Confirm, Intent


def claim_of(verb: str, actor: Actor, key: str, body: dict[str, Any]) -> Claim:
    return Claim(
        scope=str(actor.party), key=keys.check_key(key), verb=verb, body=keys.body_hash(body)
    )


def claim_of_confirm(command: Confirm) -> Claim:
    return claim_of(
        "payment.confirm",
        command.actor,
        command.key,
        {"intent": command.intent, "method": command.method, "vpa": command.payer_vpa},
    )


def claim_of_attempt(attempt: Attempt) -> Claim:
    """The claim that began the attempt, made again from it: its answer is for that request alone."""
    body = {"intent": attempt.intent, "method": attempt.method, "vpa": attempt.payer_vpa}
    return Claim(
        scope=attempt.scope,
        key=attempt.key,
        verb="payment.confirm",
        body=keys.body_hash(body),
    )


def event(name: str, intent: Intent, actor: Actor, attempt: Attempt | None = None) -> Emitted:
    payload = {
        "state": intent.state,
        "purpose": intent.purpose,
        "amount": str(intent.amount),
        "currency": intent.currency,
        "payee": str(intent.payee),
        "payer": str(intent.payer) if intent.payer else None,
    }
    if attempt is not None:
        payload |= {
            "attempt": str(attempt.number),
            "method": attempt.method,
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


def declined(attempt: Attempt) -> DomainError:
    if attempt.state is AttemptState.NOT_SENT:
        return DomainError(
            Kind.UNAVAILABLE,
            "payments.rail_unavailable",
            "the bank network was not reached and nothing was debited: try again",
        )
    return conflict(
        "payments.declined",
        "the bank declined and nothing was debited: choose another way to pay",
        rail_code=attempt.code,
    )


def said(intent: Intent) -> Any:
    return {"intent": msgspec.to_builtins(intent)}


def said_no(error: DomainError) -> Any:
    return {
        "error": {
            "kind": error.kind,
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "facts": error.facts,
        }
    }


def intent_of(answer: Any) -> Intent:
    return msgspec.convert(answer["intent"], Intent, strict=False)


def replayed(answer: Any) -> Intent | DomainError:
    if "intent" in answer:
        return intent_of(answer)
    error = answer["error"]
    return DomainError(
        Kind(error["kind"]), error["code"], error["message"], field=error["field"], **error["facts"]
    )
