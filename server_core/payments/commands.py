"""The commands of a payment, each answered once per key; both faces of the server come in here.

Each gives an Answer: what it came to, and whether an earlier request with the same key was answered
so. A refusal is raised; one that is told again is a `Repeated`.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from server_core.db.work import Database, Work
from server_core.errors import DomainError, denied
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency import waiting
from server_core.idempotency.model import Answer, Claim, Mismatch, Repeated, Replay
from server_core.limits import service as limits
from server_core.parties import service as parties
from server_core.payments import answers, asking, capturing, landing, rules, store, tracing
from server_core.payments.confirming import Busy, Confirmed, Sent, confirm_many
from server_core.payments.landing import Landing
from server_core.payments.model import (
    Attempt,
    Cancel,
    Capture,
    Confirm,
    Create,
    Intent,
    Pay,
    State,
)
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails


async def create(db: Database, command: Create) -> Answer[Intent]:
    """A new intent in requires_confirmation; a repeat of the key answers the same one."""
    claim = answers.claim_of(command)

    async def do(work: Work) -> Answer[Intent] | DomainError:
        [found] = await idempotency.claim(work, [claim])
        if isinstance(found, Replay):
            return answers.replayed(found.answer)
        if isinstance(found, Mismatch):
            raise keys.mismatch()
        origin = answers.origin_of(claim)
        made = (await store.by_origin(work, [origin])).get(origin)
        if made is not None:  # the answer is forgotten, the intent is not
            stands = (await store.lock(work, [made]))[made]
            if not rules.asks_for(command, stands):
                raise keys.mismatch()
            await idempotency.answer(work, [(claim, answers.said(stands))])
            return Answer(value=stands, replayed=True)
        payee = (await parties.get_many(work, [command.payee])).get(command.payee)
        try:
            rules.check_create(command, payee, await limits.in_force(work, "payments"))
        except DomainError as refused:
            if not keys.is_kept(refused):
                raise
            await idempotency.answer(work, [(claim, keys.refusal(refused))])
            return refused
        intent = rules.new_intent(command, work.ids.new(), work.now_ms, origin)
        await store.insert(work, [intent])
        work.emit(answers.event("payment.created", intent, command.actor))
        await idempotency.answer(work, [(claim, answers.said(intent))])
        return Answer(value=intent)

    return _told(await db.transact(do))


async def confirm(
    db: Database, queue: Confirmations, rails: Rails, command: Confirm | Pay
) -> Answer[Intent]:
    """Pay: over `book` in one group commit, over a rail in two with the call between them.

    A declined or refused payment raises; a payment whose rail gave no clear answer comes back in
    `processing`, is asked about again by the job, and is never sent twice. A duplicate waits for
    the first one up to WAIT_MS, then raises idempotency.still_running.
    """
    claim = answers.claim_of(command)  # a malformed key never costs a batch its turn
    began = db.clock.monotonic_ms()
    while True:
        outcome = await queue.submit(command)
        if isinstance(outcome, Answer):
            return outcome
        if isinstance(outcome, Sent):
            return Answer(value=await _sent(db, queue, rails, outcome))
        if outcome.attempt is not None:
            return Answer(value=await asking.ask(db, rails, outcome.attempt))
        found = await waiting.first_answer(db, claim, began)
        if found is not None:
            return _told(answers.replayed(found.answer))


async def _sent(db: Database, queue: Confirmations, rails: Rails, sent: Sent) -> Intent:
    """Call the rail, then the next one for as long as none was reached; land what it answered."""
    while True:  # each round has tried one rail more
        began = db.tracing.now()
        answer = await rails.authorize(sent.attempt.rail or "", sent.ask.bank, sent.order)
        tracing.called(db.tracing, sent.intent.id, sent.attempt.rail, "authorize", began, answer)
        landed = await queue.land(Landing(attempt=sent.attempt.id, answer=answer, sent=sent))
        if landed.next is None:
            return landing.told(landed)
        sent = landed.next


async def dry_run(db: Database, rails: Rails, command: Confirm) -> Intent:
    """How the intent would stand after transaction 1 of `confirm`, which is run and rolled back.

    No rail is called, no key is used up; what would be refused is raised.
    """

    async def do(work: Work) -> Intent:
        [outcome] = await confirm_many(work, [command], rails=replace(rails, probes=False))
        raise _RolledBack(outcome)

    try:
        return await db.transact(do)
    except _RolledBack as run:
        outcome = run.outcome
    if isinstance(outcome, DomainError):
        raise outcome
    if isinstance(outcome, Busy):
        raise keys.still_running(outcome.until, db.clock.now_ms())
    return outcome.value if isinstance(outcome, Answer) else outcome.intent


class _RolledBack(Exception):  # noqa: N818 - it carries what was decided out of its transaction
    def __init__(self, outcome: Confirmed | DomainError) -> None:
        super().__init__()
        self.outcome = outcome


async def capture(db: Database, rails: Rails, command: Capture) -> Answer[Intent]:
    """Take what an intent set aside, whole or in part; its payee may.

    Over a rail in two commits with the call between them: without a clear answer the intent comes
    back as it stood, and its rail is asked by the job. A duplicate waits as a confirm's does.
    """
    claim = answers.claim_of(command)
    began = db.clock.monotonic_ms()
    while True:
        outcome = await db.transact(lambda work: capturing.capture(work, command, claim))
        if isinstance(outcome, Attempt):
            return Answer(value=await asking.ask(db, rails, outcome.id, first=True))
        if not isinstance(outcome, Busy):
            return _told(outcome)
        if outcome.attempt is not None:
            return Answer(value=await asking.ask(db, rails, outcome.attempt))
        found = await waiting.first_answer(db, claim, began)
        if found is not None:
            return _told(answers.replayed(found.answer))


async def cancel(db: Database, rails: Rails, command: Cancel) -> Answer[Intent]:
    """End an intent that nobody has paid; the payee or its payer may. A repeat answers the same.

    What waits for its payer to act is taken back first, unless it was paid meanwhile. What was set
    aside is given back, by the payee alone.
    """
    claim = None if command.key is None else answers.claim_of(command)
    if claim is not None:
        async with db.reader() as reader:
            used = await idempotency.look(reader, claim)
        if isinstance(used, Mismatch):
            raise keys.mismatch()
        if isinstance(used, Replay):
            return _told(answers.replayed(used.answer))
    await _call_back(db, rails, command)
    return await _once(db, claim, lambda work: _canceled(work, command))


async def _once(
    db: Database, claim: Claim | None, decide: Callable[[Work], Awaitable[Intent]]
) -> Answer[Intent]:
    """Decide in one commit with its answer. What `decide` refuses, it refuses before it writes."""

    async def do(work: Work) -> Answer[Intent] | DomainError:
        if claim is not None:
            [found] = await idempotency.claim(work, [claim])
            if isinstance(found, Replay):
                return answers.replayed(found.answer)
            if isinstance(found, Mismatch):
                raise keys.mismatch()
        try:
            said: Intent | DomainError = await decide(work)
        except DomainError as refused:
            if not keys.is_kept(refused):
                raise
            said = refused
        if claim is not None:
            kept = keys.refusal(said) if isinstance(said, DomainError) else answers.said(said)
            await idempotency.answer(work, [(claim, kept)])
        return said if isinstance(said, DomainError) else Answer(value=said)

    return _told(await db.transact(do))


async def _call_back(db: Database, rails: Rails, command: Cancel) -> None:
    async with db.reader() as reader:
        intent = rules.visible(await store.get(reader, command.intent), command.actor)
        rules.check_acts(command.actor)
        if intent.state is not State.REQUIRES_ACTION or not rules.is_party(intent, command.actor):
            return
        waiting_ = await store.numbered(reader, intent.id, intent.attempts)
    with suppress(DomainError):  # that nothing moved is what was wanted
        await asking.call_back(db, rails, waiting_.id)


async def _canceled(work: Work, command: Cancel) -> Intent:
    found = (await store.lock(work, [command.intent])).get(command.intent)
    found = rules.visible(found, command.actor)
    rules.check_acts(command.actor)
    if not rules.is_party(found, command.actor):
        raise rules.unknown_intent()
    if found.state is State.CANCELED:
        return found
    if found.state is State.REQUIRES_CAPTURE:
        if command.actor.party != found.payee:
            raise denied("payments.not_the_payee", "only who is paid gives back what was set aside")
        await capturing.check_idle(work, found)
        return await capturing.release(work, found, State.CANCELED, command.actor)
    done = rules.moved(found, State.CANCELED, work.now_ms)
    await store.save(work, [done])
    work.emit(answers.event("payment.canceled", done, command.actor))
    return done


def _told(outcome: Answer[Intent] | Repeated | DomainError) -> Answer[Intent]:
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome
