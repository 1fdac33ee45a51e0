"""Refunds: one key makes one; the sum of them never exceeds what was captured."""

from collections.abc import Collection
from uuid import UUID

import structlog
from msgspec import Struct

from server_core.actor import Actor
from server_core.db.work import Database, Reader, Work
from server_core.errors import DomainError, unavailable
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency import waiting
from server_core.idempotency.model import Answer, Claim, Mismatch, Repeated, Replay, Running
from server_core.ledger import service as ledger
from server_core.parties import service as parties
from server_core.payments import counting, tracing
from server_core.payments import service as payments
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome
from server_core.refunds import answers, landing, rules, store
from server_core.refunds.model import Ask, Refund, State

_log = structlog.get_logger("hundi.refunds")


class _Sent(Struct, frozen=True, kw_only=True):
    """Transaction 1 is committed: the rail may be called, with no transaction open."""

    refund: Refund


class _Busy(Struct, frozen=True, kw_only=True):
    """The same key is under way; `refund` is set when its lease ran out and is now the caller's."""

    refund: UUID | None = None


_Opened = Answer[Refund] | Repeated | _Sent | _Busy


async def refund(db: Database, rails: Rails, command: Ask) -> Answer[Refund]:
    """Give money back: over `book` in one commit, over a rail in two with the call between them.

    What goes back is set aside first. A refund whose rail gave no clear answer comes back `pending`
    and is asked about by the job, never sent twice. A duplicate waits for the first one, as a
    confirm's does.
    """
    claim = answers.claim_of(command)
    began = db.clock.monotonic_ms()
    while True:
        outcome = await db.transact(lambda work: _open(work, command, claim, rails))
        if isinstance(outcome, DomainError):
            raise outcome
        if isinstance(outcome, Answer):
            return outcome
        if isinstance(outcome, _Sent):
            rail = rails.by_name[outcome.refund.rail or ""]
            began = db.tracing.now()
            answer = await rail.refund(landing.order(outcome.refund))
            tracing.called(
                db.tracing, outcome.refund.intent, outcome.refund.rail, "refund", began, answer
            )
            return Answer(value=await landing.land(db, outcome.refund.id, answer, rails.pace))
        if outcome.refund is not None:
            return Answer(value=await landing.ask(db, rails, outcome.refund))
        found = await waiting.first_answer(db, claim, began)
        if found is not None:
            return _told(answers.replayed(found.answer))


async def _open(work: Work, command: Ask, claim: Claim, rails: Rails) -> _Opened | DomainError:
    """Transaction 1: claim the key, decide, set the money aside or give it back, answer."""
    [found] = await idempotency.claim(work, [claim])
    match found:
        case Replay():
            return answers.replayed(found.answer)
        case Mismatch():
            return keys.mismatch()
        case Running():
            if await idempotency.take_over(work, claim, found) is None:
                return _Busy()
            known = await store.get(work, rules.refund_id(claim))
            return _Busy(refund=known.id if known and known.state is State.PENDING else None)
    known = await store.lock(work, rules.refund_id(claim))
    if known is not None:  # the answer is forgotten, the refund is not
        if not rules.asks_for(command, claim, known):
            raise keys.mismatch()
        await idempotency.answer(work, [(claim, answers.said(known))])
        return Answer(value=known, replayed=True)
    try:
        made = await _made(work, command, claim, rails)
    except DomainError as refused:
        if not keys.is_kept(refused):
            raise
        await idempotency.answer(work, [(claim, keys.refusal(refused))])
        return refused
    if made.state is State.PENDING:
        return _Sent(refund=made)
    await idempotency.answer(work, [(claim, answers.said(made))])
    return Answer(value=made)


async def _made(work: Work, command: Ask, claim: Claim, rails: Rails) -> Refund:
    """The new refund with its money moved; what is refused is refused before anything is kept of it."""
    intent = await payments.lock(work, command.actor, command.intent)
    amount = rules.check_ask(command, intent)
    paid = await payments.paid_by(work, intent.id)
    if paid.rail is not None and paid.rail not in rails.by_name:
        raise unavailable("payments.rail_unavailable", "the payment's rail is not connected now")
    made = rules.new_refund(command, claim, intent, paid, amount, work.now_ms)
    payee = await parties.get(work, intent.payee)
    [moved] = await ledger.post(work, [rules.transfer(made, payee)])
    if not moved.ok:
        raise rules.refusal(moved)
    await payments.refunded(work, intent, amount)
    await store.insert(work, made)
    work.emit(answers.event("refund.created", made, command.actor))
    if made.state is State.SUCCEEDED:
        work.emit(answers.event("refund.succeeded", made, command.actor))
    return made


async def get(reader: Reader, actor: Actor, refund_id: UUID) -> Refund:
    return rules.visible(await store.get(reader, refund_id), actor)


async def heard(work: Work, refund_id: UUID, outcome: Outcome) -> None:
    """What a rail told by itself: an open refund is asked about now, and nothing moves by it.

    One that ended otherwise is counted and logged for an operator: who has the money twice, or not
    at all, only the rail's books can tell.
    """
    if await store.hasten(work, refund_id):
        return
    known = await store.get(work, refund_id)
    if known is not None and rules.is_denied(known, outcome):
        _log.error(
            "refunds.contradicted",
            refund=str(known.id),
            correlation=str(known.intent),
            said=outcome,
        )
        counting.doubted(work, "contradicted")


async def of_intents(
    reader: Reader, actor: Actor, intents: Collection[UUID]
) -> dict[UUID, list[Refund]]:
    """The refunds of those payments that the actor may know of, oldest first."""
    found: dict[UUID, list[Refund]] = {intent: [] for intent in intents}
    for one in await store.of_intents(reader, intents):
        if rules.may_see(one, actor):
            found[one.intent].append(one)
    return found


async def mine(
    reader: Reader, actor: Actor, *, before: tuple[int, UUID] | None, limit: int
) -> list[Refund]:
    """The actor's own refunds, given and got, newest first, after the one of `before` (Unix ms, id)."""
    if actor.party is None:
        return []
    return await store.of_party(reader, actor.party, before=before, limit=limit)


async def of_payment(
    reader: Reader, actor: Actor, intent: UUID, *, before: tuple[int, UUID] | None, limit: int
) -> list[Refund]:
    """A page of one payment's refunds, in the order of `mine`; raises payments.unknown."""
    await payments.get(reader, actor, intent)
    found = await store.of_intent(reader, intent, before=before, limit=limit)
    return [one for one in found if rules.may_see(one, actor)]


def _told(outcome: Answer[Refund] | Repeated) -> Answer[Refund]:
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome
