"""`make soak`: the real processes under load and faults for as long as asked; any violation exits 1.

Faults come in the first half; the second half runs without kills, so that the slope of each process's
memory is that of one life.
"""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import click
import httpx
from rich.console import Console
from rich.table import Table

from devices.entropy import SeededEntropy
from server_core.db.work import Database, schema_of
from tests.crash import books as opened
from tests.crash.cluster import Cluster, free_port
from tests.crash.programs import Program
from tests.crash.waiting import ASK_S, CLOCK, beside, until
from tests.soak import books
from tests.soak.listener import Listener
from tests.soak.load import Load
from tests.soak.processes import Watched

WARM_S = 60
MB_AN_HOUR = 120
SLOPE_OVER_S = 300
"""A life shorter than this after its warm-up is printed and not judged: its noise is larger."""
FILES = 64
LATE_MS = 120_000
HEAL_S = 150
"""Longer than the lease of what a killed server left."""
NAME = "soak"


@dataclass
class Soak:
    """Server, worker, switch and their PostgreSQL; what was seen of them, and what was wrong."""

    folder: Path
    seed: int
    rate: float
    console: Console
    cluster: Cluster = field(default_factory=Cluster)
    lives: list[Watched] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    oldest: Counter[str] = field(default_factory=Counter)
    looks: int = 0

    def __post_init__(self) -> None:
        port, upi = free_port(), free_port()
        self.url, self.state = self.cluster.url(NAME), self.folder / "switch.sqlite"
        environment = os.environ | {
            "HUNDI_HOME": str(self.folder), "HUNDI_PORT": str(port), "HUNDI_DATABASE_URL": self.url,
            "HUNDI_UPI_URL": f"http://127.0.0.1:{upi}", "HUNDI_RAIL_PACE": "0.005",
            "HUNDI_ALLOW_PRIVATE_WEBHOOKS": "1",
        }  # fmt: skip
        self.environment = environment

        def program(name: str, *words: str) -> Program:
            return Program(self.folder / f"{name}.log", "hundi", *words, environment=environment)

        self.switch = program(
            "switch", "sandbox", "--port", str(upi), "--seed", str(self.seed),
            "--state", str(self.state),
        )  # fmt: skip
        self.server = program("server", "serve", "--no-workers")
        self.worker = program("worker", "work")
        self.load = Load(
            address=f"http://127.0.0.1:{port}", switch=f"http://127.0.0.1:{upi}",
            entropy=SeededEntropy(f"arrivals {self.seed}"), rate=self.rate,
        )  # fmt: skip
        self.listener = Listener(SeededEntropy(f"listener {self.seed}"))

    def begin(self, name: str, program: Program) -> None:
        program.start()
        assert program.child is not None
        self.lives.append(Watched(name, program.child.pid))

    async def ready(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=2) as http:
                found = await http.get(f"{self.load.address}/health/ready")
                return found.status_code == 200
        except httpx.TransportError:
            return False

    async def behave(self, **said: object) -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            found = await http.post(f"{self.load.switch}/upi/admin/behaviour", json=said)
            assert found.status_code == 200, found.text

    async def fault(self, dice: SeededEntropy) -> None:
        """One of the four, for a few seconds."""
        name = ("brown-out", "outage", "worker killed", "server killed")[dice.below(4)]
        self.faults[name] += 1
        if name == "brown-out":
            await self.behave(brownout_rate=0.3)
        elif name == "outage":
            await self.behave(outage=True)
        else:
            program = self.worker if name == "worker killed" else self.server
            await beside(program.kill)
            await CLOCK.sleep(1 + dice.below(3))
            self.begin(name.split()[0], program)
            if program is self.server:
                await until(self.ready, 60, "the server is ready again", step_s=ASK_S)
            return
        await CLOCK.sleep(2 + dice.below(6))
        await self.behave(brownout_rate=0.0, outage=False)

    async def faults_until(self, end_ms: int, every_s: float) -> None:
        dice = SeededEntropy(f"faults {self.seed}")
        while CLOCK.monotonic_ms() + 1000 * every_s < end_ms:
            await CLOCK.sleep(every_s * (0.5 + dice.unit()))
            await self.fault(dice)

    async def watch(self, db: Database, every_s: float, verify_s: float) -> None:
        """Samples, queue ages, drift, and one calm line a look at the books."""
        verified = began = CLOCK.monotonic_ms()
        while True:
            await CLOCK.sleep(every_s)
            self.sample()
            async with db.reader() as reader:
                for name, late in (await books.ages(reader)).items():
                    self.oldest[name] = max(self.oldest[name], late)
            now = CLOCK.monotonic_ms()
            if now - verified >= 1000 * verify_s:
                verified = now
                await self.look(db, (now - began) / 1000)

    def sample(self) -> None:
        for life in self.lives:
            life.sample()

    async def look(self, db: Database, at_s: float) -> None:
        self.looks += 1
        self.wrong += await books.drift(db)
        living = {one.name: one.mb for one in self.lives}
        rss = ", ".join(f"{name} {mb:.0f} MB" for name, mb in living.items())
        self.console.print(
            f"{at_s:6.0f} s  {len(self.load.asked):,} asked, {len(self.load.told):,} told,"
            f" {sum(self.faults.values())} faults, {rss}, {len(self.wrong)} wrong",
            highlight=False,
        )

    async def run(self, seconds: float) -> None:
        await self.cluster.make(NAME)
        self.switch.start()
        self.begin("server", self.server)
        self.begin("worker", self.worker)
        await until(self.ready, 60, "the server is ready", step_s=ASK_S)
        db = await opened.open_database(self.url)
        try:
            await self.load.open(db)
            self.listener.secret = await self.load.subscribe(await self.listener.open())
            await self.behave(latency_median_ms=20)
            end = CLOCK.monotonic_ms() + int(1000 * seconds)
            half = end - int(500 * seconds)
            watching = asyncio.create_task(
                self.watch(db, min(5, seconds / 10), max(seconds / 12, 5))
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(self.load.run(end))
                group.create_task(self.faults_until(half, min(45, seconds / 6)))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self.sample()
            await self.settle(db)
        finally:
            self.listener.close()
            await db.close()

    async def settle(self, db: Database) -> None:
        """Everything ends; then the books are held against the switch's and against what was told."""
        await self.behave(brownout_rate=0.0, outage=False)
        self.listener.calm = True
        owner = await asyncpg.connect(self.url, server_settings={"search_path": schema_of(0)})
        try:
            await self.closed(owner)
            await self.load.ask_again()
            await self.closed(owner)
            self.wrong += await self.heard(owner)
        finally:
            await owner.close()
        self.wrong += self.load.wrong + self.listener.wrong + await books.drift(db)
        untold = len(self.load.asked) - len(self.load.told)
        if untold:
            key = next(key for key in self.load.asked if key not in self.load.told)
            self.wrong.append(f"{untold} keys were never told, such as {key}")
        await self.verified()

    async def closed(self, owner: asyncpg.Connection) -> None:
        async def nothing() -> bool:
            return await books.left_open(owner) == 0

        try:
            await until(nothing, HEAL_S, "all has its end", step_s=1)
        except AssertionError as late:
            self.wrong.append(f"{late}: {await books.left_open(owner)} are open")
            self.wrong += await books.some_open(owner)

    async def heard(self, owner: asyncpg.Connection) -> list[str]:
        """Whatever the shop was to hear, it has taken, each event once."""

        async def nothing() -> bool:
            return await books.untold(owner) == 0

        upto = await books.head(owner)
        try:
            await until(nothing, HEAL_S, "every webhook is delivered", step_s=1)
        except AssertionError as late:
            return [f"{late}: {await books.untold(owner)} wait"]
        return await books.against_the_listener(owner, self.listener.events, upto)

    async def verified(self) -> None:
        """The operator's own word on it."""
        verify = Program(
            self.folder / "verify.log", "hundi", "ledger", "verify", environment=self.environment
        )
        await beside(verify.start)
        assert verify.child is not None
        if await beside(verify.child.wait):
            self.wrong.append(f"hundi ledger verify: {verify.said()}")

    async def held_to_the_switch(self) -> None:
        """By the file that it kept while it ran, and that it has let go of."""
        db = await opened.open_database(self.url)
        try:
            self.wrong += await books.against_the_switch(db, self.state, self.load)
        finally:
            await db.close()

    async def stop(self) -> None:
        for program in (self.worker, self.server, self.switch):
            try:
                if program.alive:
                    await program.end()
            except AssertionError as unwell:
                self.wrong.append(str(unwell)[:500])
            finally:
                await beside(program.drop)

    def judge(self) -> None:
        """Memory, files and queues against their bounds."""
        for life in self.lives:
            long = life.after(WARM_S)
            judged = bool(long) and long[-1][0] - long[0][0] >= SLOPE_OVER_S
            if judged and life.mb_an_hour(WARM_S) > MB_AN_HOUR:
                self.wrong.append(f"{life.name} grows by {life.mb_an_hour(WARM_S):.0f} MB an hour")
            if judged and life.files_grew(WARM_S) > FILES:
                self.wrong.append(f"{life.name} has {life.files_grew(WARM_S)} more files open")
        for name, late in self.oldest.items():
            if late > LATE_MS:
                self.wrong.append(f"the oldest of {name} was {late} ms late")


def report(soak: Soak, seconds: float) -> None:
    table = Table("what", "seen", title=f"seed {soak.seed}, {seconds:.0f} s, {soak.rate:g}/s")
    late = sorted(soak.load.late_ms) or [0]
    table.add_row("keys asked, told", f"{len(soak.load.asked):,}, {len(soak.load.told):,}")
    for part, name in ((0.5, "p50"), (0.99, "p99")):
        table.add_row(f"until told, {name}", f"{late[int(part * (len(late) - 1))]} ms")
    for life in soak.lives:
        slope = life.mb_an_hour(WARM_S)
        over = life.after(WARM_S)
        took = over[-1][0] - over[0][0] if over else 0
        table.add_row(
            f"{life.name} {life.pid}", f"{life.mb:.0f} MB, {slope:+.0f} MB/h over {took:.0f} s"
        )
    table.add_row("webhooks taken", f"{len(soak.listener.events):,}")
    for counted in (soak.faults, soak.oldest, soak.load.counts, soak.listener.counts):
        for name, count in sorted(counted.items()):
            late_by = " ms late at most" if counted is soak.oldest else ""
            table.add_row(name, f"{count:,}{late_by}")
    table.add_row("drift looked for", f"{soak.looks + 1} times")
    soak.console.print(table)
    for line in soak.wrong:
        soak.console.print(line, style="bold red", markup=False)


async def soaked(seconds: float, rate: float, seed: int, console: Console) -> list[str]:
    """What was wrong; nothing when all held."""
    with tempfile.TemporaryDirectory(prefix="hundi-soak-") as home:
        soak = Soak(Path(home), seed, rate, console)
        await beside(soak.cluster.start)
        try:
            await soak.run(seconds)
            await soak.stop()
            await soak.held_to_the_switch()
        finally:
            await soak.stop()
            await beside(soak.cluster.close)
    soak.judge()
    report(soak, seconds)
    return soak.wrong


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--rate", default=40.0, show_default=True, help="arrivals a second")
@click.option("--seed", default=1, show_default=True)
def main(minutes: float, rate: float, seed: int) -> None:
    console = Console(width=110)
    wrong = asyncio.run(soaked(60 * minutes, rate, seed, console))
    console.print(f"seed {seed}: {len(wrong)} wrong" if wrong else f"seed {seed}: all held")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
