"""`make sim-payments`: payments by the thousand through the real engine; a failing world ends the run.

A world is a seed and `--each` payments on a database of its own; the same seed tells the same stories.
"""

import asyncio
import logging
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import click
import structlog
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.db.work import Database
from server_core.events import store as event_store
from tests.sim import stage
from tests.sim.plan import BEGINS_MS
from tests.sim_payments.laws import Broken
from tests.sim_payments.world import STORIES, SimClock, World

EACH = 4_000


@dataclass(slots=True)
class Played:
    """What one world came to."""

    seed: int
    payments: int
    took_ms: int
    counts: Counter[str] = field(default_factory=Counter)
    broken: Broken | None = None


async def play(url: str, seed: int, payments: int, stories: int = STORIES) -> Played:
    """One world on the emptied database at `url`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    await _empty(url)
    clock, real = SimClock(BEGINS_MS), SystemClock()
    db = await Database.connect(
        url, clock=clock, entropy=SeededEntropy(f"ids {seed}"), flush=event_store.flush,
        connections=8,
    )  # fmt: skip
    began = real.monotonic_ms()
    try:
        world = World(db, clock, seed, stories)
        broken = await world.play(payments)
    finally:
        await db.close()
    return Played(seed, payments, real.monotonic_ms() - began, world.counts, broken)


async def _empty(url: str) -> None:
    async with stage.on(url) as on:
        kept = "('alembic_version', 'event_head', 'limit_profile')"
        tables = await on.owner.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            f" AND tablename NOT IN {kept}"
        )
        names = ", ".join(row["tablename"] for row in tables)
        await on.owner.execute(f"TRUNCATE {names}; UPDATE event_head SET seq = 0")


def _apart(url: str, seed: int, payments: int, stories: int) -> Played:
    return asyncio.run(play(url, seed, payments, stories))


async def _run(
    seeds: range, total: int, each: int, stories: int, jobs: int, console: Console
) -> list[Played]:
    """Every world, `jobs` processes at once; no new one begins after a law was broken."""
    sizes = {seed: min(each, total - place * each) for place, seed in enumerate(seeds)}
    played: list[Played] = []
    bars = (TextColumn("payments"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with stage.postgres() as server, Progress(*bars, console=console) as progress:
        await stage.make_template(server)
        bar = progress.add_task("payments", total=total)
        waiting = iter(sizes.items())

        async def lane(place: int) -> None:
            url = await stage.make_database(server, f"payments_{place}")
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawned) as process:
                for seed, size in waiting:
                    if any(one.broken for one in played):
                        return
                    loop = asyncio.get_running_loop()
                    played.append(
                        await loop.run_in_executor(process, _apart, url, seed, size, stories)
                    )
                    progress.advance(bar, size)

        await asyncio.gather(*(lane(place) for place in range(min(jobs, len(sizes)))))
    return played


def tell(console: Console, one: Played, stories: int) -> None:
    """The law, the story of the payment, and how to see it again."""
    if one.broken is None:
        return
    console.print(f"[bold red]seed {one.seed}[/]: {escape(one.broken.law)}")
    for line in (one.broken.why, *one.broken.story):
        console.print(escape(line), highlight=False, soft_wrap=True)
    again = f"--seed {one.seed} --n {one.payments} --each {one.payments} --stories {stories}"
    console.print(f"again: python -m tests.sim_payments.run {again}")


@click.command()
@click.option("--n", "total", default=1_000_000, show_default=True, help="how many payments")
@click.option("--each", default=EACH, show_default=True, help="payments of each world")
@click.option("--seed", "first", default=0, show_default=True, help="the first world's seed")
@click.option(
    "--stories",
    default=STORIES,
    show_default=True,
    help="of 1000, what is more than one from wallet to shop",
)
@click.option("--jobs", default=2, show_default=True, help="processes at once")
def main(total: int, each: int, first: int, stories: int, jobs: int) -> None:
    console, clock = Console(), SystemClock()
    seeds = range(first, first + -(-total // each))
    began = clock.monotonic_ms()
    played = asyncio.run(_run(seeds, total, each, stories, jobs, console))
    took = (clock.monotonic_ms() - began) / 1000
    counts: Counter[str] = sum((one.counts for one in played), Counter())
    for name, count in sorted(counts.items()):
        console.print(f"{count:>10,}  {name}", highlight=False)
    failed = [one for one in played if one.broken]
    for one in failed:
        tell(console, one, stories)
    done = sum(one.payments for one in played)
    alone = sum(one.took_ms for one in played) / 1000
    console.print(
        f"n {done:,}, seeds {seeds.start} to {seeds.stop - 1}, {took:.0f} s:"
        f" {done / took:,.0f} payments a second by {jobs} processes,"
        f" {done / alone:,.0f} by each", highlight=False,
    )  # fmt: skip
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
