"""What a refund says: to the key that asked for it, and to the event log."""

from typing import Any

import msgspec
from msgspec.structs import replace

from server_core.actor import Actor
from server_core.db.work import Emitted
from server_core.errors import DomainError, conflict
from server_core.idempotency import rules as keys
from server_core.idempotency.model import Answer, Claim, Repeated
from server_core.ids import public
from server_core.refunds.model import Ask, Refund, State

_VERB = "refund.create"


def claim_of(command: Ask) -> Claim:
    """The caller's party, the key, the verb and the canonical body; raises idempotency.key_…."""
    body = {
        "intent": command.intent, "amount": command.amount, "reason": command.reason,
        "note": command.note,
    }  # fmt: skip
    return Claim(
        scope=str(command.actor.party),
        key=keys.check_key(command.key),
        verb=_VERB,
        body=keys.body_hash(body),
    )


def claim_of_refund(refund: Refund) -> Claim:
    """The claim that made the refund: its answer is for that request alone."""
    return Claim(scope=refund.scope, key=refund.key, verb=_VERB, body=refund.body)


def event(name: str, refund: Refund, actor: Actor) -> Emitted:
    return Emitted(
        aggregate_type="refund",
        aggregate_id=refund.id,
        type=name,
        payload={
            "state": refund.state,
            "payment": str(refund.intent),
            "amount": str(refund.amount),
            "currency": refund.currency,
            "reason": refund.reason,
            "payee": str(refund.payee),
            "payer": str(refund.payer) if refund.payer else None,
            "method": refund.method,
            "code": refund.code,
        },
        actor=actor,
        correlation=refund.intent,
    )


def failed(refund: Refund, *, reached: bool) -> DomainError:
    """What the payee is told of a refund that its rail did not take; the money is theirs again.

    It is the key's answer either way: one key makes one refund, another one needs another key.
    """
    if not reached:
        return conflict(
            "refunds.rail_unavailable",
            "the bank network was not reached and nothing went back: refund again with a new key",
            refund=public("ref", refund.id),
        )
    return conflict(
        "refunds.failed",
        "the bank did not take the refund: the money is the payee's again",
        rail_code=refund.code,
        refund=public("ref", refund.id),
    )


def said(refund: Refund) -> Any:
    # The hash of the body names nothing that its reader does not know: it is not told again.
    return {"refund": msgspec.to_builtins(replace(refund, body=b""))}


def replayed(answer: Any) -> Answer[Refund] | Repeated:
    """The stored answer as the outcome of a repeat."""
    if "refund" in answer:
        found = msgspec.convert(answer["refund"], Refund, strict=False)
        return Answer(value=found, replayed=True)
    return keys.repeated(answer)


def ending(refund: Refund) -> str:
    return "refund.succeeded" if refund.state is State.SUCCEEDED else "refund.failed"
