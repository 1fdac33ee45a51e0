"""Transaction 2 of a refund: bring it to what its rail answered, and ask when that was not clear."""

from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.errors import DomainError
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Claim, Replay
from server_core.ledger import service as ledger
from server_core.ledger.model import Mode
from server_core.parties import service as parties
from server_core.payments import counting, tracing
from server_core.payments import service as payments
from server_core.rails import rules as rail_rules
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome, RailAnswer, RailRefund
from server_core.refunds import answers, rules, store
from server_core.refunds.model import Refund, State

_log = structlog.get_logger("hundi.refunds")
_TAKEN: Final = frozenset({Outcome.SUCCEEDED})
_OPEN: Final = frozenset({Outcome.UNKNOWN, Outcome.AUTHORIZED, Outcome.ACTION})
_NEVER_LEFT: Final = frozenset({Outcome.NOT_SENT, Outcome.NOT_FOUND})


async def land(db: Database, refund: UUID, answer: RailAnswer, pace: float = 1.0) -> Refund:
    """Bring the refund to what the rail answered; a repeat changes nothing.

    Raises refunds.failed, refunds.rail_unavailable when the money stayed with the payee.
    """

    async def do(work: Work) -> Refund | DomainError:
        return await _land(work, refund, answer, pace)

    landed = await db.transact(do)
    if isinstance(landed, DomainError):
        raise landed
    return landed


async def _land(
    work: Work, refund_id: UUID, answer: RailAnswer, pace: float
) -> Refund | DomainError:
    known = await store.get(work, refund_id)
    if known is None:
        raise rules.unknown_refund()
    claim = answers.claim_of_refund(known)
    await idempotency.hold(work, [claim])  # keys, refunds, intents: as every refund locks them
    refund = await store.lock(work, refund_id) or known
    if refund.state is State.FAILED:
        made = await _late(work, refund, answer, pace)
        return made or await _told(work, claim, refund)
    if refund.state is not State.PENDING:
        return refund
    refund = replace(
        refund,
        code=answer.code or refund.code,
        rail_reference=answer.rail_reference or refund.rail_reference,
    )
    if answer.outcome in _OPEN:
        asked = refund.asked + 1
        again = rail_rules.next_status_check(refund.created_at, asked, work.now_ms, pace=pace)
        refund = replace(refund, asked=asked, next_check_at=again)
        await store.save(work, refund)
        await idempotency.answer(work, [(claim, answers.said(refund))])
        return refund
    taken = answer.outcome in _TAKEN
    intent = await payments.lock(work, SYSTEM, refund.intent)  # before the accounts, as ever
    [outcome] = await ledger.post(
        work, [rules.resolution(refund, Mode.POST if taken else Mode.VOID)]
    )
    if not outcome.ok:
        raise RuntimeError(f"refund {refund.id} cannot be resolved: {outcome.result}")
    refund = rules.ended(refund, State.SUCCEEDED if taken else State.FAILED, work.now_ms)
    if not taken:
        await payments.refunded(work, intent, -refund.amount)
        left = answer.outcome not in _NEVER_LEFT
        refund = rules.watched(refund, left=left, now_ms=work.now_ms, pace=pace)
    await store.save(work, refund)
    work.emit(answers.event(answers.ending(refund), refund, SYSTEM))
    refusal = answers.failed(refund, reached=answer.outcome not in _NEVER_LEFT)
    said = answers.said(refund) if taken else keys.refusal(refusal)
    await idempotency.answer(work, [(claim, said)])
    return refund if taken else refusal


async def _late(work: Work, refund: Refund, answer: RailAnswer, pace: float) -> Refund | None:
    """A failed refund that its rail made all the same is booked, if its payee still holds as much.

    Else it is counted and logged for an operator: the payer has money that nobody here gave.
    """
    heard = answer.outcome not in _OPEN | {Outcome.NOT_SENT}
    if answer.outcome not in _TAKEN:
        if (refund.next_check_at or 0) > work.now_ms:
            return None  # the look that is due is still to come
        refund = rules.rested(refund, heard=heard, now_ms=work.now_ms, pace=pace)
        await store.save(work, refund)
        return None
    intent = await payments.lock(work, SYSTEM, refund.intent)
    payee = await parties.get(work, intent.payee)
    move = rules.late(refund, payee)
    held = (await ledger.balances(work, [move.debit]))[move.debit] if move.debit else None
    covered = held is not None and held.available >= refund.amount
    counting.doubted(work, "contradicted")
    _log.error(
        "refunds.contradicted",
        refund=str(refund.id),
        correlation=str(refund.intent),
        said=answer.outcome,
        booked=covered and refund.amount <= intent.captured - intent.refunded,
    )
    if not covered or refund.amount > intent.captured - intent.refunded:
        await store.save(work, replace(refund, next_check_at=None))
        return None
    [outcome] = await ledger.post(work, [move])
    if not outcome.ok:
        raise RuntimeError(f"refund {refund.id} cannot be booked late: {outcome.result}")
    await payments.refunded(work, intent, refund.amount)
    done = replace(
        rules.ended(refund, State.SUCCEEDED, work.now_ms),
        code=answer.code or refund.code,
        rail_reference=answer.rail_reference or refund.rail_reference,
    )
    await store.save(work, done)
    work.emit(answers.event(answers.ending(done), done, SYSTEM))
    await idempotency.answer(work, [(answers.claim_of_refund(done), answers.said(done))])
    return done


async def _told(work: Work, claim: Claim, refund: Refund) -> DomainError:
    """What the key was told when the refund failed: whoever comes later is told the same."""
    found = await idempotency.look(work, claim)
    if isinstance(found, Replay):
        told = answers.replayed(found.answer)
        if isinstance(told, DomainError):
            return told
    return answers.failed(refund, reached=True)


async def ask(db: Database, rails: Rails, refund: UUID) -> Refund:
    """Ask the rail what became of a refund, and land its answer. It is never sent again."""
    async with db.reader() as reader:
        known = await store.get(reader, refund)
    if known is None:
        raise rules.unknown_refund()
    began = db.tracing.now()
    answer = await rails.by_name[known.rail or ""].refund_status(order(known))
    tracing.called(db.tracing, known.intent, known.rail, "refund_status", began, answer)
    return await land(db, refund, answer, rails.pace)


def order(refund: Refund) -> RailRefund:
    """What the rail is asked to do; the refund's id is the rail's idempotency key."""
    return RailRefund(
        refund=refund.id,
        attempt=refund.attempt,
        amount_minor=refund.amount,
        currency=refund.currency,
        note=refund.note,
        debit=refund.debit,
    )
