"""What two cells on one PostgreSQL share, and what never crosses from one to the other."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

import server_core
from devices.clock import ManualClock
from server_core.db import migrate
from server_core.db.work import Database, Emitted, Work
from server_core.events import cursors, tail
from server_core.events import store as events
from server_core.events.model import Event
from server_core.idempotency import jobs as idempotency_jobs
from server_core.idempotency import rules as idempotency_rules
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import TTL_MS, Claim, Fresh, Replay
from server_core.ids import cell_of, derived
from server_core.ledger import jobs as ledger_jobs
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Mode, Result, Transfer, account_id
from server_core.trust import jobs as trust_jobs
from server_core.trust import store as trust_store
from server_core.vouchers import journals
from tests.conftest import NOW_MS, Postgres, empty, new_database
from tests.server_core.cells import Beside, open_cell, put_to_use

Pair = tuple[Database, Database]
ALICE, BOB = (account_id(Code.WALLET, who, "INR") for who in ("alice", "bob"))
CLEARING = account_id(Code.CLEARING, "upi", "INR")
STRANGER = account_id(Code.WALLET, "only in cell 0", "INR")


@pytest.fixture(scope="module")
async def url(postgres: Postgres, two_cells: str) -> str:
    return await new_database(postgres, two_cells)


@pytest.fixture(scope="module")
async def _open(url: str) -> AsyncIterator[Pair]:
    pair = (await open_cell(url, 0), await open_cell(url, 1))
    yield pair
    for one in pair:
        await one.close()


@pytest.fixture
async def cells(_open: Pair, url: str) -> Pair:
    """Cell 0 and cell 1 of one database, both empty."""
    for number, one in enumerate(_open):
        await empty(url, number)
        one.clock = ManualClock(NOW_MS)
    return _open


THING = UUID(int=1)


def event(aggregate: UUID = THING, kind: str = "thing.happened") -> Emitted:
    return Emitted(aggregate_type="thing", aggregate_id=aggregate, type=kind, payload={})


async def emit(db: Database, *told: Emitted) -> None:
    async with db.work() as work:
        work.emit(*told)


async def log_of(db: Database) -> list[Event]:
    async with db.reader() as reader:
        assert await events.gap(reader) is None
        return await events.after(reader, 0, 1_000)


async def open_wallets(db: Database, *owners: str) -> None:
    async with db.work() as work:
        await ledger.open_accounts(
            work,
            [ledger.account(Code.WALLET, who, "INR") for who in owners]
            + [ledger.account(Code.CLEARING, "upi", "INR")],
        )


async def post(db: Database, *transfers: Transfer) -> list[Result]:
    async with db.work() as work:
        return [outcome.result for outcome in await ledger.post(work, transfers)]


def move(name: str, debit: UUID, credit: UUID, amount: int, **more: object) -> Transfer:
    return Transfer(id=derived("test", name), debit=debit, credit=credit, amount=amount, **more)


async def test_a_connection_sees_its_own_cell_and_nothing_else(cells: Pair, url: str) -> None:
    owner = await asyncpg.connect(url)
    try:
        await owner.execute(
            "CREATE TABLE public.left_behind (); GRANT USAGE ON SCHEMA public TO hundi_app;"
            " GRANT SELECT ON public.left_behind TO hundi_app"
        )
    finally:
        await owner.close()
    for number, one in enumerate(cells):
        async with one.reader() as reader:
            assert await reader.value("SHOW search_path") == f"cell{number}"
            with pytest.raises(asyncpg.UndefinedTableError):
                await reader.value("SELECT count(*) FROM left_behind")


async def test_the_watch_sees_a_row_that_was_written_anew_with_its_own_values(
    cells: Pair, url: str
) -> None:
    """The second runs of three folders lean on it."""
    await put_to_use(cells[0])
    watch = await Beside.open(url, 0)
    try:
        assert await watch.changed() == set()
        await emit(cells[1], event())
        assert await watch.changed() == set()
        await emit(cells[0], event())
        assert await watch.changed() == {"event", "event_head"}
        async with cells[0].work() as work:
            await work.execute("UPDATE event_cursor SET seq = seq")
        assert await watch.changed() == {"event_cursor"}
        assert await watch.changed() == set()
    finally:
        await watch.owner.close()


async def test_numbers_are_dense_in_each_cell_while_both_are_written(cells: Pair) -> None:
    await asyncio.gather(*(emit(one, event(UUID(int=n))) for n in range(20) for one in cells))
    for one in cells:
        told = await log_of(one)
        assert [e.seq for e in told] == list(range(1, 21))
        assert {e.sequence for e in told} == {1}


async def test_ids_carry_their_cell(cells: Pair) -> None:
    for number, one in enumerate(cells):
        await emit(one, event())
        async with one.work() as work:
            assert cell_of(work.ids.new()) == number
        assert [cell_of(e.id) for e in await log_of(one)] == [number]


class Heard:
    """A bus that keeps what it was given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.any = asyncio.Event()

    async def publish(self, told: list[Event]) -> None:
        self.events += told
        self.any.set()


