"""Transaction 2: bring an attempt to what its rail answered, over the next rail if it never left."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Claim, Running
from server_core.ledger import service as ledger
from server_core.ledger.model import Mode, Transfer
from server_core.parties import service as parties
from server_core.payments import answers, attempts, counting, rules, store, tracing
from server_core.payments.confirming import Sent
from server_core.payments.model import (
    MAX_OPERATIONS,
    OPEN,
    Attempt,
    AttemptState,
    CaptureMethod,
    Intent,
    Operation,
    State,
)
from server_core.rails import rules as rail_rules
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome as RailOutcome
from server_core.rails.model import RailAnswer

_log = structlog.get_logger("hundi.payments")


class Landed(Struct, frozen=True, kw_only=True):
    """How an attempt and its intent stand now; `next` is to be sent instead of it."""

    intent: Intent
    attempt: Attempt
    next: Sent | None = None


class Landing(Struct, frozen=True, kw_only=True):
    """What a rail answered of an attempt; `sent` is the request that still waits for it."""

    attempt: UUID
    answer: RailAnswer
    sent: Sent | None = None


async def land(db: Database, rails: Rails, attempt: UUID, answer: RailAnswer) -> Intent:
    """Bring the attempt to what the rail answered; a repeat changes nothing.

    Raises payments.declined when the payer must choose another way.
    """
    one = Landing(attempt=attempt, answer=answer)

    async def do(work: Work) -> Landed:
        [landed] = await land_many(work, [one], rails=rails)
        return landed

    return told(await db.transact(do))


def told(landed: Landed) -> Intent:
    if (
        landed.attempt.operation is not Operation.VOID
        and landed.attempt.state in attempts.NOTHING_MOVED
    ):
        raise answers.declined(landed.attempt, landed.intent)
    return landed.intent


async def land_many(work: Work, landings: Sequence[Landing], *, rails: Rails) -> list[Landed]:
    """Transaction 2 of many: every lock first, keys before intents as confirms take them, then each."""
    # Whose they are never changes: who has just sent one knows it without a look.
    known = {one.attempt: one.sent.attempt for one in landings if one.sent is not None}
    unknown = {one.attempt for one in landings} - known.keys()
    if unknown:
        known |= await store.attempts_by_id(work, unknown)
    claims = [answers.claim_of_attempt(one) for one in known.values()]
    await idempotency.hold(work, [one for one in claims if one is not None])
    intents = await store.lock(work, {one.intent for one in known.values()})
    tries = await store.attempts_by_id(work, known)  # as they are now that nobody else lands them
    landed = []
    for one in landings:
        attempt = tries.pop(one.attempt, None) or await store.attempt(work, one.attempt)
        if attempt is None:
            raise rules.unknown_intent()
        # The first of an intent's landings finds it as it was locked, another as that one left it.
        intent = intents.pop(attempt.intent, None) or await store.get(work, attempt.intent)
        if intent is None:
            raise rules.unknown_intent()
        landed.append(await _land(work, rails, one, intent, attempt))
    return landed


async def _land(
    work: Work, rails: Rails, landing: Landing, intent: Intent, attempt: Attempt
) -> Landed:
    answer, sent, began = landing.answer, landing.sent, work.tracing.now()
    claim = answers.claim_of_attempt(attempt)
    if attempt.state not in OPEN:
        await _doubt(work, attempt, answer)
        if claim is not None and await _waits_still(work, claim, intent, attempt):
            await _answered(work, claim, intent, attempt)  # taken over after its end
        return Landed(intent=intent, attempt=attempt)
    attempt = replace(
        attempt,
        state=attempts.verdict(attempt, intent, answer.outcome),
        code=answer.code or attempt.code,
        rail_reference=answer.rail_reference or attempt.rail_reference,
        debit=answer.debit or attempt.debit,
    )
    if attempt.state in OPEN:
        intent, attempt = await _waits(work, rails, intent, attempt, answer)
    else:
        if sent is not None and answer.outcome is RailOutcome.NOT_SENT:
            again = await _rerouted(work, rails, intent, attempt, sent)
            if again is not None:
                tracing.landed(work, attempt, began)
                return again
        intent, attempt = await _ended(work, rails, intent, attempt)
    if claim is not None:
        await _answered(work, claim, intent, attempt)
    tracing.landed(work, attempt, began)
    return Landed(intent=intent, attempt=attempt)


async def _waits_still(work: Work, claim: Claim, intent: Intent, attempt: Attempt) -> bool:
    """Whether the key waits for this very attempt: over the next rail it waits for that one."""
    if not isinstance(await idempotency.look(work, claim), Running):
        return False
    return await store.attempt_of(work, claim, intent.id) == attempt.id


async def _doubt(work: Work, attempt: Attempt, answer: RailAnswer) -> None:
    """An answer that denies how an attempt ended has its rail asked again, now."""
    took = attempt.state is AttemptState.SUCCEEDED
    denied = answer.outcome in (attempts.DENIES if took else attempts.TOOK)
    if denied and attempt.operation is Operation.PAY:
        _log.error("payments.contradicted", attempt=str(attempt.id), said=answer.outcome)
        counting.doubted(work, "contradicted")
        await store.hasten(work, attempt.id)


async def _answered(work: Work, claim: Claim, intent: Intent, attempt: Attempt) -> None:
    if attempt.state is AttemptState.NOT_SENT:
        await idempotency.release(work, [claim])  # nothing was decided: the key may try again
        return
    failed = attempt.state in attempts.NOTHING_MOVED
    said = keys.refusal(answers.declined(attempt, intent)) if failed else answers.said(intent)
    await idempotency.answer(work, [(claim, said)])


async def _waits(
    work: Work, rails: Rails, intent: Intent, attempt: Attempt, answer: RailAnswer
) -> tuple[Intent, Attempt]:
    """Ask again later; the payer is shown where to act as soon as that is known."""
    acts = attempt.state is AttemptState.REQUIRES_ACTION
    schedule = rail_rules.next_action_check if acts else rail_rules.next_status_check
    asked = attempt.asked + 1
    again = schedule(attempt.started_at, asked, work.now_ms, pace=rails.pace)
    attempt = replace(attempt, asked=asked, next_check_at=again)
    await store.save_attempt(work, attempt)
    if acts and answer.action_url is not None and intent.action != answer.action_url:
        intent = rules.moved(intent, State.REQUIRES_ACTION, work.now_ms, action=answer.action_url)
        await store.save(work, [intent])
        counting.challenged(work, intent)
        work.emit(answers.event("payment.requires_action", intent, SYSTEM, attempt))
    return intent, attempt


async def _rerouted(
    work: Work, rails: Rails, intent: Intent, attempt: Attempt, sent: Sent
) -> Landed | None:
    """The same money held for the next rail, in one commit with letting go of this one's.

    The rail that was not reached is asked once whether it truly never took it.
    """
    choice = rails.choose(sent.ask)
    rail = choice.decision.rail
    if rail is None or intent.attempts >= MAX_OPERATIONS:
        return None
    payee = await parties.get(work, intent.payee)
    ended = _watched(replace(attempt, ended_at=work.now_ms), rails)
    again = attempts.rerouted(intent, attempt, choice, work.now_ms)
    tried = rules.moved(intent, State.PROCESSING, work.now_ms, attempts=again.number)
    await _post(
        work,
        attempts.resolution(intent, attempt.number, Mode.VOID),
        attempts.transfer(intent, again, intent.payer, payee),
    )
    await store.save_attempt(work, ended)
    counting.ended(work, ended)
    await store.save_tried(work, [tried], [again])
    work.emit(answers.event("payment.rerouted", tried, SYSTEM, again))
    next_ = replace(
        sent,
        intent=tried,
        attempt=again,
        order=replace(sent.order, attempt=again.id),
        ask=replace(sent.ask, tried=(*sent.ask.tried, rail)),
    )
    return Landed(intent=tried, attempt=again, next=next_)


async def _ended(
    work: Work, rails: Rails, intent: Intent, attempt: Attempt
) -> tuple[Intent, Attempt]:
    attempt = _watched(replace(attempt, ended_at=work.now_ms), rails)
    match attempt.operation:
        case Operation.PAY:
            intent, name = await _paid(work, intent, attempt)
        case Operation.CAPTURE:
            intent, name = await _captured(work, intent, attempt)
        case Operation.VOID:
            name = "payment.voided"
    await store.save_both(work, intent, attempt)
    counting.ended(work, attempt)
    work.emit(answers.event(name, intent, SYSTEM, attempt))
    if name == "payment.captured" and intent.state is State.SUCCEEDED:
        work.emit(answers.event("payment.succeeded", intent, SYSTEM, attempt))
    return intent, attempt


def _watched(attempt: Attempt, rails: Rails) -> Attempt:
    """Looked at once more; how often it was asked about while it was open counts no more."""
    return replace(attempt, asked=0, next_check_at=attempts.watched_at(attempt, rails.pace))


async def _paid(work: Work, intent: Intent, attempt: Attempt) -> tuple[Intent, str]:
    now = work.now_ms
    if attempt.state is not AttemptState.SUCCEEDED:
        await _post(work, attempts.resolution(intent, attempt.number, Mode.VOID))
        await _compensate(work, intent, attempt)
        over = rules.moved(intent, State.REQUIRES_PAYMENT_METHOD, now, action=None)
        return over, "payment.attempt_failed"
    if intent.capture_method is not CaptureMethod.AUTOMATIC:
        return replace(rules.authorized(intent, attempt, now), action=None), "payment.authorized"
    await _post(work, attempts.resolution(intent, attempt.number, Mode.POST, amount=attempt.amount))
    taken = intent.captured + attempt.amount
    return (
        rules.moved(intent, State.SUCCEEDED, now, captured=taken, action=None),
        "payment.succeeded",
    )


async def _compensate(work: Work, intent: Intent, attempt: Attempt) -> None:
    """Pay what a reversal that came too late owes its payer, unasked, in the reversal's own commit."""
    payee = await parties.get(work, intent.payee)
    owed = attempts.compensation(intent, attempt, payee, work.now_ms)
    if owed is None:
        return
    [outcome] = await ledger.post(work, [owed])
    name = "payment.compensated" if outcome.ok else "payment.compensation_refused"
    work.emit(answers.event(name, intent, SYSTEM, attempt))


async def _captured(work: Work, intent: Intent, attempt: Attempt) -> tuple[Intent, str]:
    if attempt.state is not AttemptState.SUCCEEDED or intent.authorized is None:
        return intent, "payment.capture_failed"
    done = rules.captured(intent, attempt, now_ms=work.now_ms)
    await _post(
        work,
        attempts.resolution(
            intent, intent.authorized, Mode.POST,
            by=attempt.number, amount=attempt.amount, final=not done.capturable,
        ),
    )  # fmt: skip
    return done, "payment.captured"


async def _post(work: Work, *moves: Transfer) -> None:
    for move, outcome in zip(moves, await ledger.post(work, moves), strict=True):
        if not outcome.ok:
            raise RuntimeError(f"transfer {move.id} of an attempt is refused: {outcome.result}")
