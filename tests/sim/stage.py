"""Where worlds are played: one database of a real PostgreSQL, emptied between two seeds."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from server_core.db import embedded, migrate
from server_core.db.work import Database, schema_of
from server_core.events import store as event_store
from tests.sim.plan import BEGINS_MS

TEMPLATE = "template_sim"
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""A world that ends with its process needs no disk: crashes here are those of connections."""


@dataclass(slots=True)
class Stage:
    """`db` is what the ledger is given; `owner` looks at the rows and kills connections."""

    db: Database
    owner: Any
    clock: ManualClock

    async def clear(self) -> None:
        await self.owner.execute(
            "TRUNCATE account, transfer, entry, event; UPDATE event_head SET seq = 0"
        )
        self.clock.set_wall(BEGINS_MS)

    async def kill(self, pid: int) -> None:
        """End a connection as a lost machine does: in the middle, without a word."""
        await self.owner.execute("SELECT pg_terminate_backend($1)", pid)
        while await self.owner.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):
            pass

    async def waiting(self) -> int:
        """How many wait for a lock that another holds."""
        found = await self.owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(found)


@asynccontextmanager
async def on(url: str) -> AsyncIterator[Stage]:
    clock = ManualClock(BEGINS_MS)
    db = await Database.connect(
        url, clock=clock, entropy=SeededEntropy("sim"), flush=event_store.flush, connections=6
    )
    owner = await asyncpg.connect(url, server_settings={"search_path": schema_of(0)})
    try:
        yield Stage(db, owner, clock)
    finally:
        await owner.close()
        await db.close()


@contextmanager
def postgres() -> Iterator[embedded.Embedded]:
    """A server of its own for as long as a run lasts."""
    with tempfile.TemporaryDirectory(prefix="hundi-sim-") as home:
        server = embedded.join(Path(home), settings=_FAST | {"max_connections": "100"})
        try:
            yield server
        finally:
            server.release()


async def make_template(server: embedded.Embedded) -> None:
    url = embedded.database_url(server.sockets, TEMPLATE)
    await migrate.make_database(url, TEMPLATE)
    await migrate.upgrade(url)


async def make_database(server: embedded.Embedded, name: str) -> str:
    """A fresh copy of the template; its address."""
    admin = await asyncpg.connect(embedded.database_url(server.sockets, "postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE} STRATEGY file_copy')
    finally:
        await admin.close()
    return embedded.database_url(server.sockets, name)
