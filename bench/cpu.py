"""CPU time of a PostgreSQL: what its share of a payment costs, whoever else uses the machine."""

import os
from pathlib import Path

from server_core.db.work import Database

_TICKS = os.sysconf("SC_CLK_TCK")


async def postmaster(db: Database) -> int:
    """The process id of the server that `db` is connected to, on this machine."""
    async with db.reader() as reader:
        backend = await reader.value("SELECT pg_backend_pid()")
    return int(_stat(Path(f"/proc/{backend}"))[1])


def spent_s(server: int) -> float:
    """Seconds of CPU of the postmaster, its processes, and those of its that have ended."""
    total = sum(map(int, _stat(Path(f"/proc/{server}"))[11:15]))
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                said = _stat(one)
            except OSError:
                continue  # it has ended since
            if int(said[1]) == server:
                total += int(said[11]) + int(said[12])
    return total / _TICKS


def _stat(process: Path) -> list[str]:
    """The fields after the name: state, parent's id, …, utime, stime, cutime, cstime."""
    return (process / "stat").read_text().rpartition(")")[2].split()
