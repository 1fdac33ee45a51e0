"""A cluster, a load on it, a follower of its log, and faults at seeded random points."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from devices.entropy import SeededEntropy
from server_core.db.work import Reader
from server_core.events import cursors
from server_core.events import store as events
from tests.crash import books
from tests.crash.cluster import Cluster
from tests.crash.follower import NAME, seen
from tests.crash.journal import Journal
from tests.crash.programs import Program
from tests.crash.waiting import ASK_S, beside, until

HEAL_S = 20
STEP = 60
"""How many answers are waited for, beside a random number up to as many, before a fault."""


class Scene:
    """`load_url` is where the programs connect to: a proxy, several hosts; else the cluster."""

    def __init__(
        self, cluster: Cluster, folder: Path, seed: int, url: str, load_url: str, callers: int
    ) -> None:
        self.cluster, self.seed = cluster, seed
        self.url = url = load_url or url
        self.dice = SeededEntropy(f"crash {seed}")
        self.journal = Journal(folder / "journal")
        self.load = Program(
            folder / "load.log", "tests.crash.load", url, str(folder / "journal"),
            "--seed", str(seed), "--callers", str(callers),
        )  # fmt: skip
        self.followed = folder / "followed"
        self.follower = Program(
            folder / "follower.log", "tests.crash.follower", url, str(self.followed)
        )

    async def begin(self) -> None:
        self.load.start()
        self.follower.start()
        await self.under_way()

    async def under_way(self) -> None:
        """Until the load has had a seeded random number of answers more: it works (again)."""
        due = len(self.journal.read().told) + STEP + self.dice.below(STEP)

        def more() -> bool:
            assert self.load.alive, f"the load ended: {self.load.said()}"
            return len(self.journal.read().told) >= due

        await until(more, HEAL_S, f"{due} transfers are told")

    async def fault(self, strike: Callable[[], Awaitable[object]]) -> int:
        """Strike under load, wait until it works again; how many calls lost their answer."""
        before = self.journal.read().lost()
        await strike()
        await self.under_way()
        return self.journal.lost() - before

    async def stand_still(self) -> int:
        """End the load and the follower in order; hold the books to what was told. How many."""
        await self.load.end()
        assert self.journal.read().open == [], "the load ends with every outcome known"
        posted = await books.check(self.url, self.journal)
        assert posted == len(self.journal.attempts)
        whole = "the follower has seen the whole log"
        await until(self._follower_is_there, HEAL_S, whole, step_s=ASK_S)
        await self.follower.end()
        await books.check_followed(self.url, seen(self.followed))
        return posted

    async def _follower_is_there(self) -> bool:
        async with self._watching() as reader:
            at = await cursors.positions(reader)
            return at.get(NAME) == await events.head(reader)

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Reader]:
        db = await books.open_database(self.url)
        try:
            async with db.reader() as reader:
                yield reader
        finally:
            await db.close()

    def drop(self) -> None:
        self.load.drop()
        self.follower.drop()


@asynccontextmanager
async def scene(
    cluster: Cluster, folder: Path, seed: int, *, load_url: str = "", callers: int = 16
) -> AsyncIterator[Scene]:
    """A database of its own with load on it; names the seed when something is not as it must be."""
    url = await cluster.make(f"seed_{seed}")
    one = Scene(cluster, folder, seed, url, load_url, callers)
    try:
        await one.begin()
        yield one
    except BaseException as error:
        error.add_note(f"seed {seed}; errors told: {one.journal.read().errors}")
        raise
    finally:
        await beside(one.drop)
