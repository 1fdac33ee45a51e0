"""Transaction 1 of a confirm, batch-first: claim, lock, decide, move or hold, answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from server_core.actor import Actor
from server_core.db.batch import Batch
from server_core.db.work import Work
from server_core.errors import DomainError, Kind
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import LEASE_MS, Claim, Fresh, Mismatch, Replay, Running
from server_core.ledger import service as ledger
from server_core.ledger.model import Outcome
from server_core.parties import service as parties
from server_core.parties.model import Party
from server_core.payments import answers, rules, store
from server_core.payments.model import Attempt, AttemptState, Confirm, Intent, Method, State


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


async def confirm_many(
    work: Work, commands: Sequence[Confirm], *, connected: Collection[str] = ()
) -> list[Confirmed | DomainError]:
    """Transaction 1 of every confirm in the batch, decided one by one, written set-based."""
    claims = [answers.claim_of_confirm(one) for one in commands]
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
            outcomes[i] = answers.replayed(what.answer)
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
            await store.save_tried(
                self._work, [self._intents[key] for key in sorted(touched)], self._attempts
            )
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
            self._kept.append((claim, answers.said(done)))
            return done
        sent = replace(attempt, next_check_at=now + LEASE_MS)
        under_way = rules.moved(tried, State.PROCESSING, now)
        self._keep(under_way, sent, "payment.processing", command.actor)
        return Sent(intent=under_way, attempt=sent)

    def _keep(self, intent: Intent, attempt: Attempt, event: str, actor: Actor) -> None:
        self._intents[intent.id] = intent
        self._attempts.append(attempt)
        self._work.emit(answers.event(event, intent, actor, attempt))

    def _refuse(self, claim: Claim, refused: DomainError) -> DomainError:
        """Keep a refusal as the key's answer; a mistake in the request leaves the key free."""
        if refused.kind in {Kind.INVALID, Kind.NOT_FOUND}:
            self._released.append(claim)
        else:
            self._kept.append((claim, answers.said_no(refused)))
        return refused
