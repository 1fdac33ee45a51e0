"""What follows an authorization: capture in parts or whole, and giving the rest back."""

from dataclasses import replace

from server_core.actor import SYSTEM, Actor
from server_core.db.work import Work
from server_core.idempotency.model import Claim
from server_core.ledger import service as ledger
from server_core.ledger.model import Mode, Transfer
from server_core.payments import answers, rules, store
from server_core.payments.model import Capture, Intent, State


async def capture(work: Work, command: Capture, claim: Claim) -> Intent:
    """Take the money, in this commit; a refusal is raised before anything is written."""
    found = (await store.lock(work, [command.intent])).get(command.intent)
    amount = rules.check_capture(command, found, work.now_ms)
    if found is None or found.authorized is None:
        raise AssertionError("what may be captured was authorized")
    hold = await store.numbered(work, found.id, found.authorized)
    attempt = rules.capture_attempt(command, found, amount, hold.method, claim.scope, work.now_ms)
    done = rules.captured(found, attempt, final=command.final, now_ms=work.now_ms)
    done = replace(done, attempts=attempt.number)
    await _post(
        work,
        rules.resolution(
            found, hold.number, Mode.POST,
            by=attempt.number, amount=amount, final=not done.capturable,
        ),
    )  # fmt: skip
    await store.save_tried(work, [done], [attempt])
    work.emit(answers.event("payment.captured", done, command.actor, attempt))
    if done.state is State.SUCCEEDED:
        work.emit(answers.event("payment.succeeded", done, command.actor, attempt))
    return done


async def release(work: Work, intent: Intent, state: State, actor: Actor = SYSTEM) -> Intent:
    """Give what an intent under lock has set aside back to its payer; `state` unless a part was captured."""
    if intent.authorized is None:
        raise AssertionError("what is released was authorized")
    done = rules.released(intent, state, work.now_ms)
    await _post(work, rules.resolution(intent, intent.authorized, Mode.VOID))
    await store.save(work, [done])
    work.emit(answers.event(f"payment.{done.state}", done, actor))
    return done


async def _post(work: Work, move: Transfer) -> None:
    [outcome] = await ledger.post(work, [move])
    if not outcome.ok:
        raise RuntimeError(f"hold {move.pending_id} cannot be resolved: {outcome.result}")
