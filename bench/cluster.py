"""A PostgreSQL of its own for a benchmark, unconfigured but for its folder, gone afterwards."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.db import embedded, migrate
from server_core.db.work import Database
from server_core.events import store as events


@asynccontextmanager
async def cluster() -> AsyncIterator[str]:
    """The owner's address of a migrated database; fsync and synchronous_commit are on."""
    home = Path(tempfile.mkdtemp(prefix="hundi-bench-"))
    server = await asyncio.to_thread(embedded.join, home)
    try:
        await migrate.make_database(server.url)
        await migrate.upgrade(server.url)
        yield server.url
    finally:
        await asyncio.to_thread(server.release)
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Database]:
    db = await Database.connect(
        url, clock=SystemClock(), entropy=SystemEntropy(), flush=events.flush
    )
    try:
        yield db
    finally:
        await db.close()
