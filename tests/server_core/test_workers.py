import asyncio

import asyncpg
import pytest

from devices.clock import SystemClock
from server_core import workers
from server_core.app import Job
from server_core.db.work import Database, Emitted


@pytest.fixture
def live(db: Database) -> Database:
    db.clock = SystemClock()
    return db


async def emit(db: Database) -> None:
    async with db.work() as work:
        work.emit(
            Emitted(
                aggregate_type="test", aggregate_id=work.ids.new(), type="test.said", payload={}
            )
        )


async def test_a_job_that_follows_the_log_is_woken_by_a_commit(live: Database) -> None:
    ticked: asyncio.Queue[None] = asyncio.Queue()

    async def tick() -> int:
        ticked.put_nowait(None)
        return 0

    job = Job(name="test.follow", period_s=60, tick=tick, follows=True)
    task = asyncio.create_task(workers.run([job], live))
    await asyncio.wait_for(ticked.get(), 5)  # the first tick
    await asyncio.wait_for(ticked.get(), 5)  # once more when it begins to listen
    await emit(live)
    await asyncio.wait_for(ticked.get(), 5)
    task.cancel()
    await asyncio.wait([task])


async def test_a_follower_listens_again_after_its_connection_was_lost(
    live: Database, database_url: str
) -> None:

    ticked: asyncio.Queue[None] = asyncio.Queue()

    async def tick() -> int:
        ticked.put_nowait(None)
        return 0

    job = Job(name="test.follow", period_s=60, tick=tick, follows=True)
    task = asyncio.create_task(workers.run([job], live))
    await asyncio.wait_for(ticked.get(), 5)
    await asyncio.wait_for(ticked.get(), 5)
    owner = await asyncpg.connect(database_url)
    killed = await owner.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    await owner.close()
    assert killed == 1
    await asyncio.wait_for(ticked.get(), 5)  # it listens again, and looks at once
    task.cancel()
    await asyncio.wait([task])


async def test_a_job_that_fails_stops_neither_itself_nor_another(live: Database) -> None:
    ticks: asyncio.Queue[str] = asyncio.Queue()

    async def bad() -> int:
        ticks.put_nowait("bad")
        raise RuntimeError("broken")

    async def good() -> int:
        ticks.put_nowait("good")
        return 0

    jobs = [Job(name="bad", period_s=0.01, tick=bad), Job(name="good", period_s=0.01, tick=good)]
    task = asyncio.create_task(workers.run(jobs, live))
    seen = [await asyncio.wait_for(ticks.get(), 5) for _ in range(6)]
    task.cancel()
    await asyncio.wait([task])
    assert {"bad", "good"} <= set(seen)
    assert seen.count("bad") > 1
