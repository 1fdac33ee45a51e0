"""What became of an attempt: its rail is asked, and never told to pay again."""

from uuid import UUID

from msgspec.structs import replace

from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.payments import answers, attempts, counting, landing, rules, store, tracing
from server_core.payments.model import OPEN, Attempt, AttemptState, Intent, Method, Operation, State
from server_core.rails import rules as rail_rules
from server_core.rails.connected import Rails
from server_core.rails.doors import txn_id
from server_core.rails.model import LinkPayment, Outcome, Rail, RailAnswer
from server_core.strays import service as strays
from server_core.strays.model import Found

_UNKNOWN = RailAnswer(outcome=Outcome.UNKNOWN)
_AGAIN_MS = 60 * 60 * 1000
_NEXT_DAY_MS = 24 * _AGAIN_MS
MAX_ASKED = 100
"""How often an attempt that has ended is asked about before we let it rest."""


async def ask(db: Database, rails: Rails, attempt: UUID, *, first: bool = False) -> Intent:
    """Ask what became of an attempt and land it; of one that has ended, whether that is still so.

    `first`: a capture that nobody has sent yet. Later ones are sent again to be asked about, and
    that such a one did not leave says nothing of the first.
    """
    known, intent = await _read(db, attempt)
    if known.state not in OPEN:
        if known.operation is Operation.PAY:
            await _recheck(db, rails, known)
        return await landing.land(db, rails, attempt, _UNKNOWN)
    began = db.tracing.now()
    answer = await _heard(db, rails, known, intent)
    again = known.operation is Operation.CAPTURE and not (first and known.asked == 0)
    if again and answer.outcome is Outcome.NOT_SENT:
        answer = replace(answer, outcome=Outcome.UNKNOWN)
    tracing.called(db.tracing, intent.id, known.rail, "ask", began, answer)
    return await landing.land(db, rails, attempt, answer)


async def call_back(db: Database, rails: Rails, attempt: UUID) -> Intent:
    """Take back what waits for its payer, unless it was paid meanwhile; land what came of that."""
    known, _ = await _read(db, attempt)
    if known.method is Method.UPI_LINK:
        answer = await _by_link(_rail(rails, known), known, over="canceled")
    else:
        answer = await _reverse(db, rails, known)
    return await landing.land(db, rails, attempt, answer)


async def _reverse(db: Database, rails: Rails, attempt: Attempt) -> RailAnswer:
    """Have the rail give back what an open attempt took; kept before it is asked.

    From then on no answer makes it paid: the rail may have done it although nobody heard of it.
    """

    async def mark(work: Work) -> bool:
        await store.lock(work, [attempt.intent])
        now = await store.attempt(work, attempt.id) or attempt
        if now.state in OPEN and now.state is not AttemptState.REVERSING:
            await store.save_attempt(work, replace(now, state=AttemptState.REVERSING))
        return now.state in OPEN

    if not await db.transact(mark):
        return _UNKNOWN  # it has ended meanwhile: landing leaves it as it is
    return await _rail(rails, attempt).reverse(attempt.id)


async def _read(db: Database, attempt: UUID) -> tuple[Attempt, Intent]:
    async with db.reader() as reader:
        known = await store.attempt(reader, attempt)
        intent = None if known is None else await store.get(reader, known.intent)
    if known is None or intent is None:
        raise rules.unknown_intent()
    return known, intent


def _rail(rails: Rails, attempt: Attempt) -> Rail:
    return rails.by_name[attempt.rail or ""]


async def _heard(db: Database, rails: Rails, attempt: Attempt, intent: Intent) -> RailAnswer:
    """The rail's word on an open attempt; its reversal when time is up."""
    rail, now = _rail(rails, attempt), db.clock.now_ms()
    if attempt.operation is not Operation.PAY:
        hold = attempts.attempt_id(intent.id, intent.authorized or 0)
        if attempt.operation is Operation.VOID:
            return await rail.reverse(hold)
        return await rail.capture(hold, attempt.id, attempt.amount, final=attempt.final)
    if attempt.method is Method.UPI_LINK:
        return await _by_link(rail, attempt, over="expired" if now >= intent.expires_at else None)
    if attempt.state is AttemptState.REVERSING:
        return await _reverse(db, rails, attempt)
    answer = await rail.status(attempt.id, attempt.amount)
    unclear = attempts.verdict(attempt, intent, answer.outcome) in OPEN
    if unclear and rail_rules.is_over(attempt.started_at, now, pace=rails.pace):
        return await _reverse(db, rails, attempt)
    return answer


