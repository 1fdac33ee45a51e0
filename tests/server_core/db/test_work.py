"""A connection that dies under a Work is told as what it is, and the next Work finds another one."""

import asyncpg
import pytest

from server_core.db.work import Database
from server_core.errors import DomainError


async def test_a_killed_connection_is_unreachable_and_not_a_bug(
    db: Database, database_url: str
) -> None:
    async def die_half_way() -> None:
        async with db.work() as work:
            pid = await work.value("SELECT pg_backend_pid()")
            owner = await asyncpg.connect(database_url)
            await owner.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await owner.close()
            await work.value("SELECT 1")

    with pytest.raises(DomainError, match=r"db\.unreachable"):
        await die_half_way()
    async with db.work() as work:
        assert await work.value("SELECT 2") == 2
