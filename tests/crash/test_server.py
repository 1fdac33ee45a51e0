"""The real programs under faults: payments are paid once, and the server mends by itself."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from devices.entropy import SeededEntropy, SystemEntropy
from server_core.ids import parse
from tests.crash import books
from tests.crash.cluster import Cluster, free_port
from tests.crash.programs import Program
from tests.crash.proxy import Proxy
from tests.crash.shop import AMOUNT, Till
from tests.crash.waiting import ASK_S, beside, until

HEAL_S = 20
PAYERS = 6


class Stage:
    """Server, worker and sandbox over two doors to one PostgreSQL, with a till that trades."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, url: str) -> None:
        self.cluster, self.dice, self.url = cluster, SeededEntropy(f"stage {seed}"), url
        self.name = f"stage_{seed}"
        port, upi = free_port(), free_port()
        environment = os.environ | {
            "HUNDI_HOME": str(folder), "HUNDI_PORT": str(port), "HUNDI_DATABASE_URL": url,
            "HUNDI_UPI_URL": f"http://127.0.0.1:{upi}", "HUNDI_RAIL_PACE": "0.005",
        }  # fmt: skip

        def program(name: str, *words: str) -> Program:
            return Program(folder / f"{name}.log", "hundi", *words, environment=environment)

        self.sandbox = program("sandbox", "sandbox", "--port", str(upi))
        self.server = program("server", "serve", "--no-workers")
        self.worker = program("worker", "work")
        self.till = Till(address=f"http://127.0.0.1:{port}", seed=seed)

    async def ready(self) -> bool:
        assert self.server.alive, self.server.said()
        try:
            async with httpx.AsyncClient(timeout=2) as http:
                return (await http.get(f"{self.till.address}/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def open_attempts(self) -> int:
        return int(
            await self.cluster.as_owner(
                "SELECT count(*) FROM cell0.attempt WHERE state IN ('sent', 'unknown')", self.name
            )
        )

    async def under_way(self) -> None:
        """A seeded random number of payments more; the till's own failure is told at once."""
        due = len(self.till.told) + 10 + self.dice.below(10)
        await until(lambda: len(self.till.told) >= due, HEAL_S, f"{due} payments are told")

    async def strike(self, fault: Callable[["Stage"], Awaitable[None]]) -> None:
        """A fault that took answers away, and trade goes on after it."""
        before = self.lost()
        await fault(self)
        await until(lambda: self.lost() > before, HEAL_S, "somebody had no answer")
        await self.under_way()

    def lost(self) -> int:
        return self.till.unanswered + sum(self.till.codes.values())


async def postgres_stopped(stage: Stage) -> None:
    await beside(stage.cluster.stop, "immediate")
    before = stage.lost()
    await until(lambda: stage.lost() > before, HEAL_S, "somebody had no answer")
    await beside(stage.cluster.start)


async def backend_killed(stage: Stage) -> None:
    await stage.cluster.kill_backend(stage.dice.below(4))


async def postmaster_killed(stage: Stage) -> None:
    stage.cluster.kill_postmaster()
    await beside(stage.cluster.start)


async def server_killed(stage: Stage) -> None:
    await beside(stage.server.kill)
    stage.server.start()


async def worker_killed(stage: Stage) -> None:
    """Kill -9 while attempts wait for it: the next worker finds them."""
    await until(stage.open_attempts, HEAL_S, "there is work for it", step_s=ASK_S)
    await beside(stage.worker.kill)
    await until(stage.open_attempts, HEAL_S, "work is left over", step_s=ASK_S)
    await stage.under_way()
    stage.worker.start()


@asynccontextmanager
async def staged(cluster: Cluster, folder: Path, seed: int) -> AsyncIterator[Stage]:
    name = f"stage_{seed}"
    await cluster.make(name)
    door = Proxy(cluster.port)
    await door.start()
    url = f"postgresql://hundi@127.0.0.1:{door.port},127.0.0.1:{cluster.port}/{name}"
    stage = Stage(cluster, folder, seed, url)
    try:
        stage.sandbox.start()
        stage.server.start()
        stage.worker.start()
        await until(stage.ready, 40, "the server is ready", step_s=ASK_S)
        db = await books.open_database(url)
        await stage.till.open(db, SystemEntropy(), PAYERS)
        await db.close()
        trade = asyncio.create_task(stage.till.trade())
        await stage.under_way()
        yield stage
        stage.till.stopping = True
        await trade
        await settled(stage)
        for program in (stage.worker, stage.server, stage.sandbox):
            await program.end()
        for program in (stage.worker, stage.server):
            lines = program.log.read_text().splitlines()
            strange = [one for one in lines if not one.startswith(("{", "hundi "))]
            assert strange == [], "a log line that is no JSON"
    except BaseException as error:
        error.add_note(f"seed {seed}; {stage.till.unanswered} unanswered, {stage.till.codes}")
        raise
    finally:
        for program in (stage.worker, stage.server, stage.sandbox):
            await beside(program.drop)
        await door.close()


async def settled(stage: Stage) -> None:
    """Nothing is open any more, what was put off is told, and the books hold what was told."""
    owner = await asyncpg.connect(
        stage.cluster.url(stage.name),
        server_settings={"search_path": "cell0"},
    )
    try:

        async def closed() -> bool:
            # What a killed server left is asked about when its lease is over: let that be now.
            await owner.execute(
                "UPDATE attempt SET next_check_at = 1 WHERE state IN ('sent', 'unknown')"
            )
            return not await owner.fetchval(
                "SELECT count(*) FROM attempt WHERE state IN ('sent', 'unknown')"
            )

        await until(closed, HEAL_S, "every attempt has its end", step_s=ASK_S)
        await _told_later(stage.till)
        await _against(owner, stage.till)
    finally:
        await owner.close()
    db = await books.open_database(stage.url)
    async with db.snapshot() as reader:
        await books.laws(reader)
    await db.close()


async def _told_later(till: Till) -> None:
    put_off, till.put_off = till.put_off, {}
    async with httpx.AsyncClient(timeout=20) as http:
        for number, (payment, payer) in put_off.items():
            await till.confirm(http, number, payment, payer)
    assert till.put_off == {}, "every attempt has its end, and still there is no answer"
    assert len(till.told) == till.asked


async def _against(owner: asyncpg.Connection, till: Till) -> None:
    intents = {row["id"]: row["state"] for row in await owner.fetch("SELECT id, state FROM intent")}
    assert len(intents) == till.asked, "a key made two payments, or one is gone"
    for payment, state in till.told.values():
        assert state in {"SUCCEEDED", "PROCESSING"}
        assert intents[parse("pay", payment)] == "succeeded", (payment, state)
    paid = await owner.fetchval("SELECT count(*) FROM intent WHERE state = 'succeeded'")
    moved = await owner.fetchval(
        "SELECT coalesce(sum(credits_posted), 0)::bigint FROM account WHERE code = 'payable'"
    )
    assert moved == AMOUNT * paid
    told = await owner.fetch(
        "SELECT aggregate_id, count(*) AS n FROM event WHERE type = 'payment.succeeded' GROUP BY 1"
    )
    succeeded = [one for one, state in intents.items() if state == "succeeded"]
    assert {row["aggregate_id"]: row["n"] for row in told} == dict.fromkeys(succeeded, 1)


async def stage_rounds(stage: Stage, number: int) -> None:
    server = stage.server.child
    for _ in range(number):
        for fault in (postgres_stopped, backend_killed, postmaster_killed):
            await stage.strike(fault)
            await until(stage.ready, HEAL_S, "it is ready again")
    assert stage.server.child is server
    assert stage.server.alive, "the server lives through every fault of its database"
    for _ in range(number):
        await worker_killed(stage)
        await stage.strike(server_killed)


async def test_payments_under_faults(cluster: Cluster, tmp_path: Path) -> None:
    async with staged(cluster, tmp_path, 400) as stage:
        await stage_rounds(stage, 1)
