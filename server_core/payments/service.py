"""Create, confirm, cancel and read payments; land what a rail answered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import msgspec

from server_core.actor import SYSTEM, Actor
from server_core.db.batch import Batch
from server_core.db.work import Database, Emitted, Reader, Work
from server_core.errors import DomainError, Kind, conflict
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import LEASE_MS, Claim, Fresh, Mismatch, Replay, Running
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Mode, Outcome
from server_core.limits import service as limits
from server_core.parties import service as parties
from server_core.parties.model import Party
from server_core.payments import rules, store
from server_core.payments.model import (
    OPEN,
    Attempt,
    AttemptState,
    Confirm,
    Create,
    Intent,
    Method,
    State,
)
from server_core.rails import rules as rail_rules
from server_core.rails.model import Outcome as RailOutcome
from server_core.rails.model import Rail, RailAnswer, RailOrder

WAIT_MS: Final = 10_000
"""How long a duplicate waits for the first one's rail call before it is told to come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rails:
    """The connected rails; `pace` below 1 asks a sandbox sooner than a real switch allows."""

    by_method: Mapping[Method, Rail]
    pace: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Transaction 1 is committed: the rail may be called, with no transaction open."""

    intent: Intent
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The same key is under way; `attempt` is set when its lease ran out and is now the caller's."""

    until: int
    attempt: UUID | None = None


Confirmed = Intent | Sent | Busy
Confirmations = Batch[Confirm, Confirmed]


async def create(db: Database, command: Create) -> Intent:
    """A new intent in requires_confirmation; a repeat of the key answers the same one."""
    body = {
        "payee": command.payee, "amount": command.amount, "currency": command.currency,
        "purpose": command.purpose, "description": command.description, "life": command.life_ms,
    }  # fmt: skip
    claim = _claim("payment.create", command.actor, command.key, body)

    async def do(work: Work) -> Intent:
        [found] = await idempotency.claim(work, [claim])
        if isinstance(found, Replay):
            return _said(found.answer)
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
        work.emit(_event("payment.created", intent, command.actor))
        await idempotency.answer(work, [(claim, _answer(intent))])
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
            answer = await rail.authorize(order(outcome))
            return await land(db, outcome.attempt.id, answer, rails.pace)
        if outcome.attempt is not None:
            return await ask(db, rails, outcome.attempt)
        if db.clock.monotonic_ms() - began > WAIT_MS:
            raise keys.still_running(outcome.until, db.clock.now_ms())
        await db.clock.sleep(0.2)


async def confirm_many(
    work: Work, commands: Sequence[Confirm], *, connected: Collection[str] = ()
) -> list[Confirmed | DomainError]:
    """Transaction 1 of every confirm in the batch, decided one by one, written set-based."""
    claims = [
        _claim(
            "payment.confirm",
            one.actor,
            one.key,
            {"intent": one.intent, "method": one.method, "vpa": one.payer_vpa},
        )
        for one in commands
    ]
    found = await idempotency.claim(work, claims)
    outcomes: list[Confirmed | DomainError | None] = [None] * len(commands)
    fresh = [i for i, what in enumerate(found) if isinstance(what, Fresh)]
    if fresh:
        batch = _Confirming(work, connected, await _facts(work, [commands[i] for i in fresh]))
        decided = await batch.run([(commands[i], claims[i]) for i in fresh])
        for i, outcome in zip(fresh, decided, strict=True):
            outcomes[i] = outcome
    first = {(claims[i].scope, claims[i].key): outcomes[i] for i in fresh}
    for i, what in enumerate(found):
        if isinstance(what, Replay):
            outcomes[i] = _replayed(what.answer)
        elif isinstance(what, Mismatch):
            outcomes[i] = keys.mismatch()
        elif isinstance(what, Running):
            same = first.get((claims[i].scope, claims[i].key))
            if isinstance(same, Sent):
                outcomes[i] = Busy(until=work.now_ms + LEASE_MS)
            elif same is not None:
                outcomes[i] = same
            else:
                outcomes[i] = await _busy(work, claims[i], what)
    return [outcome for outcome in outcomes if outcome is not None]


async def _facts(
    work: Work, commands: Sequence[Confirm]
) -> tuple[dict[UUID, Intent], dict[UUID, Party]]:
    intents = await store.lock(work, {one.intent for one in commands})
    return intents, await parties.get_many(work, {i.payee for i in intents.values()})


async def _busy(work: Work, claim: Claim, running: Running) -> Busy:
    """Wait for the first one, or take over its expired lease: by asking, never by sending again."""
    if await idempotency.take_over(work, claim, running) is None:
        return Busy(until=running.until)
    attempt = await store.open_attempt(work, claim.scope, claim.key)
    return Busy(until=work.now_ms + LEASE_MS, attempt=attempt)