async def _by_link(rail: Rail, attempt: Attempt, *, over: str | None) -> RailAnswer:
    """The first debit of the whole amount under the link; `over` ends one that nobody has paid."""
    found = await rail.paid_by_link(txn_id(attempt.id))
    if found is None:
        return _UNKNOWN
    for one in found:
        if one.answer.outcome is Outcome.SUCCEEDED and one.amount_minor == attempt.amount:
            return replace(one.answer, debit=one.txn_id)
    if over is None or any(one.answer.outcome is Outcome.UNKNOWN for one in found):
        return _UNKNOWN
    return RailAnswer(outcome=Outcome.DECLINED, code=over)


async def _recheck(db: Database, rails: Rails, attempt: Attempt) -> Intent:
    """What a rail says of an attempt that has ended: a debit that nobody waits for is a stray.

    A success that the rail now denies makes its intent conflicted, until the rail says otherwise.
    """
    debits = await _debits(_rail(rails, attempt), attempt)

    async def do(work: Work) -> Intent:
        intent = (await store.lock(work, [attempt.intent]))[attempt.intent]
        now = await store.attempt(work, attempt.id) or attempt
        if now.state in OPEN:
            return intent
        for one in debits or ():
            ours = now.state is AttemptState.SUCCEEDED and one.txn_id == (
                now.debit or txn_id(now.id)
            )
            if ours:
                intent = await _agreed(work, intent, now, one.answer)
            elif one.answer.outcome in attempts.TOOK and await strays.found(
                work, _stray(intent, now, one)
            ):
                counting.doubted(work, "stray")
        rested = _rested(work, rails, intent, now, debits)
        if now.next_check_at != attempt.next_check_at:  # called back while its rail was asked
            rested = replace(rested, next_check_at=now.next_check_at)
        await store.save_attempt(work, rested)
        return intent

    return await db.transact(do)


async def _debits(rail: Rail, attempt: Attempt) -> list[LinkPayment] | None:
    """Every debit of an attempt that its rail knows; None when that was not heard."""
    if attempt.method is Method.UPI_LINK:
        return await rail.paid_by_link(txn_id(attempt.id))
    answer = await rail.status(attempt.id, attempt.amount)
    if answer.outcome is Outcome.UNKNOWN:
        return None
    return [LinkPayment(txn_id=txn_id(attempt.id), amount_minor=attempt.amount, answer=answer)]


async def _agreed(work: Work, intent: Intent, attempt: Attempt, answer: RailAnswer) -> Intent:
    """A paid intent beside what its rail says now."""
    if intent.state is State.SUCCEEDED and answer.outcome in attempts.DENIES:
        after, name = State.CONFLICTED, "payment.conflicted"
        counting.doubted(work, "conflicted")
    elif intent.state is State.CONFLICTED and answer.outcome in attempts.TOOK:
        after, name = State.SUCCEEDED, "payment.conflict_over"
    else:
        return intent
    intent = rules.moved(intent, after, work.now_ms)
    await store.save(work, [intent])
    work.emit(answers.event(name, intent, SYSTEM, attempt))
    return intent


def _rested(
    work: Work, rails: Rails, intent: Intent, attempt: Attempt, debits: list[LinkPayment] | None
) -> Attempt:
    """When to ask again of what has ended: seldom ever."""
    unsure = debits is None or any(one.answer.outcome is Outcome.UNKNOWN for one in debits)
    if attempt.asked >= MAX_ASKED or not (unsure or intent.state is State.CONFLICTED):
        watched = attempts.watched_at(attempt, rails.pace)
        # A look before its time, such as a callback brings, does not stand for the one that is due.
        return replace(attempt, next_check_at=watched if (watched or 0) > work.now_ms else None)
    wait = _NEXT_DAY_MS if intent.state is State.CONFLICTED else _AGAIN_MS
    again = work.now_ms + max(1, int(wait * rails.pace))
    return replace(attempt, asked=attempt.asked + 1, next_check_at=again)


def _stray(intent: Intent, attempt: Attempt, one: LinkPayment) -> Found:
    own = one.txn_id == txn_id(attempt.id)
    return Found(
        attempt=attempt.id,
        intent=intent.id,
        rail=attempt.rail or "",
        debit=None if own else one.txn_id,
        amount=one.amount_minor,
        currency=intent.currency,
        code=one.answer.code,
        rail_reference=one.answer.rail_reference,
    )
