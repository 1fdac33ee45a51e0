"""A folder's tests run twice: alone in cell 0, then in cell 1 beside a cell 0 that is in use.

A conftest that imports everything in `__all__` gets both runs for every test that asks for a
database; nothing else in the folder changes. A module whose programs cannot be told their cell says
`CELLS = (0,)`.
"""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from server_core.db import migrate
from server_core.db.work import Database, Emitted, schema_of
from server_core.events import cursors
from server_core.events import store as event_store
from server_core.idempotency import rules as idempotency_rules
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Claim
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Mode, Transfer, account_id
from tests.conftest import NOW_MS, Postgres, empty, new_database

__all__ = [
    "_beside", "_cell_by_default", "_shared", "cell", "database_url", "db", "pytest_generate_tests",
]  # fmt: skip

OWNERS = ("alice", "bob", "carol")
CELL_0 = "cell 0 was touched by a test that works in cell 1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        cells = getattr(metafunc.module, "CELLS", (0, 1))
        metafunc.parametrize(
            "cell", cells, indirect=True, ids=[schema_of(one) for one in cells], scope="module"
        )


@pytest.fixture(scope="module")
def cell(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def _cell_by_default(cell: int) -> Iterator[None]:
    """A test that connects or migrates by itself, and names no cell, means the run's own."""
    of_connect, of_upgrade = Database.connect.__func__, migrate.upgrade
    before = (of_connect.__kwdefaults__, of_upgrade.__defaults__)
    assert (before[0]["cell"], before[1]) == (0, (0,))
    of_connect.__kwdefaults__ = before[0] | {"cell": cell}
    of_upgrade.__defaults__ = (cell,)
    yield
    of_connect.__kwdefaults__, of_upgrade.__defaults__ = before


@pytest.fixture(scope="module")
async def database_url(
    postgres: Postgres, cell: int, _cell_by_default: None, request: pytest.FixtureRequest
) -> str:
    if cell == 0:
        return await new_database(postgres)
    return await new_database(postgres, request.getfixturevalue("two_cells"))


@pytest.fixture(scope="module")
async def _shared(database_url: str, cell: int) -> AsyncIterator[Database]:
    database = await open_cell(database_url, cell)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def _beside(database_url: str, cell: int) -> AsyncIterator["Beside | None"]:
    if cell == 0:
        yield None
        return
    watch = await Beside.open(database_url, 0)
    yield watch
    await watch.owner.close()


@pytest.fixture
async def db(
    _shared: Database, database_url: str, cell: int, _beside: "Beside | None"
) -> AsyncIterator[Database]:
    """The run's cell, emptied, with the clock at NOW_MS; after it, cell 0 is as it was."""
    await empty(database_url, cell)
    _shared.clock = ManualClock(NOW_MS)
    yield _shared
    if _beside is not None:
        assert await _beside.changed() == set(), CELL_0


async def open_cell(url: str, cell: int) -> Database:
    return await Database.connect(
        url,
        clock=ManualClock(NOW_MS),
        entropy=SystemEntropy(),
        flush=event_store.flush,
        cell=cell,
    )


class Beside:
    """A cell that nobody should touch: its tables' rows as last seen, by a connection kept open."""

    def __init__(self, owner: asyncpg.Connection, sql: str) -> None:
        self.owner, self._sql = owner, sql
        self.seen: dict[str, tuple[int, str]] = {}

    @classmethod
    async def open(cls, url: str, cell: int) -> "Beside":
        owner = await asyncpg.connect(url, server_settings={"search_path": schema_of(cell)})
        tables = await owner.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        # With each row's place and writer: one that was written anew with equal values has changed.
        one = (
            "SELECT '{0}' AS name, count(*) AS rows, coalesce(md5(string_agg("
            "concat_ws(' ', t.ctid, t.xmin, t), chr(10) ORDER BY t.ctid)), '') AS hash FROM {0} t"
        )
        watch = cls(owner, " UNION ALL ".join(one.format(row["tablename"]) for row in tables))
        await watch.changed()
        assert sum(rows for rows, _ in watch.seen.values()) > 0
        return watch

    async def changed(self) -> set[str]:
        """Give the tables whose rows are not those that were seen last."""
        before = self.seen
        found = await self.owner.fetch(self._sql)
        self.seen = {row["name"]: (row["rows"], row["hash"]) for row in found}
        return {name for name in before if before[name] != self.seen[name]}


async def put_to_use(db: Database) -> None:
    """Rows in cell 0 under the very names, ids and keys that tests use, and other amounts.

    A statement that strayed would find them, and answer otherwise or change them.
    """

    def moved(name: str, debit: str, credit: str, amount: int, **more: object) -> Transfer:
        ids = {who: account_id(Code.WALLET, who, "INR") for who in OWNERS}
        ids["upi"] = account_id(Code.CLEARING, "upi", "INR")
        return Transfer(
            id=derived("test", name), debit=ids[debit], credit=ids[credit], amount=amount, **more
        )

    body = idempotency_rules.body_hash({"other": "request"})
    claims = [Claim(scope="asha", key=key, verb="other", body=body) for key in ("k1", "k2")]
    async with db.work() as work:
        await ledger.open_accounts(
            work,
            [ledger.account(Code.WALLET, who, "INR") for who in OWNERS]
            + [ledger.account(Code.CLEARING, "upi", "INR")],
        )
        outcomes = await ledger.post(
            work,
            [
                moved("fund", "upi", "alice", 777_777),
                moved("t", "alice", "bob", 7),
                moved("h", "alice", "carol", 77, mode=Mode.PENDING, expires_at=NOW_MS + 10),
            ],
        )
        assert all(one.ok for one in outcomes)
        await idempotency.claim(work, claims)
        await idempotency.answer(work, [(claims[0], "of cell 0")])
        await cursors.hold(work, "relay")
        await cursors.move(work, "relay", 1)
        for number in (1, 2):
            work.emit(
                Emitted(
                    aggregate_type="other", aggregate_id=derived("other", number),
                    type="other.happened", payload={"cell": 0},
                )
            )  # fmt: skip
