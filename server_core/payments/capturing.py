"""What follows an authorization: capture in parts or whole, and giving the rest back."""

from typing import Final

from msgspec.structs import replace

from server_core.actor import SYSTEM, Actor
from server_core.db.work import Work
from server_core.errors import DomainError, conflict
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import (
    LEASE_MS,
    Answer,
    Claim,
    Fresh,
    Mismatch,
    Repeated,
    Replay,
)
from server_core.ledger import service as ledger
from server_core.ledger.model import Mode, Transfer
from server_core.payments import answers, attempts, counting, rules, store
from server_core.payments.confirming import Busy
from server_core.payments.model import MAX_OPERATIONS, Attempt, Capture, Intent, Operation, State

Captured = Answer[Intent] | Repeated | Attempt | Busy
"""An Attempt is to be sent to its rail, now that transaction 1 is committed."""

_KEPT_FREE: Final = 5
"""Operations that only giving back may use, so that captures never use them up."""


async def capture(work: Work, command: Capture, claim: Claim) -> Captured | DomainError:
    """Transaction 1: over `book` the money is taken in it, over a rail its attempt is opened."""
    [found] = await idempotency.claim(work, [claim])
    match found:
        case Replay():
            return answers.replayed(found.answer)
        case Mismatch():
            return keys.mismatch()
        case Fresh():
            pass
        case _:
            if await idempotency.take_over(work, claim, found) is None:
                return Busy(until=found.until)
            known = await store.attempt_of(work, claim, command.intent)
            return Busy(until=work.now_ms + LEASE_MS, attempt=known)
    try:
        done = await _opened(work, command, claim)
    except DomainError as refused:
        if not keys.is_kept(refused):
            raise
        await idempotency.answer(work, [(claim, keys.refusal(refused))])
        return refused
    if isinstance(done, Attempt):
        return done
    await idempotency.answer(work, [(claim, answers.said(done))])
    return Answer(value=done)


async def _opened(work: Work, command: Capture, claim: Claim) -> Intent | Attempt:
    """A refusal is raised before anything is written."""
    intent = (await store.lock(work, [command.intent])).get(command.intent)
    amount = rules.check_capture(command, intent, work.now_ms, most=MAX_OPERATIONS - _KEPT_FREE)
    if intent is None or intent.authorized is None:
        raise AssertionError("what may be captured was authorized")
    await check_idle(work, intent)
    hold = await store.numbered(work, intent.id, intent.authorized)
    attempt = attempts.follow_up(
        intent, hold, Operation.CAPTURE, amount, claim, work.now_ms, final=command.final
    )
    if hold.rail is not None:
        opened = replace(intent, attempts=attempt.number, updated_at=work.now_ms)
        await store.save_tried(work, [opened], [attempt])
        work.emit(answers.event("payment.capturing", opened, command.actor, attempt))
        return attempt
    done = replace(rules.captured(intent, attempt, now_ms=work.now_ms), attempts=attempt.number)
    await _post(
        work,
        attempts.resolution(
            intent, hold.number, Mode.POST,
            by=attempt.number, amount=amount, final=not done.capturable,
        ),
    )  # fmt: skip
    await store.save_tried(work, [done], [attempt])
    counting.ended(work, attempt)
    work.emit(answers.event("payment.captured", done, command.actor, attempt))
    if done.state is State.SUCCEEDED:
        work.emit(answers.event("payment.succeeded", done, command.actor, attempt))
    return done


async def check_idle(work: Work, intent: Intent) -> None:
    """Nothing else is under way with the money that was set aside."""
    if await store.is_busy(work, intent.id):
        raise conflict(
            "payments.state", "a capture of this payment is under way", state=str(intent.state)
        )


async def release(work: Work, intent: Intent, state: State, actor: Actor = SYSTEM) -> Intent:
    """Give what an intent under lock has set aside back to its payer; `state` unless a part was captured.

    A rail that set it aside is told by a void, which the job carries to it until it is heard.
    """
    if intent.authorized is None:
        raise AssertionError("what is released was authorized")
    hold = await store.numbered(work, intent.id, intent.authorized)
    done = rules.released(intent, state, work.now_ms)
    await _post(work, attempts.resolution(intent, hold.number, Mode.VOID))
    if hold.rail is None:
        await store.save(work, [done])
    else:
        void = attempts.follow_up(done, hold, Operation.VOID, intent.capturable, None, work.now_ms)
        await store.save_tried(work, [replace(done, attempts=void.number)], [void])
    work.emit(answers.event(f"payment.{done.state}", done, actor))
    return done


async def _post(work: Work, move: Transfer) -> None:
    [outcome] = await ledger.post(work, [move])
    if not outcome.ok:
        raise RuntimeError(f"hold {move.pending_id} cannot be resolved: {outcome.result}")
