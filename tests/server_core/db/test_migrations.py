"""The migrations make what the tables declare, twice is once, and a newer schema is refused."""

import asyncpg
import pytest

from server_core.app import TABLES
from server_core.db import migrate
from server_core.errors import DomainError
from tests.conftest import Postgres, new_database


async def test_tables_are_as_declared(database_url: str) -> None:
    assert await migrate.differences(database_url, TABLES) == []


async def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    assert await migrate.upgrade(database_url) == await migrate.upgrade(database_url)


async def test_a_newer_schema_is_refused(postgres: Postgres) -> None:
    url = await new_database(postgres)
    owner = await asyncpg.connect(url, server_settings={"search_path": "cell0"})
    await owner.execute("UPDATE alembic_version SET version_num = '9999'")
    await owner.close()
    with pytest.raises(DomainError) as refused:
        await migrate.upgrade(url)
    assert refused.value.code == "db.newer_schema"


async def test_a_second_cell_stands_beside_the_first(postgres: Postgres) -> None:
    url = await new_database(postgres)
    await migrate.upgrade(url, cell=1)
    assert await migrate.differences(url, TABLES, cell=1) == []