async def test_a_notify_wakes_the_other_cell_s_tail_and_brings_it_nothing(cells: Pair) -> None:
    """One channel a database: the tail of cell 1 looks, and finds only what is its own."""
    zero, one = cells
    heard, nudged = Heard(), asyncio.Event()
    task = asyncio.create_task(tail.follow(one, heard))
    try:
        async with asyncio.timeout(20), one.listen(events.CHANNEL, nudged.set):
            while not heard.any.is_set():  # the tail takes its place "from now": until it hears
                await emit(one, event(kind="of cell 1"))
                with suppress(TimeoutError):
                    await asyncio.wait_for(heard.any.wait(), 0.2)
            nudged.clear()
            for _ in range(30):
                await emit(zero, event(kind="of cell 0"))
            await nudged.wait()
            heard.any.clear()
            await emit(one, event(kind="last"))
            while heard.events[-1].type != "last":
                await heard.any.wait()
                heard.any.clear()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert {e.type for e in heard.events} == {"of cell 1", "last"}
    numbers = [e.seq for e in heard.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_consumer_stands_somewhere_else_in_each_cell(cells: Pair) -> None:
    zero, one = cells
    async with zero.work() as first:
        assert await cursors.hold(first, "relay") == 0
        await cursors.move(first, "relay", 7)
        async with one.work() as second:
            assert await cursors.hold(second, "relay") == 0
            await cursors.move(second, "relay", 3)
    for db, seq in ((zero, 7), (one, 3)):
        async with db.reader() as reader:
            assert await cursors.positions(reader) == {"relay": seq}


async def test_a_transfer_finds_no_account_of_the_other_cell(cells: Pair) -> None:
    zero, one = cells
    await open_wallets(zero, "alice", "only in cell 0")
    await open_wallets(one, "alice")
    assert await post(zero, move("fund", CLEARING, STRANGER, 500)) == [Result.CREATED]
    assert await post(one, move("fund", CLEARING, ALICE, 500)) == [Result.CREATED]
    assert (
        await post(
            one,
            move("out", ALICE, STRANGER, 5),
            move("in", STRANGER, ALICE, 5),
            move("hold", STRANGER, ALICE, 5, mode=Mode.PENDING),
        )
        == [Result.ACCOUNT_NOT_FOUND] * 3
    )
    async with zero.reader() as reader:
        assert (await ledger.balances(reader, [STRANGER]))[STRANGER].available == 500
    async with one.reader() as reader:
        assert (await ledger.balances(reader, [ALICE]))[ALICE].available == 500


async def test_one_transfer_s_id_moves_once_in_each_cell(cells: Pair) -> None:
    for one in cells:
        await open_wallets(one, "alice", "bob")

    async def once(number: int) -> Result:
        async def do(work: Work) -> Result:
            amount = 500 + number
            return (await ledger.post(work, [move("same", CLEARING, ALICE, amount)]))[0].result

        return await cells[number].transact(do)

    results = await asyncio.gather(*(once(number) for number in (0, 1, 0, 1)))
    assert [sorted(results[n::2]) for n in (0, 1)] == [[Result.CREATED, Result.EXISTS]] * 2
    for number, one in enumerate(cells):
        async with one.reader() as reader:
            assert (await ledger.balances(reader, [ALICE]))[ALICE].available == 500 + number


async def test_a_hold_of_the_other_cell_cannot_be_ended(cells: Pair) -> None:
    zero, one = cells
    for db in cells:
        await open_wallets(db, "alice", "bob")
        await post(db, move("fund", CLEARING, ALICE, 500))
    await post(zero, move("h", ALICE, BOB, 100, mode=Mode.PENDING))
    ended = Transfer(id=derived("test", "v"), mode=Mode.VOID, pending_id=derived("test", "h"))
    assert await post(one, ended) == [Result.PENDING_TRANSFER_NOT_FOUND]
    assert await post(zero, ended) == [Result.CREATED]


async def test_a_key_is_claimed_in_each_cell_by_itself(cells: Pair) -> None:
    zero, one = cells
    claim = Claim(scope="asha", key="k", verb="pay", body=idempotency_rules.body_hash({"a": 1}))
    async with zero.work() as first:
        assert await idempotency.claim(first, [claim]) == [Fresh()]
        async with one.work() as second:  # in one cell it would wait here for the first's COMMIT
            assert await idempotency.claim(second, [claim]) == [Fresh()]
            await idempotency.answer(second, [(claim, "of cell 1")])
        await idempotency.answer(first, [(claim, "of cell 0")])
    for number, db in enumerate(cells):
        async with db.work() as work:
            assert await idempotency.claim(work, [claim]) == [Replay(answer=f"of cell {number}")]


async def test_the_jobs_of_one_cell_do_not_wait_for_those_of_the_other(cells: Pair) -> None:
    claim = Claim(scope="asha", key="k", verb="pay", body=idempotency_rules.body_hash({}))
    for db in cells:
        await open_wallets(db, "alice", "bob")
        await post(
            db, move("fund", CLEARING, ALICE, 500),
            move("h", ALICE, BOB, 100, mode=Mode.PENDING, expires_at=NOW_MS + 1),
        )  # fmt: skip
        async with db.work() as work:
            await idempotency.claim(work, [claim, replace(claim, key="l")])
            await idempotency.answer(work, [(claim, 1)])
            await trust_store.use(work, bytes(32), NOW_MS // 1000 + 1)
        db.clock.advance(TTL_MS + 1)
    zero, one = cells
    ticks = {
        "ledger.expiry": ledger_jobs.tick,
        "idempotency.reaper": idempotency_jobs.tick,
        "trust.reaper": trust_jobs.tick,
    }
    async with zero.work() as busy:
        for name, tick in ticks.items():
            assert await busy.try_lock(f"{name}:{zero.cell}")
            assert await tick(zero) == 0, name
            assert await tick(one) >= 1, name
    for name, tick in ticks.items():
        assert await tick(zero) >= 1, name


async def test_the_list_of_stopped_allowances_is_numbered_in_each_cell(cells: Pair) -> None:
    zero, one = cells
    async with zero.work() as first:
        await journals.revoke(first, [b"a" * 32])
        async with asyncio.timeout(3), one.work() as second:
            await journals.revoke(second, [b"b" * 32])
    for db, aid in ((zero, b"a" * 32), (one, b"b" * 32)):
        async with db.reader() as reader:
            assert await journals.revocations(reader, [b"a" * 32, b"b" * 32]) == {aid: 1}


async def test_an_advisory_lock_is_the_cell_s_own(cells: Pair) -> None:
    zero, one = cells
    async with zero.work() as first, one.work() as second, zero.work() as third:
        assert await first.try_lock("a job")
        assert await second.try_lock("a job")
        assert not await third.try_lock("a job")
        await first.lock("another")
        async with asyncio.timeout(3):
            await second.lock("another")


def test_advisory_locks_are_taken_by_the_cell_alone() -> None:
    """They are one space a database: a name without the cell would stop the other's jobs."""
    home = Path(inspect.getfile(server_core)).parent
    found = {p.name for p in home.rglob("*.py") if re.search(r"pg_(try_)?advisory", p.read_text())}
    # The migrations of one database take turns, whichever the cell.
    assert found == {"work.py", "migrate.py"}


async def test_both_cells_are_migrated_and_neither_asks_for_the_other(url: str) -> None:
    assert await migrate.upgrade(url, cell=0) == await migrate.upgrade(url, cell=1)
    owner = await asyncpg.connect(url)
    try:
        crossing = await owner.fetch(
            "SELECT c.conname FROM pg_constraint c JOIN pg_class a ON a.oid = c.conrelid"
            " JOIN pg_class b ON b.oid = c.confrelid WHERE a.relnamespace <> b.relnamespace"
        )
        assert crossing == []
    finally:
        await owner.close()
