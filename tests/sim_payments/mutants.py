"""`make sim-payments-mutants`: plants every fault in a process of its own; each must break a law."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from devices.clock import SystemClock
from tests.sim.mutants import UNTOUCHED, NotPlanted, Planter, judge
from tests.sim.planted import Mutant
from tests.sim_payments.planted import MUTANTS

ROOT = Path(__file__).parents[2]
SEEDS, EACH, STORIES, BOUND_S = 6, 200, 1000, 240


async def play(mutant: Mutant, url: str, seeds: int, each: int) -> dict[str, object]:
    """Plant `mutant` in this process and play seeds until a law breaks."""
    finder = Planter(mutant) if mutant.module else None
    if finder:
        sys.meta_path.insert(0, finder)
    from tests.sim_payments import run  # the engine is loaded after the planting

    if finder and getattr(sys.modules.get(mutant.module), "__loader__", None) is not finder:
        raise NotPlanted(f"{mutant.name}: the world does not load {mutant.module}")
    if mutant.sql:
        async with run.stage.on(url) as on:
            await on.owner.execute(mutant.sql)
    for seed in range(seeds):
        played = await run.play(url, seed, each, STORIES)
        if played.broken is not None:
            return {"law": played.broken.law, "seed": seed, "why": played.broken.why}
    return {}


async def apart(
    mutant: Mutant, url: str, seeds: int = SEEDS, each: int = EACH
) -> dict[str, object]:
    """Play it in a fresh process; its finding, or `error` when it could not be planted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sim_payments.mutants", "--play", mutant.name, "--url", url,
        "--seeds", str(seeds), "--each", str(each),
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(BOUND_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"law": f"it comes to an end within {BOUND_S} s"}
    if process.returncode:
        return {"error": err.decode().strip().splitlines()[-1:]}
    found: dict[str, object] = json.loads(out)
    return found


async def hunt(
    chosen: Sequence[Mutant], seeds: int, each: int, jobs: int
) -> list[dict[str, object]]:
    """What each mutant came to, in order, on one PostgreSQL with a database a mutant."""
    from tests.sim import stage  # not above: a planted process must not load the engine there

    gate, make = asyncio.Semaphore(jobs), asyncio.Lock()
    with stage.postgres() as server:
        await stage.make_template(server)

        async def one(place: int, mutant: Mutant) -> dict[str, object]:
            async with gate:
                async with make:
                    url = await stage.make_database(server, f"mutant_{place}")
                return await apart(mutant, url, seeds, each)

        return await asyncio.gather(*(one(*pair) for pair in enumerate(chosen)))


@click.command()
@click.option("--only", default="", help="mutants whose name has this in it")
@click.option("--seeds", default=SEEDS, show_default=True, help="at most so many worlds a mutant")
@click.option("--each", default=EACH, show_default=True, help="payments of each world")
@click.option("--jobs", default=2, show_default=True, help="processes at once")
@click.option("--play", "name", default=None, hidden=True)
@click.option("--url", default="", hidden=True)
def main(only: str, seeds: int, each: int, jobs: int, name: str | None, url: str) -> None:
    if name is not None:
        mutant = next(one for one in (UNTOUCHED, *MUTANTS) if one.name == name)
        click.echo(json.dumps(asyncio.run(play(mutant, url, seeds, each))))
        return
    console, clock = Console(), SystemClock()
    chosen = [UNTOUCHED, *(one for one in MUTANTS if only in one.name)]
    begun = clock.monotonic_ms()
    found = asyncio.run(hunt(chosen, seeds, each, jobs))
    table = Table("mutant", "caught by", "seed")
    wrong = []
    for mutant, one in zip(chosen, found, strict=True):
        bad = judge(mutant, one)
        wrong += [f"{mutant.name}: {bad}"] if bad else []
        law = bad or one.get("law") or "every law held, as it must"
        table.add_row(mutant.name, str(law), str(one.get("seed", "")))
    console.print(table)
    took = (clock.monotonic_ms() - begun) / 1000
    console.print(f"{len(chosen) - 1} faults planted, {len(wrong)} wrong, {took:.0f} s")
    for line in wrong:
        console.print(line, style="bold red")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
