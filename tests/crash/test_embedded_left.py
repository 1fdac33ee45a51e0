"""What a killed postmaster leaves behind: the next start takes it for what it is, and works."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from server_core.db import embedded
from server_core.db.connect import LOST
from server_core.db.embedded import Embedded
from tests.crash.waiting import beside, until

BUSY = "SELECT count(*) FROM generate_series(1, 6000000) a"


def postmaster(server: Embedded) -> int:
    return int((server.data / "postmaster.pid").read_text().split("\n")[0])


def url(server: Embedded) -> str:
    return embedded.database_url(server.sockets, "postgres")


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def answers(server: Embedded) -> bool:
    connection = await asyncpg.connect(url(server), timeout=5)
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close()


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Embedded]:
    """A cluster in use, whose user will see its postmaster go."""
    server = embedded.join(tmp_path)
    yield server
    server._users.close()
    embedded.join(tmp_path).release()
    assert embedded._state(server.data) is None


def test_a_killed_one_is_not_taken_for_a_living_one(left: Embedded) -> None:
    """At once after the kill, when it may still be a zombie that holds its process id."""
    for _ in range(3):
        before = postmaster(left)
        os.kill(before, signal.SIGKILL)
        embedded.join(left.data.parent)._users.close()
        assert postmaster(left) != before
        assert asyncio.run(answers(left))


@pytest.mark.parametrize("leftover", ["zombie", "another program"])
def test_its_process_id_is_somebody_elses(left: Embedded, leftover: str) -> None:
    os.kill(postmaster(left), signal.SIGKILL)
    words = ["true"] if leftover == "zombie" else ["sleep", "60"]
    who = {"user": embedded._NOBODY} if os.geteuid() == 0 else {}
    other = subprocess.Popen(words, cwd="/", **who)
    try:
        if leftover == "zombie":
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        for file in (left.data / "postmaster.pid", *left.sockets.glob(".s.PGSQL.*.lock")):
            lines = file.read_text().split("\n")
            file.write_text("\n".join([str(other.pid), *lines[1:]]))
        embedded.join(left.data.parent)._users.close()
        assert postmaster(left) != other.pid
        assert asyncio.run(answers(left))
    finally:
        other.kill()
        other.wait()


async def test_an_orphan_at_work_is_waited_for(left: Embedded) -> None:
    """It may still write: nothing starts over it, and nothing has to be cleared by hand."""
    busy = await asyncpg.connect(url(left))
    orphan = busy.get_server_pid()
    under_way = asyncio.ensure_future(busy.fetchval(BUSY))
    watch = await asyncpg.connect(url(left))
    state = "SELECT state FROM pg_stat_activity WHERE pid = $1"

    async def working() -> bool:
        return await watch.fetchval(state, orphan) == "active"

    await until(working, 5, "the statement runs")
    os.kill(postmaster(left), signal.SIGKILL)
    assert lives(orphan), "the orphan was gone before anybody could wait for it"
    joined = await beside(embedded.join, left.data.parent)
    joined._users.close()
    assert not lives(orphan)
    assert await answers(left)
    await asyncio.wait([under_way], timeout=5)
    assert under_way.exception() is None or isinstance(under_way.exception(), LOST)
    watch.terminate()
    busy.terminate()


async def test_one_that_is_stopping_is_not_joined(left: Embedded) -> None:
    """Its last user was killed in the middle of the stop."""
    guest = await asyncpg.connect(url(left))
    before = postmaster(left)
    embedded._pg_ctl(left.data, "stop", "-m", "smart", "-W")
    await until(lambda: embedded._state(left.data) == "stopping", 5, "it is stopping")
    with ThreadPoolExecutor(1) as thread:
        joining = thread.submit(embedded.join, left.data.parent)
        assert not joining.done()
        await guest.close()
        joined = await beside(joining.result, 30)
    joined._users.close()
    assert postmaster(left) != before
    assert await answers(left)