class _Confirming:
    """One batch of fresh confirms over the intents as the earlier ones leave them."""

    __slots__ = ("_attempts", "_connected", "_intents", "_kept", "_parties", "_released", "_work")

    def __init__(
        self,
        work: Work,
        connected: Collection[str],
        facts: tuple[dict[UUID, Intent], dict[UUID, Party]],
    ) -> None:
        self._work, self._connected = work, connected
        self._intents, self._parties = facts
        self._attempts: list[Attempt] = []
        self._kept: list[tuple[Claim, Any]] = []
        self._released: list[Claim] = []

    async def run(self, commands: Sequence[tuple[Confirm, Claim]]) -> list[Confirmed | DomainError]:
        outcomes: list[Confirmed | DomainError | None] = [None] * len(commands)
        waiting = list(range(len(commands)))
        while waiting:  # a second command for one intent waits for the next round
            seen: set[UUID] = set()
            now: list[int] = []
            later: list[int] = []
            for i in waiting:
                (later if commands[i][0].intent in seen else now).append(i)
                seen.add(commands[i][0].intent)
            await self._round(commands, now, outcomes)
            waiting = later
        touched = {attempt.intent for attempt in self._attempts}
        if touched:
            await store.save(self._work, [self._intents[key] for key in sorted(touched)])
            await store.insert_attempts(self._work, self._attempts)
        await idempotency.answer(self._work, self._kept)
        await idempotency.release(self._work, self._released)
        return [outcome for outcome in outcomes if outcome is not None]

    async def _round(
        self,
        commands: Sequence[tuple[Confirm, Claim]],
        now: Sequence[int],
        outcomes: list[Confirmed | DomainError | None],
    ) -> None:
        moving = []
        for i in now:
            command, claim = commands[i]
            try:
                intent = rules.check_confirm(
                    command,
                    self._intents.get(command.intent),
                    self._connected,
                    self._work.now_ms,
                )
            except DomainError as refused:
                outcomes[i] = self._refuse(claim, refused)
                continue
            attempt = rules.new_attempt(command, intent, claim.scope, self._work.now_ms)
            payer = command.actor.party
            if payer is None:
                raise AssertionError("a checked confirm has a party")
            move = rules.transfer(intent, attempt, payer, self._parties[intent.payee])
            moving.append((i, replace(intent, payer=payer), attempt, move))
        posted = await ledger.post(self._work, [move for *_, move in moving])
        for (i, intent, attempt, _), outcome in zip(moving, posted, strict=True):
            outcomes[i] = self._apply(intent, attempt, outcome, *commands[i])

    def _apply(
        self, intent: Intent, attempt: Attempt, moved: Outcome, command: Confirm, claim: Claim
    ) -> Confirmed | DomainError:
        now = self._work.now_ms
        tried = replace(intent, attempts=attempt.number)
        if not moved.ok:
            refused = rules.refusal(moved)
            ended = replace(
                attempt, state=AttemptState.DECLINED, code=str(moved.result), ended_at=now
            )
            self._keep(
                rules.moved(
                    replace(tried, payer=self._intents[intent.id].payer),
                    State.REQUIRES_PAYMENT_METHOD,
                    now,
                ),
                ended,
                "payment.attempt_failed",
                command.actor,
            )
            return self._refuse(claim, refused)
        if attempt.method is Method.BOOK:
            done = rules.moved(tried, State.SUCCEEDED, now)
            ended = replace(attempt, state=AttemptState.SUCCEEDED, ended_at=now)
            self._keep(done, ended, "payment.succeeded", command.actor)
            self._kept.append((claim, _answer(done)))
            return done
        sent = replace(attempt, next_check_at=now + LEASE_MS)
        under_way = rules.moved(tried, State.PROCESSING, now)
        self._keep(under_way, sent, "payment.processing", command.actor)
        return Sent(intent=under_way, attempt=sent)

    def _keep(self, intent: Intent, attempt: Attempt, event: str, actor: Actor) -> None:
        self._intents[intent.id] = intent
        self._attempts.append(attempt)
        self._work.emit(_event(event, intent, actor, attempt))

    def _refuse(self, claim: Claim, refused: DomainError) -> DomainError:
        """Keep a refusal as the key's answer; a mistake in the request leaves the key free."""
        if refused.kind in {Kind.INVALID, Kind.NOT_FOUND}:
            self._released.append(claim)
        else:
            self._kept.append((claim, _refusal(refused)))
        return refused


async def land(db: Database, attempt: UUID, answer: RailAnswer, pace: float = 1.0) -> Intent:
    """Transaction 2: bring the attempt to what the rail answered; a repeat changes nothing.

    Raises payments.declined when the payer must choose another way.
    """

    async def do(work: Work) -> tuple[Intent, Attempt]:
        return await _land(work, attempt, answer, pace)

    intent, landed = await db.transact(do)
    if landed.state in {AttemptState.DECLINED, AttemptState.NOT_SENT, AttemptState.REVERSED}:
        raise _declined(landed)
    return intent


