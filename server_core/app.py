"""Builds the one Core: every part made once, wired by hand, closed in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from sqlmodel import SQLModel

from devices.clock import Clock, SystemClock
from devices.entropy import Entropy, SystemEntropy
from devices.keystore import fields
from devices.keystore.fields import FieldKeys
from devices.passkeys import RelyingParty
from server_core.db import embedded, migrate
from server_core.db.work import Database
from server_core.events import cursors, inbox, remotes, tail
from server_core.events import store as event_store
from server_core.events.bus import InProcessBus, Remote
from server_core.events.relay import Relay
from server_core.events.remotes import Addresses, Target
from server_core.idempotency import jobs as idempotency_jobs
from server_core.idempotency import store as idempotency_store
from server_core.ids import Ids
from server_core.ledger import jobs as ledger_jobs
from server_core.ledger import store as ledger_store
from server_core.limits import store as limit_store
from server_core.linking import store as linking_store
from server_core.money import EXPONENTS
from server_core.parties import store as party_store
from server_core.passkeys import jobs as passkey_jobs
from server_core.passkeys import store as passkey_store
from server_core.payments import jobs as payment_jobs
from server_core.payments import service as payments
from server_core.payments import store as payment_store
from server_core.payments.queues import Confirmations
from server_core.rails import store as rail_store
from server_core.rails.card import CardRail
from server_core.rails.connected import Rails
from server_core.rails.doors import DoorRail
from server_core.rails.measured import MeasuredRail
from server_core.rails.model import Rail
from server_core.rails.netbanking import NetbankingRail
from server_core.rails.traits import method_of
from server_core.rails.upi import UpiRail
from server_core.refunds import jobs as refund_jobs
from server_core.refunds import store as refund_store
from server_core.seals import jobs as seal_jobs
from server_core.seals import keys as seal_keys
from server_core.seals import store as seal_store
from server_core.sessions import store as session_store
from server_core.settings import Settings
from server_core.strays import jobs as stray_jobs
from server_core.strays import store as stray_store
from server_core.telemetry.spans import Tracing
from server_core.terminals import store as terminal_store
from server_core.trust import jobs as trust_jobs
from server_core.trust import service as trust
from server_core.trust import store as trust_store
from server_core.ussd import store as ussd_store
from server_core.vouchers import jobs as voucher_jobs
from server_core.vouchers import store as voucher_store
from server_core.webhooks import jobs as webhook_jobs
from server_core.webhooks import store as webhook_store
from server_core.webhooks.courier import Courier
from server_core.webhooks.sending import Sender

STORES: Final = (
    cursors, event_store, inbox, idempotency_store, ledger_store, limit_store, linking_store, party_store, passkey_store,
    payment_store, rail_store, refund_store, seal_store, session_store, stray_store, terminal_store, trust_store,
    ussd_store, voucher_store, webhook_store,
)  # fmt: skip
"""Every slice that declares tables."""

_ADAPTERS: Final[dict[str, type[DoorRail]]] = {
    one.rail: one for one in (UpiRail, CardRail, NetbankingRail)
}

TABLES: Final = SQLModel.metadata
"""What the stores declare; a test holds the migrations to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One background task: no input, periodic, idempotent; `tick` says how much it did.

    One that `follows` the event log is also woken by every commit that emits.
    """

    name: str
    period_s: float
    tick: Callable[[], Awaitable[int]]
    follows: bool = False


@dataclass(slots=True, kw_only=True)
class Core:
    """The server's parts. Made by `open_core`; handed to the edge, which hands parts to slices."""

    settings: Settings
    clock: Clock
    entropy: Entropy
    database_url: str
    db: Database
    revision: str
    bus: InProcessBus
    rails: Rails
    confirmations: Confirmations
    trust: trust.Keys
    fields: FieldKeys
    journal: seal_keys.JournalKey
    courier: Courier

    @property
    def site(self) -> RelyingParty:
        """Who asks for passkeys: this server's own pages."""
        host = urlsplit(self.settings.origin).hostname or ""
        return RelyingParty(id=host, name="Hundi", origins=(self.settings.origin,))

    def new_id(self) -> UUID:
        return Ids(self.clock, self.entropy).new()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Feed the bus from the event log for as long as it lasts; end subscriptions after."""
        task = asyncio.create_task(tail.follow(self.db, self.bus))
        try:
            yield
        finally:
            self.bus.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def remote(self, target: Target) -> Remote:
        """A bus outside this process, by the settings; the caller closes it."""
        addresses = Addresses(
            kafka_bootstrap=self.settings.kafka_bootstrap,
            kafka_topic=self.settings.kafka_topic,
            redis_url=self.settings.redis_url,
        )
        return remotes.connect(target, addresses, self.db)

    @asynccontextmanager
    async def relaying(self, targets: Sequence[Target]) -> AsyncIterator[list[Relay]]:
        """One relay for each target, to be given to `jobs`; closed after."""
        async with AsyncExitStack() as opened:
            relays = []
            for target in dict.fromkeys(targets):
                bus = self.remote(target)
                opened.push_async_callback(bus.close)
                relays.append(Relay(self.db, bus))
            yield relays

    def jobs(self, relays: Sequence[Relay] = ()) -> list[Job]:
        db = self.db
        return [
            Job(name="ledger.expire", period_s=1, tick=partial(ledger_jobs.tick, db)),
            Job(name="seals.seal", period_s=1, tick=partial(seal_jobs.tick, db, self.journal)),
            Job(name="payments.expire", period_s=5, tick=partial(payment_jobs.expire, db)),
            Job(
                name="payments.reconcile",
                period_s=max(0.2, self.settings.rail_pace),
                tick=partial(payment_jobs.reconcile, db, self.rails),
            ),
            Job(
                name="refunds.reconcile",
                period_s=max(0.2, 5 * self.settings.rail_pace),
                tick=partial(refund_jobs.reconcile, db, self.rails),
            ),
            Job(
                name="strays.return",
                period_s=max(0.2, 5 * self.settings.rail_pace),
                tick=partial(stray_jobs.tick, db, self.rails),
            ),
            Job(name="idempotency.reap", period_s=60, tick=partial(idempotency_jobs.tick, db)),
            Job(name="trust.reap", period_s=60, tick=partial(trust_jobs.tick, db)),
            Job(name="passkeys.reap", period_s=60, tick=partial(passkey_jobs.tick, db)),
            Job(name="vouchers.voids", period_s=30, tick=partial(voucher_jobs.retry_voids, db)),
            Job(name="vouchers.close", period_s=10, tick=partial(voucher_jobs.tick, db)),
            Job(name="events.inbox", period_s=60, tick=partial(inbox.tick, db)),
            Job(
                name="webhooks.queue",
                period_s=1,
                tick=partial(webhook_jobs.fan_out, db),
                follows=True,
            ),
            Job(name="webhooks.deliver", period_s=1, tick=self.courier.tick, follows=True),
            Job(name="webhooks.reap", period_s=60, tick=partial(webhook_jobs.reap, db)),
            *(Job(name="events.relay", period_s=1, tick=one.tick, follows=True) for one in relays),
        ]


@asynccontextmanager
async def open_core(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    program: str = "hundi",
) -> AsyncIterator[Core]:
    """Start or join PostgreSQL, migrate, connect, and give the Core; close all of it after.

    `program` is what traces call it.
    """
    own_clock = clock is None
    clock, entropy = clock or SystemClock(), entropy or SystemEntropy()
    async with _database_url(settings) as url:
        revision = await migrate.upgrade(url)
        tracing = Tracing(settings.otlp_url, clock=clock, service=program)
        db = await Database.connect(
            url, clock=clock, entropy=entropy, flush=event_store.flush, tracing=tracing
        )
        try:
            if own_clock:
                await db.check_clock()
            sender = Sender(clock, allow_private=settings.allow_private_webhooks)
            async with _connected(settings, clock, entropy) as rails, sender:
                field_keys = fields.load(
                    settings.home / "keys",
                    entropy=entropy,
                    clock=clock,
                    passphrase=settings.keys_passphrase,
                )
                core = Core(
                    settings=settings,
                    clock=clock,
                    entropy=entropy,
                    database_url=url,
                    db=db,
                    revision=revision,
                    bus=InProcessBus(),
                    rails=rails,
                    confirmations=Confirmations(db, rails),
                    trust=trust.load(
                        settings.home / "keys",
                        entropy=entropy,
                        clock=clock,
                        passphrase=settings.keys_passphrase,
                        token=settings.issuer_token,
                    ),
                    journal=seal_keys.load(
                        settings.home / "keys",
                        entropy=entropy,
                        passphrase=settings.keys_passphrase,
                    ),
                    fields=field_keys,
                    courier=Courier(db, sender, fields=field_keys, entropy=entropy),
                )
                await _open_house_accounts(core)
                try:
                    yield core
                finally:
                    await core.courier.close()
                    await core.confirmations.close()
        finally:
            await db.close()
            await asyncio.to_thread(tracing.close)


@asynccontextmanager
async def _connected(settings: Settings, clock: Clock, entropy: Entropy) -> AsyncIterator[Rails]:
    """Every rail that has an address, with a pool of connections of its own."""
    async with AsyncExitStack() as opened:
        by_name: dict[str, Rail] = {}
        for name, url in settings.rail_urls.items():
            adapter = _ADAPTERS[method_of(name)].connect(url, clock=clock)
            opened.push_async_callback(adapter.aclose)
            by_name[name] = MeasuredRail(name, adapter, clock)
        yield Rails(
            by_name=by_name,
            pace=settings.rail_pace,
            clock=clock,
            entropy=entropy,
        )


async def _open_house_accounts(core: Core) -> None:
    async with core.db.work() as work:
        for rail in sorted(core.rails.by_name):
            for currency in EXPONENTS:
                await payments.open_rail_account(work, rail, currency)


@asynccontextmanager
async def _database_url(settings: Settings) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = await asyncio.to_thread(embedded.join, settings.home)
    try:
        await migrate.make_database(server.url)
        yield server.url
    finally:
        await asyncio.to_thread(server.release)
