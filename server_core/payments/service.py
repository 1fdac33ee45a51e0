"""Create, confirm, cancel and read payments."""

from collections.abc import Collection
from contextlib import suppress
from typing import Final
from uuid import UUID

from server_core.actor import SYSTEM, Actor
from server_core.db.work import Database, Reader, Work
from server_core.errors import DomainError
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Mismatch, Replay
from server_core.ledger import service as ledger
from server_core.ledger.model import Code
from server_core.limits import service as limits
from server_core.parties import service as parties
from server_core.payments import answers, landing, rules, store
from server_core.payments.confirming import Confirmations, Sent
from server_core.payments.model import (
    Attempt,
    Confirm,
    Create,
    Intent,
    Method,
    Rails,
    State,
)

WAIT_MS: Final = 10_000
"""How long a duplicate waits for the first one's rail call before it is told to come again."""


async def create(db: Database, command: Create) -> Intent:
    """A new intent in requires_confirmation; a repeat of the key answers the same one."""
    body = {
        "payee": command.payee, "amount": command.amount, "currency": command.currency,
        "purpose": command.purpose, "description": command.description, "life": command.life_ms,
    }  # fmt: skip
    claim = answers.claim_of("payment.create", command.actor, command.key, body)

    async def do(work: Work) -> Intent:
        [found] = await idempotency.claim(work, [claim])
        if isinstance(found, Replay):
            return answers.intent_of(found.answer)
        if isinstance(found, Mismatch):
            raise keys.mismatch()
        payee = (await parties.get_many(work, [command.payee])).get(command.payee)
        rules.check_create(command, payee, await limits.in_force(work, "payments"))
        intent = Intent(
            id=work.ids.new(),
            purpose=command.purpose,
            state=State.REQUIRES_CONFIRMATION,
            payer=rules.payer_of(command),
            payee=command.payee,
            amount=command.amount,
            currency=command.currency,
            description=command.description,
            attempts=0,
            created_at=work.now_ms,
            expires_at=work.now_ms + command.life_ms,
            updated_at=work.now_ms,
        )
        await store.insert(work, intent)
        work.emit(answers.event("payment.created", intent, command.actor))
        await idempotency.answer(work, [(claim, answers.said(intent))])
        return intent

    return await db.transact(do)


async def confirm(db: Database, queue: Confirmations, rails: Rails, command: Confirm) -> Intent:
    """Pay: over `book` in one group commit, over a rail in two with the call between them.

    A declined or refused payment raises; a payment whose rail gave no clear answer comes back in
    `processing`, is asked about again by the job, and is never sent twice.
    """
    keys.check_key(command.key)  # here, so that a malformed one never costs a batch its turn
    began = db.clock.monotonic_ms()
    while True:
        outcome = await queue.submit(command)
        if isinstance(outcome, Intent):
            return outcome
        if isinstance(outcome, Sent):
            rail = rails.by_method[outcome.attempt.method]
            answer = await rail.authorize(landing.order(outcome))
            return await landing.land(db, outcome.attempt.id, answer, rails.pace)
        if outcome.attempt is not None:
            return await landing.ask(db, rails, outcome.attempt)
        if db.clock.monotonic_ms() - began > WAIT_MS:
            raise keys.still_running(outcome.until, db.clock.now_ms())
        await db.clock.sleep(0.2)


async def cancel(db: Database, actor: Actor, intent: UUID) -> Intent:
    """End an intent that nobody has paid; the payee or its payer may. A repeat answers the same."""

    async def do(work: Work) -> Intent:
        found = rules.visible((await store.lock(work, [intent])).get(intent), actor)
        if actor.party not in {found.payee, found.payer}:
            raise rules.unknown_intent()
        if found.state is State.CANCELED:
            return found
        done = rules.moved(found, State.CANCELED, work.now_ms)
        await store.save(work, [done])
        work.emit(answers.event("payment.canceled", done, actor))
        return done

    return await db.transact(do)


async def expire(work: Work, limit: int = 500) -> int:
    """Say so of intents whose time is over; `check_open` refuses them even before."""
    over = await store.expired(work, limit)
    done = [rules.moved(intent, State.EXPIRED, work.now_ms) for intent in over]
    if done:
        await store.save(work, done)
        work.emit(*(answers.event("payment.expired", intent, SYSTEM) for intent in done))
    return len(done)


async def get(reader: Reader, actor: Actor, intent: UUID) -> Intent:
    return rules.visible(await store.get(reader, intent), actor)


async def attempts(reader: Reader, actor: Actor, intent: UUID) -> list[Attempt]:
    await get(reader, actor, intent)
    return await store.attempts(reader, intent)


async def attempts_of(
    reader: Reader, actor: Actor, intents: Collection[UUID]
) -> dict[UUID, list[Attempt]]:
    """The attempts of those of the intents that the actor may know of, by two statements."""
    found = await store.get_many(reader, intents)
    known: dict[UUID, list[Attempt]] = {}
    for intent in found.values():
        with suppress(DomainError):
            known[rules.visible(intent, actor).id] = []
    for attempt in await store.attempts_of(reader, known):
        known[attempt.intent].append(attempt)
    return known


async def mine(reader: Reader, actor: Actor, *, before: UUID | None, limit: int) -> list[Intent]:
    """The actor's own payments, sent and received, newest first."""
    if actor.party is None:
        return []
    return await store.of_party(reader, actor.party, before=before, limit=limit)


async def open_rail_account(work: Work, method: Method, currency: str) -> None:
    """The account of what a rail owes us; made once, at start."""
    await ledger.open_accounts(work, [ledger.account(Code.CLEARING, method, currency)])
