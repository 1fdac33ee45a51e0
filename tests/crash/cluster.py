"""A PostgreSQL on a TCP port of its own, to be killed and started as often as a test wants."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from server_core.db import embedded, migrate
from tests.crash.waiting import beside

DATABASE = "hundi"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Owns its folder; `embedded` starts it, so that its recovery is under test everywhere here."""

    def __init__(self, *, home: Path | None = None) -> None:
        self.home = home or Path(tempfile.mkdtemp(prefix="hundi-crash-"))
        self.port = free_port()
        self._joined: embedded.Embedded | None = None

    @property
    def data(self) -> Path:
        return self.home / "pg"

    def url(self, name: str = DATABASE, port: int | None = None) -> str:
        return f"postgresql://hundi@127.0.0.1:{port or self.port}/{name}"

    def start(self) -> None:
        """What every program of ours does at its start: join, whatever the last one left."""
        before, settings = self._joined, {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "max_connections": "60",
        }  # fmt: skip
        self._joined = embedded.join(self.home, settings=settings)
        if before is not None:
            before._users.close()

    async def make(self, name: str = DATABASE) -> str:
        """A migrated database; its address."""
        await migrate.make_database(f"{self.url(name)}?", name)
        await migrate.upgrade(self.url(name))
        return self.url(name)

    async def copy(self) -> "Cluster":
        """A streaming standby of this one, not yet started."""
        standby = Cluster()
        standby.data.mkdir(mode=0o700)
        os.chown(standby.data, embedded._server_uid(), -1)
        words = ["-D", str(standby.data), "-d", self.url("postgres"), "-R", "-X", "stream"]
        program = str(embedded.binaries() / "pg_basebackup")
        await beside(embedded._run, [program, *words, "--checkpoint=fast", "--no-sync"])
        return standby

    def promote(self) -> None:
        embedded._pg_ctl(self.data, "promote", "-w")

    async def as_owner(self, sql: str, database: str = "postgres") -> Any:
        """One statement of the superuser's; its first value."""
        admin = await asyncpg.connect(self.url(database), timeout=5)
        try:
            return await admin.fetchval(sql)
        finally:
            await admin.close()

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def stop(self, mode: str = "immediate") -> None:
        embedded._pg_ctl(self.data, "stop", "-m", mode, "-w")

    def kill_postmaster(self) -> int:
        pid = self.postmaster()
        os.kill(pid, signal.SIGKILL)
        return pid

    async def backends(self, application: str = "hundi") -> list[int]:
        """Those of the programs' pools, the ones inside a transaction first."""
        admin = await asyncpg.connect(self.url("postgres"), timeout=5)
        try:
            found = await admin.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
                " ORDER BY xact_start IS NULL, pid",
                application,
            )
        finally:
            await admin.close()
        return [row["pid"] for row in found]

    async def kill_backend(self, choose: int) -> int:
        """Kill -9 one: PostgreSQL then ends all the others and recovers by itself."""
        pids = await self.backends()
        pid = pids[choose % len(pids)]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def answers(self) -> bool:
        try:
            admin = await asyncpg.connect(self.url("postgres"), timeout=2)
        except (asyncpg.PostgresError, OSError, TimeoutError):
            return False
        await admin.close()
        return True

    def close(self) -> None:
        if self._joined is not None:
            embedded._pg_ctl(self.data, "stop", "-m", "immediate", "-w", check=False)
            self._joined.release()
            assert embedded._state(self.data) is None
        with contextlib.suppress(OSError):
            shutil.rmtree(self.home)
            shutil.rmtree(embedded.socket_folder(self.home))