async def _land(
    work: Work, attempt_id: UUID, answer: RailAnswer, pace: float
) -> tuple[Intent, Attempt]:
    known = await store.attempt(work, attempt_id)
    if known is None:
        raise rules.unknown_intent()
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
        said = _answer(intent)
    else:
        paid = attempt.state is AttemptState.SUCCEEDED
        mode = Mode.POST if paid else Mode.VOID
        [outcome] = await ledger.post(work, [rules.resolution(intent, attempt, mode)])
        if not outcome.ok:
            raise RuntimeError(f"attempt {attempt.id} cannot be resolved: {outcome.result}")
        after = State.SUCCEEDED if paid else State.REQUIRES_PAYMENT_METHOD
        intent = rules.moved(intent, after, work.now_ms)
        attempt = replace(attempt, next_check_at=None, ended_at=work.now_ms)
        await store.save(work, [intent])
        await store.save_attempt(work, attempt)
        name = "payment.succeeded" if paid else "payment.attempt_failed"
        work.emit(_event(name, intent, SYSTEM, attempt))
        said = _answer(intent) if paid else _refusal(_declined(attempt))
    claim = Claim(scope=attempt.scope, key=attempt.key, verb="payment.confirm", body=b"")
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
        payer_vpa=sent.attempt.payer_vpa or "",
        payee_vpa=f"{sent.intent.payee.hex}@hundi",
        note=sent.intent.description,
    )


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
        work.emit(_event("payment.canceled", done, actor))
        return done

    return await db.transact(do)


async def expire(work: Work, limit: int = 500) -> int:
    """Say so of intents whose time is over; `check_open` refuses them even before."""
    over = await store.expired(work, limit)
    done = [rules.moved(intent, State.EXPIRED, work.now_ms) for intent in over]
    if done:
        await store.save(work, done)
        work.emit(*(_event("payment.expired", intent, SYSTEM) for intent in done))
    return len(done)


async def get(reader: Reader, actor: Actor, intent: UUID) -> Intent:
    return rules.visible(await store.get(reader, intent), actor)


async def attempts(reader: Reader, actor: Actor, intent: UUID) -> list[Attempt]:
    await get(reader, actor, intent)
    return await store.attempts(reader, intent)


async def mine(reader: Reader, actor: Actor, *, before: UUID | None, limit: int) -> list[Intent]:
    """The actor's own payments, sent and received, newest first."""
    if actor.party is None:
        return []
    return await store.of_party(reader, actor.party, before=before, limit=limit)


async def open_rail_account(work: Work, method: Method, currency: str) -> None:
    """The account of what a rail owes us; made once, at start."""
    await ledger.open_accounts(work, [ledger.account(Code.CLEARING, method, currency)])


def _claim(verb: str, actor: Actor, key: str, body: dict[str, Any]) -> Claim:
    return Claim(
        scope=str(actor.party), key=keys.check_key(key), verb=verb, body=keys.body_hash(body)
    )


def _event(name: str, intent: Intent, actor: Actor, attempt: Attempt | None = None) -> Emitted:
    payload = {
        "state": intent.state,
        "purpose": intent.purpose,
        "amount": str(intent.amount),
        "currency": intent.currency,
        "payee": str(intent.payee),
        "payer": str(intent.payer) if intent.payer else None,
    }
    if attempt is not None:
        payload |= {
            "attempt": str(attempt.number),
            "method": attempt.method,
            "outcome": attempt.state,
            "code": attempt.code,
        }
    return Emitted(
        aggregate_type="payment",
        aggregate_id=intent.id,
        type=name,
        payload=payload,
        actor=actor,
        correlation=intent.id,
    )


def _declined(attempt: Attempt) -> DomainError:
    if attempt.state is AttemptState.NOT_SENT:
        return DomainError(
            Kind.UNAVAILABLE,
            "payments.rail_unavailable",
            "the bank network was not reached and nothing was debited: try again",
        )
    return conflict(
        "payments.declined",
        "the bank declined and nothing was debited: choose another way to pay",
        rail_code=attempt.code,
    )


def _answer(intent: Intent) -> Any:
    return {"intent": msgspec.to_builtins(intent)}


def _refusal(error: DomainError) -> Any:
    return {
        "error": {
            "kind": error.kind,
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "facts": error.facts,
        }
    }


def _said(answer: Any) -> Intent:
    return msgspec.convert(answer["intent"], Intent, strict=False)


def _replayed(answer: Any) -> Intent | DomainError:
    if "intent" in answer:
        return _said(answer)
    error = answer["error"]
    return DomainError(
        Kind(error["kind"]), error["code"], error["message"], field=error["field"], **error["facts"]
    )
