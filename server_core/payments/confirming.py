"""Transaction 1 of a confirm, batch-first: claim, lock, decide, move or hold, answer."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from server_core.actor import Actor
from server_core.db.work import Work
from server_core.errors import DomainError
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
    Running,
)
from server_core.ledger import service as ledger
from server_core.ledger.model import Outcome
from server_core.limits import service as limits
from server_core.parties import service as parties
from server_core.parties.model import Party
from server_core.payments import answers, attempts, counting, gates, rules, store, tracing
from server_core.payments.gates import Proposed
from server_core.payments.model import (
    Attempt,
    AttemptState,
    CaptureMethod,
    Confirm,
    Intent,
    Method,
    Pay,
    State,
)
from server_core.rails import rules as rail_rules
from server_core.rails import store as rail_store
from server_core.rails.connected import Rails
from server_core.rails.model import RailOrder
from server_core.rails.router import Ask


class Sent(Struct, frozen=True, kw_only=True):
    """Transaction 1 is committed: the rail may be called with `order`, with no transaction open.

    `ask` is what the router was asked; its `tried` names the rails of this request, the last one
    `attempt`'s.
    """

    intent: Intent
    attempt: Attempt
    order: RailOrder
    ask: Ask


class Busy(Struct, frozen=True, kw_only=True):
    """The same key is under way; `attempt` is set when its lease ran out and is now the caller's."""

    until: int
    attempt: UUID | None = None


Confirmed = Answer[Intent] | Sent | Busy


def rows_of(command: Confirm | Pay) -> tuple[UUID | Method | None, ...]:
    """Whose rows a command locks, for the lanes of its queue.

    Its intent's and its payer's, and over a rail those of what the rail owes us.
    """
    rail = () if command.method is Method.BOOK else (command.method,)
    if isinstance(command, Confirm):
        return command.intent, command.actor.party, *rail
    return command.actor.party, *rail


async def confirm_many(
    work: Work, commands: Sequence[Confirm | Pay], *, rails: Rails
) -> list[Confirmed | DomainError]:
    """Transaction 1 of every confirm in the batch, decided one by one, written set-based."""
    claims = [answers.claim_of(one) for one in commands]
    outcomes: list[Confirmed | DomainError | None] = [None] * len(commands)
    waiting = list(range(len(commands)))
    while waiting:  # again only for those whose key an earlier one in the batch let go
        found = await idempotency.claim(work, [claims[i] for i in waiting])
        fresh = [i for i, what in zip(waiting, found, strict=True) if isinstance(what, Fresh)]
        batch = _Confirming(work, rails)
        decided = await batch.run([(commands[i], claims[i]) for i in fresh])
        first = {}
        for i, outcome in zip(fresh, decided, strict=True):
            outcomes[i] = first[claims[i].scope, claims[i].key] = outcome
        free = {(one.scope, one.key) for one in batch.released}
        again = []
        for i, what in zip(waiting, found, strict=True):
            key = claims[i].scope, claims[i].key
            if isinstance(what, Fresh):
                continue
            if key in free:
                again.append(i)
            elif key in first and isinstance(what, Running):
                outcomes[i] = _same(first[key], work.now_ms)
            else:
                outcomes[i] = await _known(work, commands[i], claims[i], what)
        waiting = again
    return [outcome for outcome in outcomes if outcome is not None]


def _same(first: Confirmed | DomainError, now_ms: int) -> Confirmed | DomainError:
    """What the second of two equal commands in one batch is told."""
    if isinstance(first, Sent):
        return Busy(until=now_ms + LEASE_MS)
    if isinstance(first, Answer):
        return replace(first, replayed=True)
    return Repeated.of(first) if isinstance(first, DomainError) else first


async def _known(
    work: Work, command: Confirm | Pay, claim: Claim, found: Replay | Mismatch | Running
) -> Confirmed | DomainError:
    """What a key that was used before says: its answer, its misuse, or whose turn it is.

    A lease that has run out is taken over: by asking, never by sending again.
    """
    if isinstance(found, Replay):
        return answers.replayed(found.answer)
    if isinstance(found, Mismatch):
        return keys.mismatch()
    if await idempotency.take_over(work, claim, found) is None:
        return Busy(until=found.until)
    if isinstance(command, Confirm):
        intent: UUID | None = command.intent
    else:
        origin = answers.origin_of(claim)
        intent = (await store.by_origin(work, [origin])).get(origin)
    attempt = intent and await store.attempt_of(work, claim, intent)
    return Busy(until=work.now_ms + LEASE_MS, attempt=attempt)


_PAID_OR_MAY_BE: Final = frozenset(
    {
        State.SUCCEEDED, State.CONFLICTED, State.REQUIRES_CAPTURE, State.PROCESSING,
        State.REQUIRES_ACTION,
    }
)  # fmt: skip


