"""What an allowance and its vouchers say: to the event log, and to who asks for another's."""

from typing import Any

from server_core.actor import Actor
from server_core.db.work import Emitted
from server_core.errors import DomainError, not_found
from server_core.ids import derived
from server_core.vouchers.model import Allowance


def unknown() -> DomainError:
    return not_found("vouchers.unknown", "no such allowance")


def event(name: str, allowance: Allowance, actor: Actor, **facts: Any) -> Emitted:
    return Emitted(
        aggregate_type="allowance",
        aggregate_id=derived("allowance", allowance.aid.hex()),
        type=name,
        payload={
            "aid": allowance.aid.hex(),
            "payer": str(allowance.party),
            "currency": allowance.currency,
            "hold": str(allowance.hold),
            "settled": str(allowance.settled),
            "state": allowance.state,
            "frozen": allowance.frozen,
        }
        | facts,
        actor=actor,
    )
