"""The ledger on a real PostgreSQL: what is posted, what is refused, and what never happens."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from devices.clock import ManualClock, SystemClock
from server_core.db.batch import Batch
from server_core.db.work import Database, Work
from server_core.ids import derived
from server_core.ledger import audit, service
from server_core.ledger.model import Code, Mode, Outcome, Result, Transfer, account_id

ALICE, BOB, BANK = (account_id(Code.WALLET, who, "INR") for who in ("alice", "bob", "carol"))
CLEARING = account_id(Code.CLEARING, "upi", "INR")


def move(name: str, debit: UUID, credit: UUID, amount: int, **more: object) -> Transfer:
    return Transfer(id=derived("test", name), debit=debit, credit=credit, amount=amount, **more)


def end(name: str, pending: str, mode: Mode, amount: int = 0, **more: object) -> Transfer:
    return Transfer(
        id=derived("test", name),
        mode=mode,
        amount=amount,
        pending_id=derived("test", pending),
        **more,
    )


async def post(db: Database, *transfers: Transfer) -> list[Result]:
    async with db.work() as work:
        return [outcome.result for outcome in await service.post(work, transfers)]


@pytest.fixture(autouse=True)
async def _accounts(db: Database) -> None:
    async with db.work() as work:
        await service.open_accounts(
            work,
            [service.account(Code.WALLET, who, "INR") for who in ("alice", "bob", "carol")]
            + [
                service.account(Code.CLEARING, "upi", "INR"),
                service.account(Code.WALLET, "d", "USD"),
            ],
        )
    assert await post(db, move("fund", CLEARING, ALICE, 10_000)) == [Result.CREATED]


@pytest.fixture(autouse=True)
async def _books_are_right(db: Database, _accounts: None):
    yield
    async with db.snapshot() as reader:
        assert [one for one in await audit.findings(reader) if one.fatal] == []


async def available(db: Database, account: UUID) -> int:
    async with db.reader() as reader:
        return (await service.balances(reader, [account]))[account].available


async def test_a_transfer_moves_money_once(db: Database) -> None:
    once = move("t", ALICE, BOB, 300)
    assert await post(db, once) == [Result.CREATED]
    assert await post(db, once, once) == [Result.EXISTS, Result.EXISTS]
    assert (await available(db, ALICE), await available(db, BOB)) == (9_700, 300)


async def test_the_same_id_with_other_fields_is_refused(db: Database) -> None:
    await post(db, move("t", ALICE, BOB, 300))
    assert await post(db, move("t", ALICE, BOB, 301)) == [Result.EXISTS_WITH_DIFFERENT_FIELDS]


async def test_a_refusal_is_bound_to_its_id(db: Database) -> None:
    poor = move("t", BOB, ALICE, 1)
    assert await post(db, poor) == [Result.EXCEEDS_FUNDS]
    await post(db, move("u", ALICE, BOB, 500))
    assert await post(db, poor) == [Result.ID_ALREADY_FAILED]
    assert await available(db, BOB) == 500


@pytest.mark.parametrize(
    ("transfer", "result"),
    [
        (move("x", ALICE, BOB, 0), Result.AMOUNT_MUST_BE_POSITIVE),
        (move("x", ALICE, BOB, -5), Result.AMOUNT_MUST_BE_POSITIVE),
        (move("x", ALICE, ALICE, 5), Result.ACCOUNTS_MUST_BE_DIFFERENT),
        (move("x", ALICE, UUID(int=7), 5), Result.ACCOUNT_NOT_FOUND),
        (
            move("x", ALICE, account_id(Code.WALLET, "d", "USD"), 5),
            Result.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER,
        ),
        (move("x", ALICE, BOB, 10_001), Result.EXCEEDS_FUNDS),
        (move("x", CLEARING, BOB, 2**63 - 1), Result.OVERFLOWS),
        (end("x", "nothing", Mode.POST, 5), Result.PENDING_TRANSFER_NOT_FOUND),
        (end("x", "fund", Mode.POST, 5), Result.PENDING_TRANSFER_NOT_PENDING),
    ],
)
async def test_refusals_change_nothing(db: Database, transfer: Transfer, result: Result) -> None:
    assert await post(db, transfer) == [result]
    assert (await available(db, ALICE), await available(db, BOB)) == (10_000, 0)


class TestHolds:
    async def test_a_hold_takes_what_is_available_and_posts_in_parts(self, db: Database) -> None:
        assert await post(db, move("h", ALICE, BOB, 1_000, mode=Mode.PENDING)) == [Result.CREATED]
        assert (await available(db, ALICE), await available(db, BOB)) == (9_000, 0)
        parts = [end("p1", "h", Mode.POST, 300, final=False), end("p2", "h", Mode.POST, 200)]
        assert await post(db, *parts) == [Result.CREATED, Result.CREATED]
        assert (await available(db, ALICE), await available(db, BOB)) == (9_500, 500)

    async def test_a_hold_resolves_once(self, db: Database) -> None:
        await post(db, move("h", ALICE, BOB, 1_000, mode=Mode.PENDING))
        results = await post(
            db, end("v", "h", Mode.VOID), end("p", "h", Mode.POST, 5), end("w", "h", Mode.VOID)
        )
        already = Result.PENDING_TRANSFER_ALREADY_VOIDED
        assert results == [Result.CREATED, already, already]

    async def test_a_hold_posts_at_most_its_amount(self, db: Database) -> None:
        await post(db, move("h", ALICE, BOB, 1_000, mode=Mode.PENDING))
        results = await post(
            db, end("a", "h", Mode.POST, 800, final=False), end("b", "h", Mode.POST, 201)
        )
        assert results == [Result.CREATED, Result.EXCEEDS_PENDING_TRANSFER_AMOUNT]

    async def test_expiry_is_exact_without_its_job(self, db: Database) -> None:
        clock = db.clock
        assert isinstance(clock, ManualClock)
        until = clock.now_ms() + 1_000
        await post(db, move("h", ALICE, BOB, 1_000, mode=Mode.PENDING, expires_at=until))
        clock.advance(999)
        assert await post(db, end("e", "h", Mode.EXPIRE)) == [Result.PENDING_TRANSFER_NOT_EXPIRED]
        clock.advance(1)
        assert await post(db, end("p", "h", Mode.POST, 1)) == [Result.PENDING_TRANSFER_EXPIRED]
        assert await available(db, ALICE) == 9_000
        async with db.work() as work:
            assert await service.expire_due(work) == 1
        async with db.work() as work:
            assert await service.expire_due(work) == 0
        assert await available(db, ALICE) == 10_000

    async def test_a_second_batch_sees_what_the_first_posted(self, db: Database) -> None:
        await post(db, move("h", ALICE, BOB, 1_000, mode=Mode.PENDING))
        await post(db, end("a", "h", Mode.POST, 1_000, final=False))
        assert await post(db, end("v", "h", Mode.VOID)) == [Result.PENDING_TRANSFER_ALREADY_POSTED]


class TestChains:
    async def test_all_or_nothing(self, db: Database) -> None:
        chain = [
            move("c1", ALICE, BOB, 5_000, linked=True),
            move("c2", BOB, BANK, 5_001, linked=True),
            move("c3", ALICE, BANK, 1),
        ]
        assert await post(db, *chain) == [
            Result.LINKED_EVENT_FAILED,
            Result.EXCEEDS_FUNDS,
            Result.LINKED_EVENT_FAILED,
        ]
        assert await available(db, ALICE) == 10_000

    async def test_a_whole_chain_repeats_as_it_was(self, db: Database) -> None:
        chain = [move("c1", ALICE, BOB, 5_000, linked=True), move("c2", BOB, BANK, 4_000)]
        assert await post(db, *chain) == [Result.CREATED, Result.CREATED]
        assert await post(db, *chain) == [Result.EXISTS, Result.EXISTS]

    async def test_a_repeat_in_a_chain_that_fails_is_told_its_own_answer(
        self, db: Database
    ) -> None:
        done = [move("c1", ALICE, BOB, 5_000, linked=True), move("c2", BOB, BANK, 4_000)]
        await post(db, *done)
        changed = [done[0], move("c2", BOB, BANK, 4_001)]
        assert await post(db, *changed) == [Result.EXISTS, Result.EXISTS_WITH_DIFFERENT_FIELDS]
        failed = [move("f1", ALICE, BOB, 1, linked=True), move("f2", BOB, BANK, 9_999)]
        assert await post(db, *failed) == [Result.LINKED_EVENT_FAILED, Result.EXCEEDS_FUNDS]
        async with db.work() as work:
            again = await service.post(work, failed)
        assert [(one.result, one.first_failure) for one in again] == [
            (Result.ID_ALREADY_FAILED, Result.LINKED_EVENT_FAILED),
            (Result.ID_ALREADY_FAILED, Result.EXCEEDS_FUNDS),
        ]

    async def test_what_no_row_can_hold_binds_nobody_in_its_chain(self, db: Database) -> None:
        wrong = [move("c1", ALICE, BOB, 5, linked=True), move("c2", BOB, BANK, 0)]
        assert await post(db, *wrong) == [
            Result.LINKED_EVENT_FAILED, Result.AMOUNT_MUST_BE_POSITIVE,
        ]  # fmt: skip
        mended = [wrong[0], move("c2", BOB, BANK, 5)]
        assert await post(db, *mended) == [Result.CREATED, Result.CREATED]

    async def test_an_open_chain_is_refused_and_not_bound(self, db: Database) -> None:
        assert await post(db, move("c1", ALICE, BOB, 1, linked=True)) == [Result.LINKED_CHAIN_OPEN]
        assert await post(db, move("c1", ALICE, BOB, 1)) == [Result.CREATED]

    async def test_a_failed_chain_leaves_earlier_transfers_of_the_batch(self, db: Database) -> None:
        batch = [
            move("a", ALICE, BOB, 100),
            move("b", BOB, BANK, 50, linked=True),
            move("c", BOB, BANK, 51),
            move("d", BOB, BANK, 100),
        ]
        assert await post(db, *batch) == [
            Result.CREATED, Result.LINKED_EVENT_FAILED, Result.EXCEEDS_FUNDS, Result.CREATED,
        ]  # fmt: skip


class TestConcurrency:
    async def test_balances_under_concurrent_transfers(self, db: Database) -> None:
        """120 transfers of 100 at once from a wallet of 10,000: exactly 100 pass."""

        async def run(work: Work, commands) -> list[Outcome]:
            return await service.post(work, commands)

        queue = Batch(db, run, limit=7, lanes=4)
        outcomes = await asyncio.gather(
            *(queue.submit(move(f"n{i}", ALICE, (BOB, BANK)[i % 2], 100)) for i in range(120))
        )
        await queue.close()
        results = [outcome.result for outcome in outcomes]
        assert results.count(Result.CREATED) == 100
        assert results.count(Result.EXCEEDS_FUNDS) == 20
        assert await available(db, ALICE) == 0
        assert await available(db, BOB) + await available(db, BANK) == 10_000

    async def test_one_id_from_many_connections_moves_once(self, db: Database) -> None:
        async def once() -> Result:
            async def do(work: Work) -> Result:
                return (await service.post(work, [move("same", ALICE, BOB, 10)]))[0].result

            return await db.transact(do)

        results = await asyncio.gather(*(once() for _ in range(10)))
        assert sorted(results) == [Result.CREATED] + [Result.EXISTS] * 9
        assert await available(db, BOB) == 10

    async def test_one_id_for_different_accounts_moves_once(self, db: Database) -> None:
        async def once(credit: UUID) -> Result:
            async def do(work: Work) -> Result:
                return (await service.post(work, [move("same", CLEARING, credit, 10)]))[0].result

            return await db.transact(do)

        results = await asyncio.gather(*(once((ALICE, BOB, BANK)[i % 3]) for i in range(9)))
        assert results.count(Result.CREATED) == 1
        assert await available(db, CLEARING) == 10_010

    async def test_opposite_transfers_do_not_deadlock(self, db: Database) -> None:
        await post(db, move("seed", ALICE, BOB, 5_000))

        async def one(i: int) -> Result:
            pair = (ALICE, BOB) if i % 2 else (BOB, ALICE)
            return (await post(db, move(f"o{i}", *pair, 1)))[0]

        results = await asyncio.gather(*(one(i) for i in range(40)))
        assert set(results) == {Result.CREATED}


@pytest.mark.parametrize("amount", [-5, 2**63, 0])
@pytest.mark.parametrize("mode", [Mode.SINGLE, Mode.PENDING, Mode.POST])
async def test_amounts_out_of_range_are_outcomes(db: Database, mode: Mode, amount: int) -> None:
    one = move("odd", ALICE, BOB, amount, mode=mode, pending_id=derived("test", "h"))
    assert await post(db, one, move("fine", ALICE, BOB, 1)) == [
        Result.AMOUNT_MUST_BE_POSITIVE,
        Result.CREATED,
    ]


class TestVerify:
    """Books that sum up and are wrong all the same: each is named."""

    @pytest.mark.parametrize(
        ("sql", "law"),
        [
            ("UPDATE transfer SET ledger = 'USD' WHERE amount = 300", "of one ledger"),
            (
                "UPDATE transfer SET debit = credit, credit = debit WHERE mode = 'post'",
                "hold's own accounts",
            ),
            ("UPDATE account SET floor = 9000 WHERE id = '{bob}'", "below its floor"),
        ],
    )
    async def test_it_names_the_law(
        self, db: Database, database_url: str, sql: str, law: str
    ) -> None:
        await post(
            db, move("t", ALICE, BOB, 300), move("h", ALICE, BOB, 50, mode=Mode.PENDING),
            end("p", "h", Mode.POST, 50),
        )  # fmt: skip
        undo = (
            "UPDATE transfer SET ledger = 'INR'; UPDATE transfer SET debit = credit, credit = debit"
            " WHERE mode = 'post' AND debit <> (SELECT debit FROM transfer p WHERE p.id ="
            " transfer.pending_id); UPDATE account SET floor = 0 WHERE code = 'wallet'"
        )
        owner = await asyncpg.connect(database_url, server_settings={"search_path": db.cell})
        try:
            await owner.execute("SET session_replication_role = replica")
            await owner.execute(sql.format(bob=BOB))
            async with db.snapshot() as reader:
                assert any(law in one.law for one in await audit.findings(reader))
            await owner.execute(undo)
        finally:
            await owner.close()


class TestGuards:
    """What the database itself refuses, whoever asks."""

    @pytest.mark.parametrize("table", ["transfer", "entry", "event"])
    @pytest.mark.parametrize("verb", ["UPDATE {} SET recorded_at = 0", "DELETE FROM {}"])
    async def test_history_cannot_be_rewritten_by_the_application(
        self, db: Database, table: str, verb: str
    ) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.work() as work:
                await work.execute(verb.format(table))

    @pytest.mark.parametrize("table", ["transfer", "entry"])
    async def test_nor_by_the_owner(self, db: Database, database_url: str, table: str) -> None:
        owner = await asyncpg.connect(database_url, server_settings={"search_path": db.cell})
        try:
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(f"UPDATE {table} SET recorded_at = 0")
        finally:
            await owner.close()

    async def test_an_account_keeps_what_it_is(self, db: Database) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.work() as work:
                await work.execute("UPDATE account SET owner = 'mallory'")


async def test_limits_change_without_blocking_what_improves(db: Database) -> None:
    async with db.work() as work:
        await service.set_limits(work, ALICE, floor=20_000, cap=None, closed=False)
        await service.set_limits(work, BOB, floor=0, cap=50, closed=False)
    results = await post(
        db,
        move("in", CLEARING, ALICE, 1),
        move("out", ALICE, BANK, 1),
        move("cap", CLEARING, BOB, 51),
    )
    assert results == [Result.CREATED, Result.EXCEEDS_FUNDS, Result.EXCEEDS_CAP]


async def test_a_closed_account_takes_and_gives_nothing(db: Database) -> None:
    await post(db, move("h", ALICE, BOB, 10, mode=Mode.PENDING))
    async with db.work() as work:
        await service.set_limits(work, BOB, floor=0, cap=None, closed=True)
    assert await post(db, move("t", ALICE, BOB, 1), end("v", "h", Mode.VOID)) == [
        Result.ACCOUNT_CLOSED,
        Result.CREATED,
    ]


async def test_a_statement_tells_what_changed_newest_first(db: Database) -> None:
    await post(db, move("a", ALICE, BOB, 100), move("h", ALICE, BOB, 50, mode=Mode.PENDING))
    await post(db, end("p", "h", Mode.POST, 20))
    async with db.reader() as reader:
        lines = await service.statement(reader, ALICE, before=None, limit=2)
        assert [(line.change, line.balance) for line in lines] == [(-20, 9_880), (-100, 9_900)]
        rest = await service.statement(reader, ALICE, before=lines[-1].version, limit=10)
        assert [(line.change, line.balance) for line in rest] == [(10_000, 10_000)]


async def test_what_ends_a_hold_is_of_the_holds_own_ledger(db: Database) -> None:
    """A caller, or the expiry job, need not know it, and cannot say another one."""
    house, wallet = (account_id(code, "d", "KWD") for code in (Code.CLEARING, Code.WALLET))
    async with db.work() as work:
        await service.open_accounts(
            work, [service.account(code, "d", "KWD") for code in (Code.CLEARING, Code.WALLET)]
        )
    more = {"mode": Mode.PENDING, "ledger": "KWD"}
    await post(db, move("k1", house, wallet, 5, expires_at=db.clock.now_ms() + 5, **more))
    await post(db, move("k2", house, wallet, 5, **more))
    db.clock.advance(5)
    async with db.work() as work:
        assert await service.expire_due(work) == 1
    assert await post(db, end("k3", "k2", Mode.POST, 5, ledger="XAU")) == [Result.CREATED]
    assert await post(db, end("k3", "k2", Mode.POST, 5)) == [Result.EXISTS]


async def test_nothing_is_voided_after_expiry(db: Database) -> None:
    hold = move("h", ALICE, BOB, 5, mode=Mode.PENDING, expires_at=db.clock.now_ms() + 5)
    await post(db, hold)
    db.clock.advance(5)
    assert await post(db, end("v", "h", Mode.VOID)) == [Result.PENDING_TRANSFER_EXPIRED]
    assert await post(db, end("x", "h", Mode.EXPIRE)) == [Result.CREATED]


async def test_what_is_no_hold_is_named_so_in_its_own_batch_too(db: Database) -> None:
    assert await post(db, move("s", ALICE, BOB, 1), end("v", "s", Mode.VOID)) == [
        Result.CREATED,
        Result.PENDING_TRANSFER_NOT_PENDING,
    ]


async def test_a_hold_that_is_committed_while_its_post_waits_can_be_posted(db: Database) -> None:
    """Its other account was not locked when the wait began: it is locked late, not forgotten."""
    held = asyncio.Event()

    async def make_hold() -> None:
        async with db.work() as work:
            await service.post(work, [move("h", CLEARING, ALICE, 5, mode=Mode.PENDING)])
            held.set()
            while not await waits_for_a_lock(db):
                await SystemClock().sleep(0.01)

    async def post_it() -> list[Result]:
        await held.wait()
        return await post(db, move("s", ALICE, BOB, 1), end("p", "h", Mode.POST, 5))

    _, results = await asyncio.wait_for(asyncio.gather(make_hold(), post_it()), 20)
    assert results == [Result.CREATED, Result.CREATED]


async def waits_for_a_lock(db: Database) -> bool:
    async with db.reader() as reader:
        return bool(await reader.value("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"))


@pytest.mark.parametrize(
    "change",
    [
        "side = CASE side WHEN 'debit' THEN 'credit' ELSE 'debit' END", "owner = owner || 'x'",
        "code = CASE code WHEN 'wallet' THEN 'payable' ELSE 'wallet' END",
        "moved_at = moved_at + 86400000",
    ],
)  # fmt: skip
async def test_an_account_that_was_changed_no_longer_answers_to_its_id(
    db: Database, database_url: str, change: str
) -> None:
    await post(db, move("t", ALICE, BOB, 5))
    async with db.snapshot() as reader:
        assert [one async for one in audit.misnamed(reader)] == []
    owner = await asyncpg.connect(database_url, server_settings={"search_path": db.cell})
    try:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(f"UPDATE account SET {change} WHERE id = $1", ALICE)
    finally:
        await owner.close()
    async with db.snapshot() as reader:
        [found] = [one async for one in audit.misnamed(reader)]
    assert found.row == f"account {ALICE}"
