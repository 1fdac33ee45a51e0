"""`make sim-offline`: vouchers by the thousand through the real agents and the real server; a failing world ends the run.

A world is a seed and `--each` redemptions on a database of its own. Honest worlds first, then, apart, worlds
with cheats among the people.
"""

import asyncio
import logging
import multiprocessing
import sys
import tempfile
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import click
import structlog
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devices.clock import ManualClock, SystemClock
from devices.entropy import SeededEntropy
from server_core.db.work import Database
from server_core.events import store as event_store
from tests.sim import stage
from tests.sim_offline.crooks import CrookedWorld
from tests.sim_offline.laws import Broken
from tests.sim_offline.world import BEGINS_MS, World, build
from tests.sim_payments.run import _empty

EACH = 5_000
MEMORY = Path("/dev/shm")  # noqa: S108 - the agents' files need no disk: processes die here, machines do not
PLACE = MEMORY if MEMORY.is_dir() else None
FAULTS = (
    "request lost", "answer lost", "delivered twice", "late", "partition", "power cut",
    "a phone's clock leaps", "restored", "phone lost", "phone dies before", "phone dies after",
    "shop dies before", "shop dies after", "walks away", "cancelled",
)  # fmt: skip


@dataclass(slots=True)
class Played:
    """What one world came to. `loss`: by clone of a device, what its second spending cost shops."""

    seed: int
    crooked: bool
    redemptions: int
    took_ms: int
    counts: Counter[str] = field(default_factory=Counter)
    refused: dict[bytes, str] = field(default_factory=dict)
    loss: list[int] = field(default_factory=list)
    broken: Broken | None = None


