"""Payments a second over `book` by the group-committed service, beside the floor of the same rows.

`python -m bench.payments_run --profile` says where the rest goes.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any, NamedTuple

import uvloop

from bench import cpu
from bench import payments_floor as floor
from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from bench.payments_stage import Town, confirms, intents, pays, town
from bff.cli.serve import spare_the_collector
from server_core.db.batch import Batch
from server_core.db.work import Database
from server_core.ledger import audit
from server_core.payments import commands
from server_core.payments.confirming import Confirmed
from server_core.payments.model import Confirm, Pay, State
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails

SECONDS = float(os.environ.get("SECONDS", "60"))
CALLERS = 1_000
PARTIES = 10_000
NO_RAILS = Rails(by_name={})
FLOOR_A_SECOND = 1_000
"""Payments on the floor's tape, for each second of the engine's: a third before it, two after."""


class Run(NamedTuple):
    """What a run came to: payments, seconds, seconds of this process's CPU, each caller's waits in ms."""

    count: int
    seconds: float
    busy: float
    waits: list[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds


async def drive(
    db: Database,
    queue: Confirmations | Batch[Confirm | Pay, Confirmed],
    todo: Iterator[Confirm | Pay],
    seconds: float | None = None,
) -> Run:
    """CALLERS at once, each the next command as soon as its last is answered; all must succeed."""
    waits: list[float] = []
    began, busy = perf_counter(), process_time()
    until = None if seconds is None else began + seconds

    async def caller() -> None:
        for command in todo:
            asked = perf_counter()
            if until is not None and asked > until:
                return
            answer = await commands.confirm(db, queue, NO_RAILS, command)
            waits.append((perf_counter() - asked) * 1000)
            if answer.value.state is not State.SUCCEEDED:
                raise RuntimeError(answer.value.state)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return Run(len(waits), perf_counter() - began, process_time() - busy, waits)


async def engine(db: Database, todo: Iterator[Confirm | Pay], seconds: float | None = None) -> Run:
    queue = Confirmations(db, NO_RAILS)
    try:
        return await drive(db, queue, todo, seconds)
    finally:
        await queue.close()


async def taped(url: str, here: Town, ids: list[Any], count: int) -> dict[str, list[floor.Script]]:
    """The statements of `count` payments of each kind, from a copy of the database."""
    scripts = {}
    async with floor.copied(url, "taped") as copy:
        for kind, todo in (
            ("Confirm", confirms(here, ids, "confirm")),
            ("Pay", pays(here, count, "pay")),
        ):
            tape = floor.Tape()
            async with tape.queue(copy, NO_RAILS) as (db, queue):
                await drive(db, queue, iter(todo))
            scripts[kind] = tape.scripts
    gc.collect()
    gc.freeze()  # the tapes are not looked through again while something is measured
    return scripts


async def measure(url: str, seconds: float = SECONDS, parties: int = PARTIES) -> list[Figure]:
    """Confirm of existing intents and Pay, each sustained, between two halves of its floor."""
    count = max(8 * CALLERS, int(FLOOR_A_SECOND * seconds))
    async with database(url) as db:
        here = await town(db, parties, parties)
        ids = await intents(db, here, count, "floor")
        warm = await intents(db, here, max(CALLERS, int(600 * seconds)), "warm")
    scripts = await taped(url, here, ids, count)
    figures = []
    async with (
        floor.copied(url, "played") as copy,
        database(copy) as played,
        database(url) as db,
    ):
        rate = (await engine(db, confirms(here, warm, "warm"))).rate
        waiting = await intents(db, here, int(1.5 * rate * seconds) + CALLERS, "bench")
        spare_the_collector()  # as `hundi serve` does: it holds no list of all that will be paid
        for kind, todo in (
            ("Confirm", confirms(here, waiting, "confirm")),
            ("Pay", pays(here, 10**9, "pay")),
        ):
            figures += await _beside(db, played, kind, todo, scripts[kind], seconds)
        async with db.snapshot() as reader:
            if wrong := [one for one in await audit.findings(reader) if one.fatal]:
                raise RuntimeError(f"the books are wrong: {wrong}")
    gc.unfreeze()
    return figures


async def _beside(
    db: Database, played: Database, kind: str, todo: Iterator[Confirm | Pay], scripts: list[floor.Script],
    seconds: float,
) -> list[Figure]:  # fmt: skip
    warm, third = 2, (len(scripts) - 2) // 3
    early, late, bare = (scripts[warm + third * part :][:third] for part in range(3))
    await floor.play(played, scripts[:warm])
    took = await floor.play(played, early)
    server = await cpu.postmaster(db)
    before = cpu.spent_s(server)
    run = await engine(db, todo, seconds)
    postgres = cpu.spent_s(server) - before
    took += await floor.play(played, late)
    beside = sum(map(floor.size, (*early, *late))) / took
    written = sum(map(floor.size, bare)) / await floor.play(played, bare, only_writes=True)
    print(
        f"  {kind}: {run.rate:,.0f}/s for {run.seconds:.1f} s, CPU of each:"
        f" {run.busy / run.count * 1e6:.0f} µs here, {postgres / run.count * 1e6:.0f} µs in PostgreSQL;"
        f" floor {beside:,.0f}/s, {written:,.0f}/s when it only writes, {2 * third} and {third} commits,"
        f" load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return [
        Figure(
            name=f"{kind}, book, {CALLERS:,} callers, {run.seconds:.0f} s",
            value=run.rate, unit="payments/s", baseline=beside, ratio=run.rate / beside,
            n=run.count, goal="≥ 0.5 of the floor", holds=run.rate >= 0.5 * beside,
        ),
        Figure(
            name="  the floor without its reads and locks", value=written, unit="payments/s",
            n=sum(map(floor.size, bare)), baseline=beside, ratio=written / beside,
        ),
        Figure(
            name="  beside what is aimed at", value=run.rate, unit="payments/s",
            n=run.count, goal="10,000 payments/s", holds=run.rate >= 10_000, required=False,
        ),
        Figure(name="  CPU of each: this process", value=run.busy / run.count * 1e6, unit="µs",
               n=run.count),
        Figure(name="  CPU of each: PostgreSQL", value=postgres / run.count * 1e6, unit="µs",
               n=run.count),
        Figure(name="  wait of one caller, p95", value=percentile(run.waits, 0.95), unit="ms",
               n=run.count),
    ]  # fmt: skip


async def main() -> bool:
    async with cluster() as url:
        return report("payments-engine", await measure(url))


if __name__ == "__main__":
    sys.exit(0 if uvloop.run(main()) else 1)
