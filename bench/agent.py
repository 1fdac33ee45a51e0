"""The agent on a small machine: how long its program takes to start, and what it holds while nothing happens.

Each beside a Python that does nothing, of the same run: what is above it is ours.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.figures import Figure, report
from devices.clock import SystemClock
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import ServerSide
from tests.edge_agent.service import PROGRAM, Service
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World

N = 15
SETTLED_S = 3.0
START_GOAL_S = 1.0
MEMORY_GOAL_MB = 80.0
IDLE = "import asyncio; print('ready', flush=True); asyncio.run(asyncio.Event().wait())"


def seconds(words: list[str]) -> float:
    """The median of several starts, each to its end."""
    waits = []
    for _ in range(N):
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        waits.append(time.perf_counter() - began)
    return median(waits)


def memory_mb(pid: int) -> float:
    """What is this process's alone and its share of what it shares (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel tells no PSS")


def idle_python() -> float:
    with subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = memory_mb(process.pid)
        process.kill()
    return found


def service(home: Path) -> tuple[float, float]:
    """Seconds until it says READY, and megabytes some time after its first sync."""
    began = time.perf_counter()
    with Service(home) as running:
        running.until_told("READY=1")
        ready = time.perf_counter() - began
        running.until_told("STATUS=open; synced")
        time.sleep(SETTLED_S)
        return ready, memory_mb(running.process.pid)


def figures() -> list[Figure]:
    os.environ.pop("HUNDI_EDGE_PASSPHRASE", None)
    with tempfile.TemporaryDirectory(prefix="hundi-bench-") as name:
        world = World(Path(name))
        world.clock = SystemClock()
        with RunningServer(ServerSide(world)) as server:
            shell = Shell(world.folder, server)
            shell.enrol_terminal()
            home = shell.folder / "terminal"
            bare = seconds([sys.executable, "-c", "pass"])
            helped = seconds([*PROGRAM, "--help"])
            stood = seconds([*PROGRAM, "terminal", "status", "--home", str(home)])
            readies, held = zip(*(service(home) for _ in range(3)), strict=True)
        world.close()
    empty = idle_python()
    return [
        Figure(
            name="start, hundi-edge --help", value=helped, unit="s", baseline=bare,
            ratio=helped / bare, n=N, goal="≤ 1 s", holds=helped <= START_GOAL_S,
        ),
        Figure(
            name="start, terminal status", value=stood, unit="s", baseline=bare,
            ratio=stood / bare, n=N,
        ),
        Figure(
            name="start of the service until READY", value=median(readies), unit="s",
            baseline=bare, ratio=median(readies) / bare, n=len(readies),
        ),
        Figure(
            name="idle memory of the service (PSS)", value=median(held), unit="MB",
            baseline=empty, ratio=median(held) / empty, n=len(held),
            goal="≤ 80 MB", holds=median(held) <= MEMORY_GOAL_MB,
        ),
    ]  # fmt: skip


def main() -> bool:
    return report("agent", figures())


if __name__ == "__main__":
    main()
