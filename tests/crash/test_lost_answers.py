"""The answer to COMMIT is lost: the outcome is looked up by the id, never assumed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devices.entropy import SeededEntropy
from server_core.app import TABLES
from server_core.db import migrate
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Result
from tests.crash import books
from tests.crash.cluster import Cluster
from tests.crash.journal import Attempt
from tests.crash.load import FUND, WALLET, post_many, settle_in
from tests.crash.proxy import Cut, Proxy
from tests.crash.scene import HEAL_S, scene
from tests.crash.waiting import until

CUTS = 12


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    one = Proxy(cluster.port)
    await one.start()
    yield one
    await one.close()


@pytest.mark.parametrize("cut", Cut)
async def test_one_commit(cluster: Cluster, proxy: Proxy, cut: Cut) -> None:
    name = f"cut_{cut.name.lower()}"
    url = await cluster.make(name)
    through = await books.open_database(cluster.url(name, proxy.port))
    await settle_in(through)
    move = Attempt(id=derived("cut", cut), debit=WALLET[0], credit=WALLET[1], amount=7)

    async def post() -> Result:
        async with through.work() as work:
            [outcome] = await post_many(work, [move.transfer()])
        return outcome.result

    try:
        proxy.cuts.append(cut)
        with pytest.raises(DomainError) as lost:
            await post()
        assert (lost.value.code, proxy.made) == ("db.commit_unknown", [cut])
        again = await post()
        if cut is Cut.BEFORE:
            assert again is Result.CREATED
        if cut is Cut.AFTER:
            assert again is Result.EXISTS
        assert await post() is Result.EXISTS
    finally:
        await through.close()
    db = await books.open_database(url)
    try:
        async with db.snapshot() as reader:
            await books.laws(reader)
            wallet = (await ledger.balances(reader, [WALLET[1]]))[WALLET[1]]
    finally:
        await db.close()
    assert wallet.credits_posted - FUND == 7


async def test_under_load(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    seed = 200
    dice = SeededEntropy(seed)
    url = cluster.url(f"seed_{seed}", proxy.port)
    async with scene(cluster, tmp_path, seed, load_url=url) as one:
        for _ in range(CUTS):
            proxy.cuts = [list(Cut)[dice.below(3)] for _ in range(1 + dice.below(2))]
            before = len(proxy.made) + len(proxy.cuts)
            await until(lambda due=before: len(proxy.made) == due, HEAL_S, "the cuts are made")
            await one.under_way()
        assert len(proxy.made) >= CUTS
        await one.stand_still()
        # A batch whose answer was lost ran again and found what stood there.
        assert "exists" in one.journal.told.values()


@pytest.mark.parametrize("cut", Cut)
async def test_a_migration(cluster: Cluster, proxy: Proxy, cut: Cut) -> None:
    """All of it is one transaction: told as away, and the next start goes on from what stands."""
    name = f"migrated_{cut.name.lower()}"
    await migrate.make_database(f"{cluster.url(name)}?", name)
    proxy.cuts.append(cut)
    with pytest.raises(DomainError) as lost:
        await migrate.upgrade(cluster.url(name, proxy.port))
    assert (lost.value.code, proxy.made) == ("db.unreachable", [cut])
    await migrate.upgrade(cluster.url(name, proxy.port))
    assert await migrate.differences(cluster.url(name), TABLES) == []
