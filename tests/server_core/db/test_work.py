"""A connection that dies under a Work is told as what it is, and the next Work finds another one."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

from devices.clock import ManualClock, SystemClock
from devices.entropy import SystemEntropy
from server_core.db import work
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import store as event_store


async def test_a_killed_connection_is_unreachable_and_not_a_bug(
    db: Database, database_url: str
) -> None:
    async def die_half_way() -> None:
        async with db.work() as dying:
            pid = await dying.value("SELECT pg_backend_pid()")
            owner = await asyncpg.connect(database_url)
            await owner.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await owner.close()
            await dying.value("SELECT 1")

    with pytest.raises(DomainError, match=r"db\.unreachable"):
        await die_half_way()
    async with db.work() as next_one:
        assert await next_one.value("SELECT 2") == 2


async def test_wherever_a_work_is_cut_off_its_connection_is_not_kept_in_a_transaction(
    db: Database,
) -> None:
    """BEGIN, a statement, COMMIT: the driver tells the loop of one that is put back half-way."""

    async def one() -> None:
        async with db.work() as cut:
            await cut.value("SELECT 1")

    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        for turns in range(60):
            task = asyncio.create_task(one())
            for _ in range(turns):
                await SystemClock().sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with db.reader() as reader:
            mine = "pid <> pg_backend_pid() AND datname = current_database()"
            left = f"SELECT count(*) FROM pg_stat_activity WHERE {mine} AND state ~ 'transaction'"
            assert await reader.value(left) == 0
    finally:
        loop.set_exception_handler(before)
    assert told == []


async def test_a_snapshot_may_read_for_longer_than_a_command(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STATEMENT_S", 0.2)
    db = await Database.connect(
        database_url, clock=ManualClock(0), entropy=SystemEntropy(), flush=event_store.flush
    )
    slow = "SELECT 1 FROM pg_sleep(0.5)"
    async with db.snapshot() as reader:
        assert await reader.value(slow) == 1
        assert [row[0] async for row in reader.stream(slow)] == [1]
    with pytest.raises(DomainError, match=r"db\.unreachable"):
        async with db.reader() as reader:
            await reader.value(slow)
    await db.close()


async def test_what_a_snapshot_sets_ends_with_it(db: Database) -> None:
    names = ("enable_seqscan", "work_mem", "effective_cache_size")
    read = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    async with db.reader() as reader:
        before = await reader.row(read)
    async with db.snapshot() as reader:
        assert tuple(await reader.row(read) or ()) == ("on", "64MB", "64MB")
    async with db.reader() as reader:
        assert await reader.row(read) == before