class _Confirming:
    """One batch of fresh commands over the intents as the earlier ones leave them."""

    __slots__ = (
        "_attempts", "_intents", "_kept", "_made", "_most", "_parties", "_preferred", "_rails", "_work",
        "released",
    )  # fmt: skip

    def __init__(self, work: Work, rails: Rails) -> None:
        self._work, self._rails = work, rails
        self._intents: dict[UUID, Intent] = {}
        self._parties: dict[UUID, Party] = {}
        self._most: dict[str, int] = {}
        self._preferred: dict[UUID, tuple[str, ...]] = {}
        self._made: set[UUID] = set()
        self._attempts: list[Attempt] = []
        self._kept: list[tuple[Claim, Any]] = []
        self.released: list[Claim] = []

    async def run(
        self, commands: Sequence[tuple[Confirm | Pay, Claim]]
    ) -> list[Confirmed | DomainError]:
        if not commands:
            return []
        outcomes: list[Confirmed | DomainError | None] = [None] * len(commands)
        confirms = await self._opened(commands, outcomes)
        waiting = list(confirms)
        while waiting:  # a second command for one intent waits for the next round
            seen: set[UUID] = set()
            now: list[int] = []
            later: list[int] = []
            for i in waiting:
                (later if confirms[i][0].intent in seen else now).append(i)
                seen.add(confirms[i][0].intent)
            await self._round(confirms, now, outcomes)
            waiting = later
        await self._write()
        return [outcome for outcome in outcomes if outcome is not None]

    async def _write(self) -> None:
        touched = {attempt.intent for attempt in self._attempts}
        if touched or self._kept:
            made = [self._intents[key] for key in sorted(touched & self._made)]
            known = [self._intents[key] for key in sorted(touched - self._made)]
            await store.save_confirmed(self._work, made, known, self._attempts, self._kept)
        await idempotency.release(self._work, self.released)

    async def _opened(
        self,
        commands: Sequence[tuple[Confirm | Pay, Claim]],
        outcomes: list[Confirmed | DomainError | None],
    ) -> dict[int, tuple[Confirm, Claim]]:
        """Lock and read what is there; each command as a confirm of an intent, old or new."""
        work = self._work
        pays = {
            answers.origin_of(claim): command
            for command, claim in commands
            if isinstance(command, Pay)
        }
        known = await store.by_origin(work, pays) if pays else {}
        confirmed = {one.intent for one, _ in commands if isinstance(one, Confirm)}
        self._intents = await store.lock(work, confirmed | set(known.values()))
        payees = {one.payee for one in self._intents.values()}
        self._parties = await parties.get_many(
            work, payees | {one.offer.payee for one in pays.values()}
        )
        allowed = await limits.in_force(work, "payments") if pays else {}
        if any(one.method is not Method.BOOK for one, _ in commands):
            self._most = await limits.in_force(work, "rails")
            self._preferred = await rail_store.preferred(work, self._parties)
        confirms: dict[int, tuple[Confirm, Claim]] = {}
        for i, (command, claim) in enumerate(commands):
            if isinstance(command, Confirm):
                confirms[i] = command, claim
                continue
            opened = self._open(command, claim, known, allowed)
            if isinstance(opened, Intent):
                confirms[i] = rules.confirm_of(command, opened.id), claim
            else:
                outcomes[i] = opened
        return confirms

    def _open(
        self, command: Pay, claim: Claim, known: dict[UUID, UUID], allowed: dict[str, int]
    ) -> Intent | Answer[Intent] | DomainError:
        """The intent to be paid: a new one, or the one that this key made and that is not yet paid.

        The key's answer may be forgotten; the intent that it made is not. One that is paid, or
        may yet be, is the answer again.
        """
        origin = answers.origin_of(claim)
        if origin in known:
            made = self._intents[known[origin]]
            if not rules.asks_for(command.offer, made):
                self.released.append(claim)
                return keys.mismatch()
            if made.state in _PAID_OR_MAY_BE:
                self._kept.append((claim, answers.said(made)))
                return Answer(value=made, replayed=True)
            return made
        try:
            payee = self._parties.get(command.offer.payee)
            rules.check_create(command.offer, payee, allowed)
        except DomainError as refused:
            return self._refuse(claim, refused)
        new = rules.new_intent(command.offer, self._work.ids.new(), self._work.now_ms, origin)
        self._intents[new.id] = new
        self._made.add(new.id)
        return new

    async def _round(
        self,
        commands: dict[int, tuple[Confirm, Claim]],
        now: Sequence[int],
        outcomes: list[Confirmed | DomainError | None],
    ) -> None:
        proposed: dict[int, Proposed] = {}
        for i in now:
            command, claim = commands[i]
            try:
                intent = rules.check_confirm(
                    command, self._intents.get(command.intent), self._work.now_ms
                )
            except DomainError as refused:
                outcomes[i] = self._refuse(claim, refused)
                continue
            proposed[i] = Proposed(
                command=command, intent=intent, payee=self._parties[intent.payee]
            )
        asked = self._work.tracing.now()
        stopped = await gates.judge(self._work, list(proposed.values()))
        judged = self._work.tracing.now()
        moving = []
        for (i, one), refused_by in zip(proposed.items(), stopped, strict=True):
            command, claim = commands[i]
            try:
                if refused_by is not None:
                    raise refused_by
                attempt = self._attempt(one, claim)
            except DomainError as refused:
                outcomes[i] = self._refuse(claim, refused)
                continue
            intent = replace(one.intent, payer=rules.who_pays(command, one.intent))
            move = attempts.transfer(intent, attempt, intent.payer, one.payee)
            moving.append((i, intent, attempt, move))
        routed = self._work.tracing.now()
        posted = await ledger.post(self._work, [move for *_, move in moving])
        for (i, intent, attempt, _), outcome in zip(moving, posted, strict=True):
            tracing.decided(self._work, attempt, asked, judged, routed)
            outcomes[i] = self._apply(intent, attempt, outcome, *commands[i])

    def _attempt(self, one: Proposed, claim: Claim) -> Attempt:
        """The try, over the rail that the router chose; raises when there is none."""
        command, intent = one.command, one.intent
        choice = self._rails.choose(self._ask(command, intent))
        if command.method is not Method.BOOK:
            rules.check_route(command.method, choice)
        return attempts.new_attempt(command, intent, claim, choice, self._work.now_ms)

    def _ask(self, command: Confirm, intent: Intent) -> Ask:
        return Ask(
            method=command.method,
            currency=intent.currency,
            amount=intent.amount,
            bank=attempts.bank_of(command),
            captures_later=intent.capture_method is not CaptureMethod.AUTOMATIC,
            most=self._most.get(command.method) if intent.currency == "INR" else None,
            preferred=self._preferred.get(intent.payee, ()),
        )

    def _apply(
        self, intent: Intent, attempt: Attempt, moved: Outcome, command: Confirm, claim: Claim
    ) -> Confirmed | DomainError:
        now = self._work.now_ms
        tried = replace(intent, attempts=attempt.number)
        if not moved.ok:
            refused = rules.refusal(moved)
            refused.facts.update(answers.named(attempt, intent))
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
        if attempt.rail is None:
            ended = replace(attempt, state=AttemptState.SUCCEEDED, ended_at=now)
            if intent.capture_method is CaptureMethod.AUTOMATIC:
                done = rules.moved(tried, State.SUCCEEDED, now, captured=attempt.amount)
                self._keep(done, ended, "payment.succeeded", command.actor)
            else:
                done = rules.authorized(tried, ended, now)
                self._keep(done, ended, "payment.authorized", command.actor)
            self._kept.append((claim, answers.said(done)))
            return Answer(value=done)
        payee = self._parties[intent.payee]
        if attempt.method is Method.UPI_LINK:
            return self._shown(tried, attempt, payee, command, claim)
        sent = replace(attempt, next_check_at=now + LEASE_MS)
        under_way = rules.moved(tried, State.PROCESSING, now)
        self._keep(under_way, sent, "payment.processing", command.actor)
        return Sent(
            intent=under_way,
            attempt=sent,
            order=attempts.order(under_way, sent, command.instrument, payee),
            ask=replace(self._ask(command, intent), tried=(sent.rail or "",)),
        )

    def _shown(
        self, intent: Intent, attempt: Attempt, payee: Party, command: Confirm, claim: Claim
    ) -> Answer[Intent]:
        """A link to be paid by anybody's app: no rail is called, the payer acts."""
        now = self._work.now_ms
        next_check_at = rail_rules.next_action_check(now, 0, now, pace=self._rails.pace)
        waiting = replace(attempt, state=AttemptState.REQUIRES_ACTION, next_check_at=next_check_at)
        link = attempts.link(intent, attempt, payee)
        done = rules.moved(intent, State.REQUIRES_ACTION, now, action=link)
        counting.challenged(self._work, done)
        self._keep(done, waiting, "payment.requires_action", command.actor)
        self._kept.append((claim, answers.said(done)))
        return Answer(value=done)

    def _keep(self, intent: Intent, attempt: Attempt, event: str, actor: Actor) -> None:
        if intent.id in self._made and intent.attempts == 1:
            made = self._intents[intent.id]
            self._work.emit(answers.event("payment.created", made, actor))
        self._intents[intent.id] = intent
        self._attempts.append(attempt)
        counting.begun(self._work, attempt)
        self._work.emit(answers.event(event, intent, actor, attempt))

    def _refuse(self, claim: Claim, refused: DomainError) -> DomainError:
        """Keep a refusal as the key's answer; one that is no answer leaves the key free."""
        if keys.is_kept(refused):
            self._kept.append((claim, keys.refusal(refused)))
        else:
            self.released.append(claim)
        return refused
