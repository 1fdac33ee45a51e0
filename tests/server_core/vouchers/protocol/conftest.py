"""A server's slices with one payer and one shop; after every test the books and promises hold."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from server_core.db.work import Database
from server_core.ledger import audit
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, account_id
from server_core.trust import service as trust
from server_core.trust.service import Keys
from tests.conftest import NOW_MS
from tests.server_core.vouchers.protocol.field import Phone, Shop, World


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    home: Path = tmp_path_factory.mktemp("keys")
    return trust.load(
        home, entropy=SeededEntropy("keys"), clock=ManualClock(NOW_MS), passphrase=None
    )


@pytest.fixture
async def world(db: Database, keys: Keys, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = World(db, keys, SeededEntropy(request.node.name))
    yield made
    await promises_hold(db)


@pytest.fixture
async def phone(world: World) -> Phone:
    made = await world.phone(await world.person("Asha"))
    await made.take()
    return made


@pytest.fixture
async def shop(world: World) -> Shop:
    return await world.shop()


async def promises_hold(db: Database) -> None:
    """The ledger is whole, and every hold is exactly where the allowance row says it went."""
    async with db.snapshot() as reader:
        assert await audit.findings(reader) == []
        rows = await reader.rows(
            "SELECT a.*, (SELECT coalesce(sum(s.amount), 0) FROM voucher_settled s"
            " WHERE s.aid = a.aid) AS paid, (SELECT coalesce(sum(c.amount), 0) FROM voucher_claim c"
            " WHERE c.aid = a.aid) AS claims, (SELECT coalesce(sum(u.amount), 0)"
            " FROM voucher_unclaimed u WHERE u.aid = a.aid) AS waits FROM allowance a"
        )
        for row in rows:
            account = account_id(Code.OFFLINE, row["aid"].hex(), row["currency"])
            left = (await ledger.balances(reader, [account]))[account].balance
            gone = row["settled"] + row["claimed"] + row["unclaimed"] + row["returned"]
            assert left == row["hold"] - gone
            assert (row["paid"], row["claims"], row["waits"]) == (
                row["settled"], row["claimed"], row["unclaimed"],
            )  # fmt: skip
            assert (row["state"] == "closed") <= (left == 0)
