"""Delivers what is queued: claims by lease, posts with no transaction open, settles in groups.

Any number of processes may run one each. A claim is a short commit; the attempts run as tasks
beside each other; what they heard is stored by group commit. A process that dies leaves its leases,
and when they are over its messages are due again: at least once.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.entropy import Entropy
from devices.keystore.fields import FieldKeys
from devices.keystore.port import KeyStoreError
from server_core.db.batch import Batch
from server_core.db.work import Database, Work
from server_core.errors import DomainError
from server_core.ids import parse, public
from server_core.telemetry.spans import Fact, Span
from server_core.webhooks import catalogue, messages, rules, service, signing, store
from server_core.webhooks.model import IN_ALL, PER_ENDPOINT, Claimed, Failure, Heard
from server_core.webhooks.sending import Sender
from server_core.webhooks.settling import Finish, finish_many

_FIRST: Final = UUID(int=0)
_ROUNDS: Final = 50
_log = structlog.get_logger("hundi.webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What signs now, opened: each endpoint's secrets, none if one does not open, and the house's."""

    secrets: dict[UUID, list[bytes]]
    house: list[Ed25519PrivateKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look claimed, after which endpoint the next begins, and whether it is worth it."""

    claimed: list[Claimed]
    start: UUID
    goes_on: bool


class Courier:
    """One process's deliveries. `each` at most at one endpoint, `in_all` together."""

    __slots__ = (
        "_again", "_claiming", "_clock", "_closed", "_db", "_each", "_entropy", "_failing",
        "_fields", "_finish", "_held", "_in_all", "_sender", "_start", "_tasks", "_wanted",
    )  # fmt: skip

    def __init__(
        self,
        db: Database,
        sender: Sender,
        *,
        fields: FieldKeys,
        entropy: Entropy,
        each: int = PER_ENDPOINT,
        in_all: int = IN_ALL,
    ) -> None:
        self._db, self._sender, self._fields, self._entropy = db, sender, fields, entropy
        self._each, self._in_all, self._clock = each, in_all, db.clock
        self._finish: Batch[Finish, bool] = Batch(db, finish_many, lanes=1)
        self._held: Counter[UUID] = Counter()
        self._failing = 0
        self._start = {False: _FIRST, True: _FIRST}
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.Task[None] | None = None
        self._wanted, self._closed = False, False
        self._claiming = asyncio.Lock()

    async def tick(self) -> int:
        """Begin what is due and has room; how many attempts that is. They go on beside it.

        Endpoints that fail or are slow get one attempt at a time, and half of the room together:
        their attempts are the long ones, and those that are well must not wait for them.
        """
        async with self._claiming:
            begun = 0
            for _ in range(_ROUNDS):
                if self._closed:
                    break
                claimed, goes_on = await self._round()
                begun += claimed
                if not goes_on:
                    break
            return begun

    async def check(self, url: str) -> None:
        """What the sender would refuse, refused early: webhooks.url."""
        await self._sender.check(url)

    async def idle(self) -> None:
        """Wait until nothing is under way: for tests, and for a stop in order."""
        while self._tasks or (self._again is not None and not self._again.done()):
            await asyncio.wait([*self._tasks, *([self._again] if self._again else [])])

    async def close(self, patience_s: float = 5) -> None:
        """Take nothing more, let what is under way end, cut off the rest: it is due again later."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in (*self._tasks, *([self._again] if self._again else [])):
            task.cancel()
            with suppress(asyncio.CancelledError, DomainError):
                await task
        await self._finish.close()

    async def _round(self) -> tuple[int, bool]:
        """Claim into the room there is; how many, and whether another look is worth it."""
        async with self._db.work() as work:
            well = await self._claim(work, self._in_all - len(self._tasks), failing=False)
            room = self._in_all - len(self._tasks) - len(well.claimed)
            room = min(room, self._in_all // 2 - self._failing)
            ill = await self._claim(work, room, failing=True)
            keys = await self._keys(work, [*well.claimed, *ill.claimed])
        # After COMMIT: what is posted is leased.
        for look, failing in ((well, False), (ill, True)):
            self._start[failing] = look.start
            for one in look.claimed:
                self._held[one.endpoint] += 1
                self._failing += failing
                task = asyncio.create_task(self._deliver(one, keys, failing=failing))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return len(well.claimed) + len(ill.claimed), well.goes_on or ill.goes_on

    async def _claim(self, work: Work, room: int, *, failing: bool) -> _Look:
        start = self._start[failing]
        if room <= 0:
            return _Look(claimed=[], start=start, goes_on=False)
        each = 1 if failing else self._each
        locked = await messages.due(work, start, self._held, each=each, limit=room, failing=failing)
        # A look that began in the middle has not seen the endpoints before it.
        if not locked:
            return _Look(claimed=[], start=_FIRST, goes_on=start != _FIRST)
        # A lease that a crash forgets is an attempt made twice, which at-least-once allows.
        await work.execute("SET LOCAL synchronous_commit = off")
        ids = [row["id"] for row in locked]
        claimed, waiting = await messages.lease(work, ids, work.ids.new())
        full = len(locked) == room
        return _Look(
            claimed=claimed,
            start=locked[-1]["endpoint"] if full else _FIRST,
            goes_on=full or waiting > 0 or start != _FIRST,
        )

    async def _keys(self, work: Work, claimed: Sequence[Claimed]) -> _Keys:
        if not claimed:
            return _Keys(secrets={}, house=[])
        endpoints = sorted({one.endpoint for one in claimed})
        secrets: dict[UUID, list[bytes]] = {one: [] for one in endpoints}
        for one in rules.signing(await store.secrets(work, endpoints), work.now_ms):
            try:
                secrets[one.endpoint].append(service.open_secret(self._fields, one))
            except KeyStoreError as error:  # that endpoint's trouble, no other's
                _log.error(
                    "webhook.secret_closed", endpoint=public("ep", one.endpoint), error=str(error)
                )
        house = await service.signing_keys(work, self._fields, self._entropy)
        keys = []
        for key in house:
            try:
                keys.append(signing.key_of(service.open_key(self._fields, key)))
            except KeyStoreError as error:  # the others still sign
                _log.error("webhook.house_key_closed", kid=key.kid, error=str(error))
        return _Keys(secrets=secrets, house=keys)

    async def _deliver(self, one: Claimed, keys: _Keys, *, failing: bool) -> None:
        try:
            heard = await self._post(one, keys)
            self._trace(one, heard)
            finish = Finish(claimed=one, heard=heard, chance=self._entropy.unit())
            follows = await self._finish.submit(finish)
        except Exception as error:  # noqa: BLE001 - one message's failure is no other's
            # Not stored: the lease will be over, and it is sent again.
            _log.error("webhook.unsettled", message=public("msg", one.id), error=repr(error))
            follows = False
        finally:
            self._failing -= failing
            self._held[one.endpoint] -= 1
            if self._held[one.endpoint] <= 0:
                del self._held[one.endpoint]
        if follows:
            self._look_again()

    def _trace(self, one: Claimed, heard: Heard) -> None:
        """An attempt to tell of a payment, in that payment's trace."""
        if not self._db.tracing.on:
            return
        about = catalogue.subject_of(one.body)
        if about.startswith("pay_"):
            facts: dict[str, Fact] = {
                "type": one.type, "number": one.number, "status": heard.status,
                "failure": heard.failure,
            }  # fmt: skip
            ended = heard.started_at + heard.duration_ms
            span = Span("webhook", parse("pay", about), heard.started_at, ended, facts)
            self._db.tracing.tell([span])

    async def _post(self, one: Claimed, keys: _Keys) -> Heard:
        secrets = keys.secrets[one.endpoint]
        if not secrets:
            return Heard(started_at=self._clock.now_ms(), duration_ms=0, failure=Failure.SECRET)
        headers = signing.headers(
            public("msg", one.id),
            self._clock.now_ms() // 1000,
            one.body,
            secrets=secrets,
            keys=keys.house,
        )
        return await self._sender.post(one.url, one.body, headers)

    def _look_again(self) -> None:
        """Claim once more: for many attempts that end while a look is under way, once."""
        self._wanted = True
        if not self._closed and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._wanted and not self._closed:
            self._wanted = False
            try:
                await self.tick()
            except (DomainError, KeyStoreError) as error:
                _log.warning("webhook.claim_failed", error=str(error))
