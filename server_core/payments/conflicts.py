"""How a `conflicted` payment ends when its rail never agrees: an operator decides, and books it."""

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.db.work import Work
from server_core.errors import conflict, denied
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Result, Transfer, account_id
from server_core.parties import service as parties
from server_core.payments import answers, attempts, rules, store
from server_core.payments.model import Attempt, AttemptState, Decision, Intent, State

_TO: Final = {
    Decision.TAKEN: State.SUCCEEDED,
    Decision.WRITTEN_OFF: State.SUCCEEDED,
    Decision.TAKEN_BACK: State.CANCELED,
}


async def decide(work: Work, actor: Actor, intent_id: UUID, decision: Decision) -> Intent:
    """End the conflict, with the transfer that the decision means, in one commit.

    Raises payments.operators_only, payments.unknown, payments.state when it is not conflicted (any
    more), payments.decided when an earlier conflict of it ended otherwise, payments.refunded when what is to be taken back was given back in part already, and
    payments.payee_short when the payee does not hold enough. A rail that changes its mind later is
    heard: what it took of a payment that was taken back is a stray, and goes back to the payer.
    """
    check_decides(actor)
    intent = (await store.lock(work, [intent_id])).get(intent_id)
    if intent is None:
        raise rules.unknown_intent()
    if intent.state is not State.CONFLICTED:
        raise conflict("payments.state", f"this payment is {intent.state}", state=str(intent.state))
    if decision is Decision.TAKEN_BACK and intent.refunded:
        raise conflict(
            "payments.refunded", "a part of it was refunded: write it off", refunded=intent.refunded
        )
    attempt = await store.paid_by(work, intent.id)
    await _move(work, intent, attempt, decision)
    now = work.now_ms
    if decision is Decision.TAKEN_BACK:
        done = rules.moved(intent, _TO[decision], now, captured=0)
        # Its rail may have had it after all: then it is a stray.
        attempt = replace(
            attempt, state=AttemptState.REVERSED, asked=0, next_check_at=now + attempts.DAY_MS
        )
    else:
        done = rules.moved(intent, _TO[decision], now)
    await store.save(work, [done])
    await store.save_attempt(work, attempt)
    said = answers.event("payment.conflict_decided", done, actor, attempt)
    said.payload["decision"] = decision
    work.emit(said)
    return done


def check_decides(actor: Actor) -> None:
    if actor.role is not Role.OPERATOR:
        raise denied("payments.operators_only", "only an operator decides how a conflict ends")


async def _move(work: Work, intent: Intent, attempt: Attempt, decision: Decision) -> None:
    owed = intent.captured - intent.refunded  # what was refunded, its rail has paid already
    if decision is Decision.TAKEN or not owed:
        return
    if decision is Decision.WRITTEN_OFF:
        source = account_id(Code.COMPENSATION, attempts.HOUSE, intent.currency)
    else:
        payee = await parties.get(work, intent.payee)
        source = parties.money_account(payee, intent.currency)
    [outcome] = await ledger.post(
        work,
        [
            Transfer(
                id=derived("payment", intent.id, attempt.number, "conflict"),
                debit=source,
                credit=account_id(Code.CLEARING, attempt.rail, intent.currency),
                amount=owed,
                ledger=intent.currency,
                code=decision,
                reference=str(intent.id),
            )
        ],
    )
    if outcome.result is Result.EXISTS_WITH_DIFFERENT_FIELDS:
        raise conflict(
            "payments.decided", "it was decided otherwise before: decide as then, or taken"
        )
    if not outcome.ok:
        raise conflict(
            "payments.payee_short",
            "the payee does not hold enough to give it back: write it off, or decide later",
            available=outcome.available,
        )
