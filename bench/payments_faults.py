"""How many payments succeed when the rail is as unreliable as one is, and when one rail of two is out.

What is counted is how each intent stands once every attempt has ended: nobody tries a second time.
"""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from bench.cluster import database
from bench.figures import Figure
from bench.open_loop import Switch, arrive, connected
from bench.payments_stage import Town, confirms, intents, town
from devices.clock import SystemClock
from server_core import workers
from server_core.app import Job
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.payments import jobs, service
from server_core.payments.model import Confirm, Method
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails

RATE = 100
LATENCY_MS = 150
DECLINES = 0.05
UNKNOWNS = 0.01
"""The sandbox's defaults are 0 and 0, which would show nothing. These are chosen, not measured: one
payer in twenty is declined for a reason of their own, one answer in a hundred is lost or unclear."""

PACE = 0.005
"""Unknowns are asked about after 0.45 s instead of 90: the schedule's shape, 200 times as fast."""

SECONDS = float(os.environ.get("SECONDS", "60"))
SETTLED_WITHIN_S = 120
_OPEN = "state IN ('sent', 'requires_action', 'unknown')"


@dataclass(slots=True, kw_only=True)
class Stand:
    """How the intents of a run stand in the end, and how their last attempts ended.

    `declined` is by the payer's own fault: the switch said so in its first answer.
    """

    states: Counter[str]
    ended: Counter[str]
    rails: Counter[str]
    declined: int

    @property
    def succeeded(self) -> int:
        return self.states["succeeded"]

    @property
    def total(self) -> int:
        return self.states.total()


async def run(
    db: Database, rails: Rails, queue: Confirmations, here: Town, count: int, name: str
) -> Stand:
    """`count` open-loop confirms over UPI with the job that reconciles beside them; then wait it out."""
    ids = await intents(db, here, count, name)
    job = Job(name="payments.reconcile", period_s=0.2, tick=partial(jobs.reconcile, db, rails))
    running = asyncio.create_task(workers.run([job], db))

    async def pay(command: Confirm, _: float) -> None:
        try:
            await service.confirm(db, queue, rails, command)
        except DomainError as refused:
            if not refused.code.startswith("payments."):
                raise

    await arrive(confirms(here, ids, name, Method.UPI), RATE, pay)
    async with asyncio.timeout(SETTLED_WITHIN_S):
        while await _open(db):
            await SystemClock().sleep(0.2)
    running.cancel()
    await asyncio.wait([running])
    return await _stand(db, ids)


async def _open(db: Database) -> int:
    async with db.reader() as reader:
        return int(await reader.value(f"SELECT count(*) FROM attempt WHERE {_OPEN}"))


async def _stand(db: Database, ids: list[UUID]) -> Stand:
    async with db.reader() as reader:
        intents_ = await reader.rows("SELECT state FROM intent WHERE id = ANY($1::uuid[])", ids)
        attempts = await reader.rows(
            "SELECT intent, state, rail, asked FROM attempt WHERE intent = ANY($1::uuid[])"
            " ORDER BY intent, number",
            ids,
        )
    last = {row["intent"]: row for row in attempts}.values()
    return Stand(
        states=Counter(row["state"] for row in intents_),
        ended=Counter(row["state"] for row in last),
        rails=Counter(row["rail"] for row in attempts),
        declined=sum(row["state"] == "declined" and row["asked"] == 0 for row in last),
    )


async def faults(url: str, seconds: float = SECONDS, people: int = 2_000) -> list[Figure]:
    """The ordinary mix: declines by the payer's fault, and answers that are lost or unclear."""
    mix = {"decline_rate": DECLINES, "unknown_rate": UNKNOWNS}
    async with (
        database(url) as db,
        connected(db, pace=PACE, latency_median_ms=LATENCY_MS, hold_ms=2_000, **mix) as (
            rails, queue, _,
        ),
    ):  # fmt: skip
        here = await town(db, people, people)
        stand = await run(db, rails, queue, here, max(100, int(RATE * seconds)), "mix")
    able = stand.total - stand.declined
    share = 100 * stand.succeeded / able
    print(f"  fault mix: {dict(stand.states)}, last attempts {dict(stand.ended)}")
    return [
        Figure(
            name=f"success, {UNKNOWNS:.0%} unknown",
            value=share, unit="%", n=able, goal="≥ 99.5 %", holds=share >= 99.5,
        ),
        Figure(name=f"  declined besides ({DECLINES:.0%} drawn)", value=stand.declined, unit="payments",
               n=stand.total),
    ]  # fmt: skip


async def outage(url: str, seconds: float = SECONDS, people: int = 2_000) -> list[Figure]:
    """Two rails; the one that carries most goes out for the middle third of the run."""
    async with (
        database(url) as db,
        connected(db, 2, pace=PACE, latency_median_ms=LATENCY_MS) as (rails, queue, switches),
    ):
        here = await town(db, people, people)
        out = asyncio.create_task(_fail(switches[0], seconds / 3))
        stand = await run(db, rails, queue, here, max(100, int(RATE * seconds)), "outage")
        await out
    lost = 100 * (stand.total - stand.succeeded) / stand.total
    print(f"  outage: {dict(stand.states)}, attempts by rail {dict(stand.rails)}")
    return [
        Figure(
            name=f"lost by one rail out for {seconds / 3:.0f} s",
            value=lost, unit="%", n=stand.total, goal="< 0.3 %", holds=lost < 0.3,
        )
    ]  # fmt: skip


async def _fail(one: Switch, third_s: float) -> None:
    await SystemClock().sleep(third_s)
    await one.behave(outage=True)
    await SystemClock().sleep(third_s)
    await one.behave(outage=False)


async def measure(url: str, seconds: float = SECONDS, people: int = 2_000) -> list[Figure]:
    return [*await faults(url, seconds, people), *await outage(url, seconds, people)]
