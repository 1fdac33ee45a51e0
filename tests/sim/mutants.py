"""`make sim-mutants`: plants every fault in a process of its own; each must break a law.

A fault that nobody finds, or whose place in the source is gone, fails the run; so does a law that the
untouched ledger breaks.
"""

import asyncio
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import click
from rich.console import Console
from rich.table import Table

from devices.clock import SystemClock
from tests.sim.planted import MUTANTS, Mutant

UNTOUCHED = Mutant("untouched")
ROOT = Path(__file__).parents[2]


class NotPlanted(Exception):  # noqa: N818 - it says what became of the fault
    """The fault's place in the source is gone, or is not the only one: the mutant must be mended."""


class Planter(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Loads the mutant's module from its source with the one place changed."""

    def __init__(self, mutant: Mutant) -> None:
        found = importlib.util.find_spec(mutant.module)
        if mutant.module in sys.modules or found is None or found.origin is None:
            raise NotPlanted(f"{mutant.name}: {mutant.module} is there already, or nowhere")
        super().__init__(mutant.module, found.origin)
        self._mutant = mutant

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - what the import system hands in
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> object:  # noqa: ARG002
        """From the source, never from a cached file: the cache holds the ledger as it is."""
        source = changed(Path(self.path).read_text(), self._mutant)
        return compile(source, self.path, "exec")


def changed(source: str, mutant: Mutant) -> str:
    """The source with the fault in it. Raises NotPlanted unless its place stands there once."""
    count = source.count(mutant.old)
    if count != 1:
        raise NotPlanted(f"{mutant.name}: its place stands {count} times in {mutant.module}")
    return source.replace(mutant.old, mutant.new)


async def play(mutant: Mutant, url: str, seeds: int, steps: int) -> dict[str, object]:
    """Plant `mutant` in this process and play seeds until a law breaks."""
    planted = Planter(mutant) if mutant.module else None
    if planted:
        sys.meta_path.insert(0, planted)
    from tests.sim import run, stage  # the ledger is loaded after the planting

    if planted and getattr(sys.modules.get(mutant.module), "__loader__", None) is not planted:
        raise NotPlanted(f"{mutant.name}: the world does not load {mutant.module}")
    async with stage.on(url) as on:
        if mutant.sql:
            await on.owner.execute(mutant.sql)
        failure = await run.seeds(on, range(seeds), steps)
    if failure is None:
        return {}
    return {"law": failure.law, "seed": failure.seed, "step": failure.step, "why": failure.why}


async def apart(mutant: Mutant, url: str, seeds: int, steps: int) -> dict[str, object]:
    """Play it in a fresh process; its finding, or `error` when it could not be planted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sim.mutants", "--play", mutant.name, "--url", url,
        "--seeds", str(seeds), "--steps", str(steps),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 240)
    if process.returncode:
        return {"error": err.decode().strip().splitlines()[-1:]}
    found: dict[str, object] = json.loads(out)
    return found


async def hunt(
    chosen: Sequence[Mutant], seeds: int, steps: int, jobs: int
) -> list[dict[str, object]]:
    """What each mutant came to, in order, on one PostgreSQL with a database a mutant."""
    from tests.sim import stage  # not above: a planted process must not load the ledger there

    gate = asyncio.Semaphore(jobs)
    with stage.postgres() as server:
        await stage.make_template(server)
        make = asyncio.Lock()

        async def one(place: int, mutant: Mutant) -> dict[str, object]:
            async with gate:
                async with make:
                    url = await stage.make_database(server, f"mutant_{place}")
                return await apart(mutant, url, seeds, steps)

        return await asyncio.gather(*(one(*pair) for pair in enumerate(chosen)))


def judge(mutant: Mutant, found: dict[str, object]) -> str | None:
    """None when it is as it must be; else what is wrong."""
    if "error" in found:
        return f"not played: {found['error']}"
    if mutant is UNTOUCHED:
        return f"the untouched ledger breaks a law: {found}" if found else None
    return None if found else "survived"


@click.command()
@click.option("--only", default="", help="mutants whose name has this in it")
@click.option("--seeds", default=300, show_default=True, help="at most so many worlds a mutant")
@click.option("--steps", default=24, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="processes at once")
@click.option("--play", default=None, hidden=True)
@click.option("--url", default="", hidden=True)
def main(only: str, seeds: int, steps: int, jobs: int, play: str | None, url: str) -> None:
    if play is not None:
        mutant = next(one for one in (UNTOUCHED, *MUTANTS) if one.name == play)
        click.echo(json.dumps(asyncio.run(globals()["play"](mutant, url, seeds, steps))))
        return
    console, clock = Console(), SystemClock()
    chosen = [UNTOUCHED, *(one for one in MUTANTS if only in one.name)]
    begun = clock.monotonic_ms()
    found = asyncio.run(hunt(chosen, seeds, steps, jobs))
    table = Table("mutant", "caught by", "seed", "step")
    wrong = []
    for mutant, one in zip(chosen, found, strict=True):
        bad = judge(mutant, one)
        wrong += [f"{mutant.name}: {bad}"] if bad else []
        law = bad or one.get("law") or "every law held, as it must"
        table.add_row(mutant.name, str(law), str(one.get("seed", "")), str(one.get("step", "")))
    console.print(table)
    took = (clock.monotonic_ms() - begun) / 1000
    console.print(f"{len(chosen) - 1} faults planted, {len(wrong)} wrong, {took:.0f} s")
    for one in wrong:
        console.print(one, style="bold red")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
