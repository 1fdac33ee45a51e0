"""A URL of several hosts: one refuses, one is frozen, one is a standby that is promoted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_core.db import connect, migrate, work
from server_core.db.work import Database
from server_core.errors import DomainError
from tests.crash import books
from tests.crash.cluster import Cluster, free_port
from tests.crash.proxy import Proxy
from tests.crash.scene import HEAL_S, scene
from tests.crash.waiting import CLOCK, beside, until

ROUNDS = 3


@pytest.fixture
async def two(cluster: Cluster) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Two doors to the same server: what is behind them is not what is under test."""
    doors = Proxy(cluster.port), Proxy(cluster.port)
    for one in doors:
        await one.start()
    yield doors
    for one in doors:
        await one.close()


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "HOST_S", 0.5)
    monkeypatch.setattr(connect, "CONNECT_S", 1)
    monkeypatch.setattr(work, "STATEMENT_S", 1)
    monkeypatch.setattr(work, "_FAREWELL_S", 0.2)


def url_of(name: str, *ports: int, more: str = "?target_session_attrs=read-write") -> str:
    return f"postgresql://hundi@{','.join(f'127.0.0.1:{port}' for port in ports)}/{name}{more}"


async def alive(db: Database) -> bool:
    try:
        async with db.work() as one:
            return bool(await one.value("SELECT NOT pg_is_in_recovery()"))
    except DomainError:
        return False


async def test_the_first_refuses(cluster: Cluster) -> None:
    name = "refuses"
    await cluster.make(name)
    url = url_of(name, free_port(), cluster.port)
    await migrate.upgrade(url)
    db = await books.open_database(url)
    try:
        assert await alive(db)
        heard = asyncio.Event()
        async with db.listen("hundi_test", heard.set):
            async with db.work() as one:
                await one.value("SELECT pg_notify('hundi_test', '')")
            await asyncio.wait_for(heard.wait(), 5)
    finally:
        await db.close()


@pytest.mark.usefixtures("_short")
async def test_the_first_is_frozen(cluster: Cluster, two: tuple[Proxy, Proxy]) -> None:
    name = "frozen"
    await cluster.make(name)
    two[0].freeze()
    began = CLOCK.monotonic_ms()
    url = url_of(name, two[0].port, two[1].port, more="")
    await migrate.upgrade(url)
    db = await books.open_database(url)
    try:
        assert await alive(db)
        assert two[0].accepted > 0, "the frozen one was never asked"
        assert CLOCK.monotonic_ms() - began < 5_000
    finally:
        await db.close()


@pytest.mark.usefixtures("_short")
async def test_one_freezes_under_open_connections(
    cluster: Cluster, two: tuple[Proxy, Proxy]
) -> None:
    name = "freezes"
    await cluster.make(name)
    db = await books.open_database(url_of(name, two[0].port, two[1].port))
    try:
        assert await alive(db)
        asked = two[1].accepted
        two[0].freeze()
        began = CLOCK.monotonic_ms()
        assert not await alive(db), "the connection that froze was of no use"
        assert CLOCK.monotonic_ms() - began < 3_000, "the caller waited for more than a statement"
        await until(lambda: alive(db), 10, "it has gone to the other host")
        assert two[1].accepted > asked
    finally:
        await db.close()


@pytest.mark.usefixtures("_short")
async def test_all_are_away(cluster: Cluster) -> None:
    url = url_of("nothing", free_port(), free_port())
    for door in (migrate.upgrade, books.open_database):
        began = CLOCK.monotonic_ms()
        with pytest.raises(DomainError) as away:
            await door(url)
        assert away.value.code == "db.unreachable"
        assert CLOCK.monotonic_ms() - began < (connect.CONNECT_S + 5) * 1000


async def test_hosts_go_and_come_under_load(
    cluster: Cluster, two: tuple[Proxy, Proxy], tmp_path: Path
) -> None:
    seed = 300
    url = url_of(f"seed_{seed}", two[0].port, two[1].port)
    async with scene(cluster, tmp_path, seed, load_url=url) as one:
        for number in range(ROUNDS):
            gone, other = two[number % 2], two[1 - number % 2]
            dropped, asked = gone.dropped, other.accepted
            if number % 3:
                gone.freeze()
                gone.drop()
            else:
                await gone.refuse()
            assert gone.dropped > dropped, "nobody was on the host that went"
            await one.under_way()
            assert other.accepted > asked
            gone.thaw()
            if not gone.listens:
                await gone.start()
        await one.stand_still()


async def test_a_standby_is_promoted(tmp_path: Path) -> None:
    assert await fail_over(tmp_path, 301) > 0


async def fail_over(folder: Path, seed: int) -> int:
    """Kill the primary under load and promote its standby; how many transfers stand there then."""
    primary = Cluster()
    await beside(primary.start)
    standby = await primary.copy()
    await beside(standby.start)
    try:
        # Every COMMIT waits for the standby: else what was told last dies with the primary.
        await primary.as_owner("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await primary.as_owner("SELECT pg_reload_conf()")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        await until(lambda: primary.as_owner(synchronous), 10, "the standby is synchronous")
        url = url_of(f"seed_{seed}", standby.port, primary.port)
        async with scene(primary, folder, seed, load_url=url) as one:

            async def kill_and_promote() -> None:
                primary.kill_postmaster()
                await until(lambda: one.journal.read().lost(), HEAL_S, "calls lost their answer")
                await beside(standby.promote)
                # It was copied from one that waits for a standby; it has none of its own.
                await standby.as_owner("ALTER SYSTEM RESET synchronous_standby_names")
                await standby.as_owner("SELECT pg_reload_conf()")

            assert await one.fault(kill_and_promote) > 0
            return await one.stand_still()
    finally:
        await beside(standby.close)
        await beside(primary.close)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@one/db", ["postgresql://u@one/db"]),
        ("postgresql://u@/db?host=/run/pg", ["postgresql://u@/db?host=/run/pg"]),
        (
            "postgresql://u:p%40@one:1,[::1]:2/db?sslmode=require",
            [
                "postgresql://u:p%40@one:1/db?sslmode=require&target_session_attrs=read-write",
                "postgresql://u:p%40@[::1]:2/db?sslmode=require&target_session_attrs=read-write",
            ],
        ),
        (
            "postgresql://u@/db?host=one,two&port=1,2&target_session_attrs=any",
            [
                "postgresql://u@/db?target_session_attrs=any&host=one&port=1",
                "postgresql://u@/db?target_session_attrs=any&host=two&port=2",
            ],
        ),
    ],
)
def test_each_host(url: str, hosts: list[str]) -> None:
    assert connect.each_host(url) == hosts
