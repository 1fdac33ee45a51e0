"""A refund over UPI until its `refund.succeeded` was acknowledged by the shop's own receiver.

The receiver is a process of its own; fan-out and delivery run as the jobs do, woken by commits.
"""

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter, time_ns

from bench.cluster import database
from bench.figures import Figure, percentile
from bench.open_loop import arrive, connected
from bench.payments_stage import AMOUNT, Town, confirms, intents, town
from bench.webhooks import OPERATOR, receiver
from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from devices.keystore import fields
from devices.keystore.fields import FieldKeys
from server_core import workers
from server_core.actor import Actor, Role
from server_core.app import Job
from server_core.db.work import Database
from server_core.ids import public
from server_core.payments import service as payments
from server_core.payments.model import Confirm, Intent, Method
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from server_core.webhooks import service as webhooks
from server_core.webhooks.courier import Courier
from server_core.webhooks.fanning import fan_out
from server_core.webhooks.model import Draft
from server_core.webhooks.sending import Sender

RATE = 20
LATENCY_MS = 150
SHOPS = 20
SECONDS = float(os.environ.get("SECONDS", "60"))
WITHIN_S = 60


async def _endpoints(db: Database, here: Town, ring: FieldKeys, port: int) -> None:
    for number, shop in enumerate(here.shops):
        async with db.work() as work:
            await webhooks.create(
                work, ring, SystemEntropy(), OPERATOR,
                Draft(url=f"http://127.0.0.1:{port}/{number}", events=["refund.succeeded"]),
                key=f"bench-{number}", owner=shop.id, allow_private=True,
            )  # fmt: skip


async def _heard(child: asyncio.subprocess.Process, count: int) -> dict[str, float]:
    """When each refund's first message was answered by the receiver, in Unix ms."""
    assert child.stdout
    at_ms: dict[str, float] = {}
    while len(at_ms) < count:
        line = (await child.stdout.readline()).decode().split()
        at_ms.setdefault(line[2], int(line[3]) / 1000)
    return at_ms


async def measure(url: str, seconds: float = SECONDS, people: int = 500) -> list[Figure]:
    clock, entropy = SystemClock(), SystemEntropy()
    count = max(20, int(RATE * seconds / 2))
    home = Path(tempfile.mkdtemp(prefix="hundi-bench-keys-"))
    ring = fields.load(home, entropy=entropy, clock=clock, passphrase=None)
    async with (
        database(url) as db,
        connected(db, latency_median_ms=LATENCY_MS) as (rails, queue, _),
        receiver() as (port, child),
        Sender(clock, allow_private=True) as sender,
    ):
        here = await town(db, people, SHOPS)
        await _endpoints(db, here, ring, port)
        paid: list[Intent] = []

        async def pay(command: Confirm, _: float) -> None:
            paid.append(await payments.confirm(db, queue, rails, command))

        ids = await intents(db, here, count, "refunded")
        await arrive(confirms(here, ids, "refunded", Method.UPI), 2 * RATE, pay)
        courier = Courier(db, sender, fields=ring, entropy=entropy)
        jobs = [
            Job(name="webhooks.queue", period_s=1, tick=partial(fan_out, db), follows=True),
            Job(name="webhooks.deliver", period_s=1, tick=courier.tick, follows=True),
        ]
        while await fan_out(db):  # what was paid before is nobody's to wait for
            pass
        running = asyncio.create_task(workers.run(jobs, db))
        asked_ms: dict[str, float] = {}
        answered: list[float] = []

        async def refund(intent: Intent, due: float) -> None:
            asked = time_ns() / 1e6 - (perf_counter() - due) * 1000
            shop = Actor(party=intent.payee, role=Role.MERCHANT)
            command = Ask(actor=shop, key=f"back-{intent.id}", intent=intent.id, amount=AMOUNT)
            made = (await refunds.refund(db, rails, command)).value
            answered.append((perf_counter() - due) * 1000)
            asked_ms[public("ref", made.id)] = asked

        async with asyncio.timeout(count / RATE + WITHIN_S):
            _, heard_ms = await asyncio.gather(arrive(paid, RATE, refund), _heard(child, len(paid)))
        running.cancel()
        await asyncio.wait([running])
        await courier.close()
    waits = [heard_ms[one] - at for one, at in asked_ms.items()]
    print(f"  refunds: {len(waits):,} heard of, load {os.getloadavg()[0]:.1f}")
    p95 = percentile(waits, 0.95)
    return [
        Figure(
            name=f"UPI refund to its webhook, {RATE}/s, p95",
            value=p95, unit="ms", n=len(waits), goal="≤ 2,000 ms", holds=p95 <= 2_000,
        ),
        Figure(name="  p50", value=percentile(waits, 0.50), unit="ms", n=len(waits)),
        Figure(name="  the refund's own answer, p95", value=percentile(answered, 0.95), unit="ms",
               n=len(answered)),
    ]  # fmt: skip
