"""Transaction 2: bring an attempt to what its rail answered, and ask when it gave no clear answer."""

from dataclasses import replace
from uuid import UUID

from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.ledger import service as ledger
from server_core.ledger.model import Mode
from server_core.payments import answers, rules, store
from server_core.payments.confirming import Sent
from server_core.payments.model import OPEN, Attempt, AttemptState, Intent, Rails, State
from server_core.rails import rules as rail_rules
from server_core.rails.model import Outcome as RailOutcome
from server_core.rails.model import RailAnswer, RailOrder


async def land(db: Database, attempt: UUID, answer: RailAnswer, pace: float = 1.0) -> Intent:
    """Transaction 2: bring the attempt to what the rail answered; a repeat changes nothing.

    Raises payments.declined when the payer must choose another way.
    """

    async def do(work: Work) -> tuple[Intent, Attempt]:
        return await _land(work, attempt, answer, pace)

    intent, landed = await db.transact(do)
    if landed.state in {AttemptState.DECLINED, AttemptState.NOT_SENT, AttemptState.REVERSED}:
        raise answers.declined(landed, intent)
    return intent


async def _land(
    work: Work, attempt_id: UUID, answer: RailAnswer, pace: float
) -> tuple[Intent, Attempt]:
    known = await store.attempt(work, attempt_id)
    if known is None:
        raise rules.unknown_intent()
    whole = await store.get(work, known.intent)
    if whole is None:
        raise rules.unknown_intent()
    claim = answers.claim_of_attempt(known, whole)
    await idempotency.hold(work, [claim])  # keys before intents, as every confirm locks them
    intent = (await store.lock(work, [known.intent]))[known.intent]
    attempt = await store.attempt(work, attempt_id) or known
    if attempt.state not in OPEN:
        return intent, attempt
    attempt = replace(
        attempt,
        state=AttemptState(rail_rules.LANDS[answer.outcome]),
        code=answer.code or attempt.code,
        rail_reference=answer.rail_reference or attempt.rail_reference,
    )
    if attempt.state is AttemptState.UNKNOWN:
        attempt = _ask_again(attempt, work.now_ms, pace)
        await store.save_attempt(work, attempt)
        said = answers.said(intent)
    else:
        paid = attempt.state is AttemptState.SUCCEEDED
        mode = Mode.POST if paid else Mode.VOID
        taken = attempt.amount if paid else 0
        ending = rules.resolution(intent, attempt.number, mode, amount=taken)
        [outcome] = await ledger.post(work, [ending])
        if not outcome.ok:
            raise RuntimeError(f"attempt {attempt.id} cannot be resolved: {outcome.result}")
        after = State.SUCCEEDED if paid else State.REQUIRES_PAYMENT_METHOD
        intent = rules.moved(intent, after, work.now_ms, captured=intent.captured + taken)
        attempt = replace(attempt, next_check_at=None, ended_at=work.now_ms)
        await store.save(work, [intent])
        await store.save_attempt(work, attempt)
        name = "payment.succeeded" if paid else "payment.attempt_failed"
        work.emit(answers.event(name, intent, SYSTEM, attempt))
        said = answers.said(intent) if paid else keys.refusal(answers.declined(attempt, intent))
    if attempt.state is AttemptState.NOT_SENT:
        await idempotency.release(work, [claim])  # nothing was decided: the key may try again
    else:
        await idempotency.answer(work, [(claim, said)])
    return intent, attempt


def _ask_again(attempt: Attempt, now_ms: int, pace: float) -> Attempt:
    asked = attempt.asked + 1
    return replace(
        attempt,
        asked=asked,
        next_check_at=rail_rules.next_status_check(attempt.started_at, asked, now_ms, pace=pace),
    )


async def ask(db: Database, rails: Rails, attempt: UUID) -> Intent:
    """Ask the rail what became of an attempt, and land its answer; reverse when time is up."""
    async with db.reader() as reader:
        known = await store.attempt(reader, attempt)
    if known is None:
        raise rules.unknown_intent()
    rail = rails.by_method[known.method]
    answer = await rail.status(known.id)
    if answer.outcome is RailOutcome.UNKNOWN and rail_rules.is_over(
        known.started_at, db.clock.now_ms(), pace=rails.pace
    ):
        answer = await rail.reverse(known.id)
    return await land(db, attempt, answer, rails.pace)


def order(sent: Sent) -> RailOrder:
    """What the rail is asked to do; the attempt's id is the rail's idempotency key."""
    return RailOrder(
        attempt=sent.attempt.id,
        amount_minor=sent.intent.amount,
        currency=sent.intent.currency,
        instrument=sent.attempt.payer_vpa or "",
        payee_vpa=f"{sent.intent.payee.hex}@hundi",
        note=sent.intent.description,
    )
