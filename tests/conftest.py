"""One PostgreSQL for the run, one migrated template, one database a test file, emptied a test."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from server_core.db import embedded, migrate
from server_core.db.work import Database, schema_of
from server_core.events import store as event_store
from tests.softhsm import token as token  # noqa: PLC0414 - fixtures for all
from tests.softhsm import tokens as tokens  # noqa: PLC0414
from tests.swtpm import new_tpm as new_tpm  # noqa: PLC0414
from tests.swtpm import tpm as tpm  # noqa: PLC0414

NOW_MS = 1_790_000_000_000
TEMPLATE = "template_hundi"


@dataclass(slots=True)
class Postgres:
    """The run's server; `url(name)` is the owner's address of one database."""

    server: embedded.Embedded
    made: int = 0

    def url(self, name: str) -> str:
        return embedded.database_url(self.server.sockets, name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="hundi-test-") as home:
        server = embedded.join(Path(home), settings={"max_connections": "200"})
        running = Postgres(server)

        async def make_template() -> None:
            await migrate.make_database(running.url(TEMPLATE), TEMPLATE)
            await migrate.upgrade(running.url(TEMPLATE))

        asyncio.run(make_template())
        yield running
        server.release()


async def new_database(postgres: Postgres, template: str = TEMPLATE) -> str:
    """A fresh copy of a template; its owner's address."""
    postgres.made += 1
    name = f"file_{postgres.made}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE {template} STRATEGY file_copy')
    finally:
        await admin.close()
    return postgres.url(name)


@pytest.fixture(scope="module")
async def database_url(postgres: Postgres) -> str:
    return await new_database(postgres)


@pytest.fixture(scope="module")
async def _shared(database_url: str) -> AsyncIterator[Database]:
    database = await Database.connect(
        database_url, clock=ManualClock(NOW_MS), entropy=SystemEntropy(), flush=event_store.flush
    )
    yield database
    await database.close()


@pytest.fixture
async def db(_shared: Database, database_url: str) -> Database:
    """The file's database, emptied, with the clock at NOW_MS."""
    await empty(database_url)
    _shared.clock = ManualClock(NOW_MS)
    return _shared


async def empty(url: str, cell: int = 0) -> None:
    """Truncate every table of a cell that a test may have filled; what migrations put in stays."""
    owner = await asyncpg.connect(url, server_settings={"search_path": schema_of(cell)})
    try:
        tables = await owner.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            " AND tablename NOT IN ('alembic_version', 'event_head', 'limit_profile')"
        )
        names = ", ".join(row["tablename"] for row in tables)
        await owner.execute(f"TRUNCATE {names}; UPDATE event_head SET seq = 0")
    finally:
        await owner.close()
