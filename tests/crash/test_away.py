"""A database that is away: everybody is told soon, and what was broken is not kept in the pool."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from server_core.db import connect, work
from server_core.db.batch import Batch
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.ledger.model import Outcome, Transfer
from tests.crash import books
from tests.crash.cluster import Cluster
from tests.crash.load import WALLET, post_many, settle_in
from tests.crash.proxy import Proxy
from tests.crash.waiting import CLOCK, until


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    one = Proxy(cluster.port)
    await one.start()
    yield one
    await one.close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_S", 1)
    monkeypatch.setattr(work, "STATEMENT_S", 1)
    monkeypatch.setattr(work, "_FAREWELL_S", 0.2)


@pytest.fixture
async def db(cluster: Cluster, proxy: Proxy) -> AsyncIterator[Database]:
    await cluster.make("away")
    one = await books.open_database(cluster.url("away", proxy.port))
    await settle_in(one)
    yield one
    await one.close()


def move(number: int) -> Transfer:
    return Transfer(
        id=derived("away", number), debit=WALLET[0], credit=WALLET[1], amount=1, code="crash"
    )


async def test_a_batch_does_not_wait_once_for_each_command(db: Database, proxy: Proxy) -> None:
    queue = Batch(db, post_many)
    proxy.freeze()
    began = CLOCK.monotonic_ms()
    outcomes = await asyncio.gather(
        *(queue.submit(move(number)) for number in range(100)), return_exceptions=True
    )
    took_ms = CLOCK.monotonic_ms() - began
    assert {getattr(one, "code", one) for one in outcomes} == {"db.unreachable"}
    assert took_ms < 15_000
    proxy.drop()
    proxy.thaw()

    async def told() -> list[Outcome] | None:
        try:
            return await asyncio.gather(*(queue.submit(move(number)) for number in range(100)))
        except DomainError:
            return None

    outcomes = await until(told, 10, "the same commands again are told")
    assert all(one.ok for one in outcomes)


async def test_a_primary_that_becomes_read_only_is_left(db: Database, cluster: Cluster) -> None:
    async def backend() -> int:
        async with db.work() as one:
            return int(await one.value("SELECT pg_backend_pid()"))

    async with db.work() as one:
        demoted = await one.value("SELECT pg_backend_pid()")
        await one.value("SELECT set_config('default_transaction_read_only', 'on', false)")
    with pytest.raises(DomainError, match=r"db\.unreachable"):
        await db.transact(lambda one: post_many(one, [move(1000)]))
    [outcome] = await db.transact(lambda one: post_many(one, [move(1000)]))
    assert outcome.ok
    assert await backend() != demoted


async def test_too_many_connections_is_told_as_away(cluster: Cluster) -> None:
    """As it is when every process comes back at once after a restart."""
    taken = []
    try:
        while len(taken) < 100:
            taken.append(await asyncpg.connect(cluster.url("away"), timeout=5))
    except asyncpg.TooManyConnectionsError:
        pass
    assert len(taken) < 100
    with pytest.raises(DomainError) as told:
        await books.open_database(cluster.url("away"))
    for one in taken:
        one.terminate()
    assert told.value.code == "db.unreachable"
