"""The template of a database with two cells, for the folders that run their tests in both."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from server_core.db import migrate
from tests.conftest import TEMPLATE, Postgres
from tests.server_core.cells import open_cell, put_to_use

TWO_CELLS = "template_two_cells"


@pytest.fixture(scope="session")
def two_cells(postgres: Postgres) -> str:
    """Name a template with cell 0 in use and cell 1 empty."""

    async def make() -> None:
        admin = await asyncpg.connect(postgres.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {TWO_CELLS} TEMPLATE {TEMPLATE}")
        finally:
            await admin.close()
        url = postgres.url(TWO_CELLS)
        await migrate.upgrade(url, cell=1)
        used = await open_cell(url, 0)
        try:
            await put_to_use(used)
        finally:
            await used.close()

    # A thread of its own: the first who asks may stand inside a module's running loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, make()).result()
    return TWO_CELLS
