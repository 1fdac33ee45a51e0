"""What may be given back, by whom, and how the money moves. Pure."""

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.errors import DomainError, conflict, denied, invalid, not_found
from server_core.idempotency.model import LEASE_MS, Claim
from server_core.ids import derived
from server_core.ledger.model import Code, Mode, Outcome, Result, Transfer, account_id
from server_core.money import positive_minor
from server_core.parties.model import MONEY_ACCOUNT, Party
from server_core.payments.model import Attempt, Intent
from server_core.payments.model import State as IntentState
from server_core.payments.rules import check_acts
from server_core.rails import rules as rail_rules
from server_core.rails.model import Outcome as RailOutcome
from server_core.refunds.model import MAX_NOTE, TRANSITIONS, Ask, Refund, State

DAY_MS: Final = 24 * 60 * 60 * 1000
MAX_ASKED: Final = 100
"""How often a refund that has failed is asked about before we let it rest."""


def unknown_refund() -> DomainError:
    return not_found("refunds.unknown", "no such refund", field="id")


def refund_id(claim: Claim) -> UUID:
    """A refund's id is the key that made it, so that a key makes one refund for ever."""
    return derived("refund", claim.scope, claim.key)


def check_ask(command: Ask, intent: Intent) -> int:
    """What goes back, in minor units; raises what stands against it."""
    check_acts(command.actor)
    if intent.payee != command.actor.party:
        raise denied("refunds.not_the_payee", "only who was paid gives money back")
    if intent.state is IntentState.CONFLICTED:
        raise conflict(
            "refunds.conflicted", "its rail denies this payment: it is decided first what holds"
        )
    if len(command.note) > MAX_NOTE or not command.note.isprintable():
        raise invalid(
            "refunds.note", f"note must be at most {MAX_NOTE} printable characters", field="note"
        )
    left = intent.captured - intent.refunded
    if command.amount is None and not left:
        raise conflict("refunds.nothing_left", "nothing of this payment is left to give back")
    amount = positive_minor(left if command.amount is None else command.amount)
    if amount > left:
        raise conflict(
            "refunds.exceeds_captured",
            f"at most {left} minor units of this payment are left to give back",
            refundable=left,
        )
    return amount


def new_refund(
    command: Ask, claim: Claim, intent: Intent, paid: Attempt, amount: int, now_ms: int
) -> Refund:
    at_once = paid.rail is None
    return Refund(
        id=refund_id(claim),
        intent=intent.id,
        attempt=paid.id,
        method=paid.method,
        rail=paid.rail,
        debit=paid.debit,
        payee=intent.payee,
        payer=intent.payer,
        amount=amount,
        currency=intent.currency,
        state=State.SUCCEEDED if at_once else State.PENDING,
        reason=command.reason,
        note=command.note,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None if at_once else now_ms + LEASE_MS,
        scope=claim.scope,
        key=claim.key,
        body=claim.body,
        created_at=now_ms,
        ended_at=now_ms if at_once else None,
    )


def transfer(refund: Refund, payee: Party) -> Transfer:
    """At once into the payer's wallet; set aside, without expiry, until a rail has taken it."""
    at_once = refund.rail is None
    back = (
        account_id(Code.WALLET, refund.payer, refund.currency)
        if at_once
        else account_id(Code.CLEARING, refund.rail, refund.currency)
    )
    return Transfer(
        id=derived("refund", refund.id, "move"),
        mode=Mode.SINGLE if at_once else Mode.PENDING,
        debit=account_id(MONEY_ACCOUNT[payee.kind], payee.id, refund.currency),
        credit=back,
        amount=refund.amount,
        ledger=refund.currency,
        code="refund",
        reference=str(refund.intent),
    )


def resolution(refund: Refund, mode: Mode) -> Transfer:
    """POST when the rail took it, VOID when it did not."""
    return Transfer(
        id=derived("refund", refund.id, mode),
        mode=mode,
        amount=refund.amount if mode is Mode.POST else 0,
        ledger=refund.currency,
        code="refund",
        reference=str(refund.intent),
        pending_id=derived("refund", refund.id, "move"),
    )


def late(refund: Refund, payee: Party) -> Transfer:
    """What a failed refund moves that its rail made all the same: from the payee, who had it again."""
    return replace(
        transfer(refund, payee), id=derived("refund", refund.id, "late"), mode=Mode.SINGLE
    )


def transfer_ids(refund: Refund) -> list[UUID]:
    """Every transfer that a refund may have made; those that it did not make do not exist."""
    return [derived("refund", refund.id, leg) for leg in ("move", Mode.POST, Mode.VOID, "late")]


def refusal(outcome: Outcome) -> DomainError:
    """A ledger refusal in the payee's words."""
    result = outcome.first_failure or outcome.result
    if result is Result.EXCEEDS_FUNDS:
        return conflict(
            "refunds.insufficient_funds",
            "the account that was paid does not hold enough to give back",
            available=outcome.available,
        )
    return conflict("refunds.refused", f"the ledger refused: {result}", reason=str(result))


def ended(refund: Refund, state: State, now_ms: int) -> Refund:
    if state not in TRANSITIONS[refund.state]:
        raise AssertionError(f"refund {refund.id} is {refund.state}")
    return replace(refund, state=state, asked=0, next_check_at=None, ended_at=now_ms)


def watched(refund: Refund, *, left: bool, now_ms: int, pace: float) -> Refund:
    """A failed refund is looked at once more: soon when it never left, else a day later."""
    wait = DAY_MS if left else rail_rules.FIRST_CHECK_MS
    return replace(refund, next_check_at=now_ms + max(1, int(wait * pace)))


def rested(refund: Refund, *, heard: bool, now_ms: int, pace: float) -> Refund:
    """After a look at a failed one: not again, unless the rail was not heard."""
    again = not heard and refund.asked < MAX_ASKED
    wait = max(1, int(DAY_MS * pace)) if again else None
    return replace(
        refund, asked=refund.asked + 1, next_check_at=None if wait is None else now_ms + wait
    )


def is_denied(refund: Refund, outcome: RailOutcome) -> bool:
    """Whether a rail says the opposite of how the refund ended."""
    return (refund.state, outcome) in {
        (State.SUCCEEDED, RailOutcome.DECLINED),
        (State.SUCCEEDED, RailOutcome.REVERSED),
    }


def asks_for(command: Ask, claim: Claim, refund: Refund) -> bool:
    """Whether `refund` is what `command` made, when the key's own answer is forgotten."""
    return (command.intent, claim.body) == (refund.intent, refund.body)


def visible(refund: Refund | None, actor: Actor) -> Refund:
    """The refund, if the actor may know of it; to others it does not exist."""
    if refund is None or not may_see(refund, actor):
        raise unknown_refund()
    return refund


def may_see(refund: Refund, actor: Actor) -> bool:
    """For who gives it, who gets it and operators."""
    mine = actor.party is not None and actor.party in {refund.payee, refund.payer}
    return mine or actor.role in {Role.OPERATOR, Role.SYSTEM}