async def play(url: str, seed: int, redemptions: int, *, crooked: bool) -> Played:
    """One world on the emptied database at `url`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    await _empty(url)
    clock, real = ManualClock(BEGINS_MS, 5_000_000), SystemClock()
    db = await Database.connect(
        url, clock=clock, entropy=SeededEntropy(f"ids {seed}"), flush=event_store.flush,
        connections=4,
    )  # fmt: skip
    began = real.monotonic_ms()
    with tempfile.TemporaryDirectory(prefix="hundi-sim-", dir=PLACE) as folder:
        try:
            kind = CrookedWorld if crooked else World
            world = await build(kind, db, clock, seed, Path(folder))
            try:
                broken = await _played(world, redemptions)
            finally:
                world.close()
        finally:
            await db.close()
    took = real.monotonic_ms() - began
    loss = world.losses() if isinstance(world, CrookedWorld) else []
    return Played(seed, crooked, world.accepted, took, world.counts, world.refused, loss, broken)


async def _played(world: World, redemptions: int) -> Broken | None:
    try:
        return await world.play(redemptions)
    except Exception as e:  # noqa: BLE001 - whatever it is, it is a finding
        where = traceback.extract_tb(e.__traceback__)[-1]
        why = f"{type(e).__name__}: {e} at {where.filename}:{where.lineno}"
        return Broken("nothing is raised that was not foreseen", why)


def _apart(url: str, seed: int, redemptions: int, crooked: bool) -> Played:
    return asyncio.run(play(url, seed, redemptions, crooked=crooked))


async def _run(worlds: list[tuple[int, int, bool]], jobs: int, console: Console) -> list[Played]:
    """Every world, `jobs` processes at once; no new one begins after a law was broken."""
    played: list[Played] = []
    bars = (TextColumn("redemptions"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with stage.postgres() as server, Progress(*bars, console=console) as progress:
        await stage.make_template(server)
        bar = progress.add_task("redemptions", total=sum(size for _, size, _ in worlds))
        waiting = iter(worlds)

        async def lane(place: int) -> None:
            url = await stage.make_database(server, f"offline_{place}")
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawned) as process:
                for seed, size, crooked in waiting:
                    if any(one.broken for one in played):
                        return
                    loop = asyncio.get_running_loop()
                    played.append(
                        await loop.run_in_executor(process, _apart, url, seed, size, crooked)
                    )
                    progress.advance(bar, size)

        await asyncio.gather(*(lane(place) for place in range(min(jobs, len(worlds)))))
    return played


def _counted(console: Console, played: list[Played]) -> None:
    counts: Counter[str] = sum((one.counts for one in played), Counter())
    for name, count in sorted(counts.items()):
        console.print(f"{count:>10,}  {name}", highlight=False)


def honest_table(console: Console, played: list[Played]) -> bool:
    """What honest people saw; whether every fault has happened."""
    console.print("\n[bold]Honest people, with faults[/]")
    _counted(console, played)
    done, refused = sum(one.redemptions for one in played), sum(len(one.refused) for one in played)
    bound = f"at most {3e6 / done:.1f} ppm at 95 %" if done and not refused else ""
    console.print(f"{done:>10,}  redemptions; accepted and then refused: {refused} {bound}")
    counts: Counter[str] = sum((one.counts for one in played), Counter())
    missing = [name for name in FAULTS if not counts[f"fault: {name}"]]
    if missing and played:
        console.print(f"[red]these faults did not happen: {', '.join(missing)}[/]")
    return not missing


def crooked_table(console: Console, played: list[Played]) -> None:
    console.print("\n[bold]With cheats among them[/]")
    _counted(console, played)
    refused = Counter(result for world in played for result in world.refused.values())
    for verdict, count in sorted(refused.items()):
        console.print(f"{count:>10,}  accepted at the counter, then {verdict}")
    loss = [one for world in played for one in world.loss]
    if loss:
        console.print(
            f"{len(loss):>10,}  cloned devices; by each lost {sum(loss) / len(loss) / 100:,.2f}"
            f" rupees on average, {max(loss) / 100:,.2f} at most"
        )
    console.print(f"{sum(one.redemptions for one in played):>10,}  redemptions beside them")


def tell(console: Console, one: Played) -> None:
    """The law, the story, and how to see it again."""
    if one.broken is None:
        return
    console.print(f"[bold red]seed {one.seed}[/]: {escape(one.broken.law)}")
    for line in (one.broken.why, *one.broken.story):
        console.print(escape(line), highlight=False, soft_wrap=True)
    kind = " --crooked" if one.crooked else ""
    console.print(f"again: python -m tests.sim_offline.run --seed {one.seed} --worlds 1{kind}")


@click.command()
@click.option("--n", "total", default=600_000, show_default=True, help="honest redemptions")
@click.option("--each", default=EACH, show_default=True, help="redemptions of each world")
@click.option("--seed", "first", default=0, show_default=True, help="the first world's seed")
@click.option("--worlds", default=None, type=int, help="so many worlds of one kind, instead of --n")
@click.option("--crooked", is_flag=True, help="with --worlds: those with cheats")
@click.option("--jobs", default=2, show_default=True, help="processes at once")
def main(total: int, each: int, first: int, worlds: int | None, crooked: bool, jobs: int) -> None:
    """Honest worlds, and one with cheats for every ten of them."""
    console, clock = Console(), SystemClock()
    if worlds is not None:
        chosen = [(first + place, each, crooked) for place in range(worlds)]
    else:
        count = -(-total // each)
        chosen = [(first + place, min(each, total - place * each), False) for place in range(count)]
        chosen += [(first + place, each, True) for place in range(-(-count // 10))]
    began = clock.monotonic_ms()
    played = asyncio.run(_run(chosen, jobs, console))
    took = (clock.monotonic_ms() - began) / 1000
    honest = [one for one in played if not one.crooked]
    enough = honest_table(console, honest) if honest else True
    cheated = [one for one in played if one.crooked]
    if cheated:
        crooked_table(console, cheated)
    failed = [one for one in played if one.broken]
    for one in failed:
        tell(console, one)
    done = sum(one.redemptions for one in played)
    console.print(
        f"\n{done:,} redemptions in {len(played)} worlds, {took:.0f} s: {done / took:,.0f} a second",
        highlight=False,
    )
    sys.exit(1 if failed or (worlds is None and not enough) else 0)


if __name__ == "__main__":
    main()
