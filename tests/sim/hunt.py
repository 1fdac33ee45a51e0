"""Hunting planted faults with worlds of a simulation: each fault in a process of its own, on a database of its own."""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from devices.clock import SystemClock
from tests.sim.mutants import UNTOUCHED, NotPlanted, Planter, judge
from tests.sim.planted import Mutant

ROOT = Path(__file__).parents[2]


@contextmanager
def planted(mutant: Mutant, module: str) -> Iterator[Any]:
    """`module`, which loads what is played, imported after the fault was planted."""
    finder = Planter(mutant) if mutant.module else None
    if finder:
        sys.meta_path.insert(0, finder)
    loaded = importlib.import_module(module)
    if finder and getattr(sys.modules.get(mutant.module), "__loader__", None) is not finder:
        raise NotPlanted(f"{mutant.name}: the world does not load {mutant.module}")
    yield loaded


async def damage(mutant: Mutant, url: str) -> None:
    """Do the fault's SQL to the world's database."""
    from tests.sim import stage  # not above: a planted process must not load the engine there

    if mutant.sql:
        async with stage.on(url) as on:
            await on.owner.execute(mutant.sql)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """The faults of one simulation. `package`.mutants plays one when it is run with --play."""

    package: str
    mutants: Sequence[Mutant]
    play: Callable[[Mutant, str, int, int], Awaitable[dict[str, object]]]
    seeds: int
    each: int
    bound_s: int

    async def apart(
        self, mutant: Mutant, url: str, seeds: int | None = None, each: int | None = None
    ) -> dict[str, object]:
        """Play it in a fresh process; its finding, or `error` when it could not be planted."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"{self.package}.mutants", "--play", mutant.name, "--url", url,
            "--seeds", str(seeds or self.seeds), "--each", str(each or self.each),
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self.bound_s):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return {"law": f"it comes to an end within {self.bound_s} s"}
        if process.returncode:
            return {"error": err.decode().strip().splitlines()[-1:]}
        found: dict[str, object] = json.loads(out)
        return found

    async def all(
        self, chosen: Sequence[Mutant], seeds: int, each: int, jobs: int
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
                    return await self.apart(mutant, url, seeds, each)

            return await asyncio.gather(*(one(*pair) for pair in enumerate(chosen)))

    def command(self) -> click.Command:
        """`python -m <package>.mutants`: hunt them, and print who was caught by what."""

        @click.command()
        @click.option("--only", default="", help="mutants whose name has this in it")
        @click.option("--seeds", default=self.seeds, show_default=True, help="worlds a mutant")
        @click.option("--each", default=self.each, show_default=True, help="size of each world")
        @click.option("--jobs", default=2, show_default=True, help="processes at once")
        @click.option("--play", "name", default=None, hidden=True)
        @click.option("--url", default="", hidden=True)
        def main(only: str, seeds: int, each: int, jobs: int, name: str | None, url: str) -> None:
            if name is not None:
                mutant = next(one for one in (UNTOUCHED, *self.mutants) if one.name == name)
                click.echo(json.dumps(asyncio.run(self.play(mutant, url, seeds, each))))  # type: ignore[arg-type]
                return
            chosen = [UNTOUCHED, *(one for one in self.mutants if only in one.name)]
            clock = SystemClock()
            begun = clock.monotonic_ms()
            found = asyncio.run(self.all(chosen, seeds, each, jobs))
            took = (clock.monotonic_ms() - begun) / 1000
            sys.exit(1 if _told(chosen, found, took) else 0)

        return main


def _told(chosen: Sequence[Mutant], found: list[dict[str, object]], took: float) -> list[str]:
    """Print the table; the faults that were not caught as they must."""
    console, table = Console(), Table("mutant", "caught by", "seed")
    wrong = []
    for mutant, one in zip(chosen, found, strict=True):
        bad = judge(mutant, one)
        wrong += [f"{mutant.name}: {bad}"] if bad else []
        law = bad or one.get("law") or "every law held, as it must"
        table.add_row(mutant.name, str(law), str(one.get("seed", "")))
    console.print(table)
    console.print(f"{len(chosen) - 1} faults planted, {len(wrong)} wrong, {took:.0f} s")
    for line in wrong:
        console.print(line, style="bold red")
    return wrong
