"""`make sim`: many worlds of the ledger, seed after seed; a failing one is told whole and ends it."""

import asyncio
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devices.clock import SystemClock
from tests.sim import stage
from tests.sim.stage import Stage
from tests.sim.world import Failure, World

STEPS = 24
CHUNK = 10


async def seeds(on: Stage, numbers: range, steps: int) -> Failure | None:
    """The first seed's Failure, or None."""
    for number in numbers:
        failure = await World(on, number).play(steps)
        if failure:
            return failure
    return None


def tell(console: Console, failure: Failure, steps: int) -> None:
    """The op log, the law, and how to see it again."""
    for line in failure.log:
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"[bold red]seed {failure.seed}, step {failure.step}[/]: {escape(failure.law)}")
    console.print(escape(failure.why), highlight=False, soft_wrap=True)
    console.print(f"again: python -m tests.sim.run --seed {failure.seed} --steps {steps}")


def _chunk(url: str, numbers: range, steps: int) -> Failure | None:
    """In a process of its own: some seeds on the database at `url`."""

    async def play() -> Failure | None:
        async with stage.on(url) as on:
            return await seeds(on, numbers, steps)

    return asyncio.run(play())


async def _run(numbers: range, steps: int, jobs: int, console: Console) -> Failure | None:
    """Play them all, `jobs` at once, each on its own database; the Failure of the lowest seed."""
    chunks = [numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK)]
    failures: list[Failure] = []
    bars = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with stage.postgres() as server, Progress(*bars, console=console) as progress:
        await stage.make_template(server)
        bar = progress.add_task("seeds", total=len(numbers))

        async def lane(place: int) -> None:
            url = await stage.make_database(server, f"sim_{place}")
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawned) as process:
                while chunks and not failures:
                    chunk = chunks.pop(0)
                    loop = asyncio.get_running_loop()
                    failure = await loop.run_in_executor(process, _chunk, url, chunk, steps)
                    failures.extend([failure] if failure else [])
                    progress.advance(bar, len(chunk))

        await asyncio.gather(*(lane(place) for place in range(min(jobs, len(chunks)))))
    return min(failures, key=lambda one: one.seed, default=None)


@click.command()
@click.option("--seeds", "count", default=500, show_default=True, help="how many worlds")
@click.option("--from", "first", default=0, show_default=True, help="the first seed")
@click.option("--steps", default=STEPS, show_default=True, help="steps of each world")
@click.option("--jobs", default=2, show_default=True, help="processes at once")
@click.option("--seed", default=None, type=int, help="this seed alone")
def main(count: int, first: int, steps: int, jobs: int, seed: int | None) -> None:
    console, clock = Console(), SystemClock()
    numbers = range(first, first + count) if seed is None else range(seed, seed + 1)
    begun = clock.monotonic_ms()
    failure = asyncio.run(_run(numbers, steps, jobs, console))
    if failure:
        tell(console, failure, steps)
        sys.exit(1)
    took = (clock.monotonic_ms() - begun) / 1000
    console.print(
        f"{len(numbers)} seeds of {steps} steps, every law held: "
        f"{took:.0f} s, {len(numbers) / took:.1f} seeds a second"
    )


if __name__ == "__main__":
    main()
