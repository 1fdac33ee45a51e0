"""What an account was at any past time, by recorded and by effective time."""

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from devices.clock import ManualClock
from server_core.db.work import Database
from server_core.ids import derived
from server_core.ledger import service
from server_core.ledger.model import MAX_TOTAL, Code, Mode, Result, Transfer, account_id

BANK, SHOP = account_id(Code.CLEARING, "upi", "INR"), account_id(Code.WALLET, "shop", "INR")


async def open_both(db: Database) -> None:
    async with db.work() as work:
        await service.open_accounts(
            work,
            [
                service.account(Code.CLEARING, "upi", "INR"),
                service.account(Code.WALLET, "shop", "INR"),
            ],
        )


async def pay(db: Database, name: object, amount: int, **more: object) -> Result:
    one = Transfer(id=derived("past", name), debit=BANK, credit=SHOP, amount=amount, **more)
    async with db.work() as work:
        return (await service.post(work, [one]))[0].result


async def balance(db: Database, at: int, *, effective: bool = False) -> int:
    async with db.reader() as reader:
        found = await service.balance_at(reader, SHOP, at, effective=effective)
    assert found is not None
    return found.balance


async def test_a_balance_at_every_past_moment_is_what_it_was_then(db: Database) -> None:
    """Over more than two milestones, with several moves in one millisecond."""
    await open_both(db)
    clock, history, total = db.clock, [], 0
    start = clock.now_ms()
    for step in range(150):
        if step % 3:
            clock.advance(7)
        assert await pay(db, step, step + 1) is Result.CREATED
        total += step + 1
        history.append((clock.now_ms(), total))
    expected = dict(history)
    assert await balance(db, start - 1) == 0
    for at, stood in expected.items():
        assert await balance(db, at) == stood
        assert await balance(db, at + 6) == stood


async def test_time_never_runs_backwards_in_an_account(db: Database) -> None:
    """A server whose clock is behind records after what is already there, not before it."""
    await open_both(db)
    start = db.clock.now_ms()
    await pay(db, "ahead", 10)
    db.clock.set_wall(start - 60_000)
    await pay(db, "behind", 5)
    assert await balance(db, start - 1) == 0
    assert await balance(db, start) == 15


async def test_expiry_is_judged_by_the_recorded_time(db: Database) -> None:
    """Else a clock that is behind could post a hold after an entry that is past its expiry."""
    await open_both(db)
    start = db.clock.now_ms()
    await pay(db, "hold", 10, mode=Mode.PENDING, expires_at=start + 10)
    db.clock.advance(10)
    await pay(db, "later", 1)
    db.clock.set_wall(start)
    late = Transfer(
        id=derived("past", "post"), mode=Mode.POST, pending_id=derived("past", "hold"), amount=10
    )
    async with db.work() as work:
        assert (await service.post(work, [late]))[0].result is Result.PENDING_TRANSFER_EXPIRED


async def test_effective_time_moves_a_late_record_to_its_own_day(db: Database) -> None:
    await open_both(db)
    monday = db.clock.now_ms()
    await pay(db, "monday", 100)
    db.clock.advance(86_400_000)
    await pay(db, "back-dated", 10, effective_at=monday - 5)
    await pay(db, "post-dated", 3, effective_at=monday + 999_999_999)
    now = db.clock.now_ms()
    assert await balance(db, monday) == 100
    assert await balance(db, monday, effective=True) == 110
    assert await balance(db, monday - 6, effective=True) == 0
    assert await balance(db, now) == 113
    assert await balance(db, now, effective=True) == 110
    assert await balance(db, monday + 999_999_999, effective=True) == 113


async def test_an_unknown_account_has_no_past(db: Database) -> None:
    async with db.reader() as reader:
        assert await service.balance_at(reader, derived("nobody"), 1) is None


async def test_a_past_balance_reads_by_keys_however_long_the_history(db: Database) -> None:
    await open_both(db)
    for step in range(70):
        await pay(db, step, 1)
    async with db.reader() as reader:
        for other in ("sort", "bitmapscan", "seqscan"):  # which a handful of rows may be worth
            await reader.rows(f"SET LOCAL enable_{other} = off")
        plan = await reader.rows(
            "EXPLAIN SELECT m.version FROM entry m WHERE m.account = $1 AND m.version % 64 = 0"
            " AND m.recorded_at <= $2 ORDER BY m.recorded_at DESC, m.version DESC LIMIT 1",
            SHOP,
            db.clock.now_ms(),
        )
    assert "Index Only Scan Backward using entry_milestone" in "\n".join(row[0] for row in plan)


@pytest.mark.parametrize("currency", ["JPY", "INR", "KWD"])
async def test_a_ledger_of_any_decimals_holds_to_the_last_minor_unit(
    db: Database, currency: str
) -> None:
    bank = account_id(Code.CLEARING, "upi", currency)
    wallet = account_id(Code.WALLET, "a", currency)

    async def move(name: str, debit: UUID, credit: UUID, amount: int) -> Result:
        one = Transfer(
            id=derived(name, currency), debit=debit, credit=credit, amount=amount, ledger=currency
        )
        async with db.work() as work:
            return (await service.post(work, [one]))[0].result

    async with db.work() as work:
        await service.open_accounts(
            work,
            [
                service.account(Code.CLEARING, "upi", currency),
                service.account(Code.WALLET, "a", currency),
            ],
        )
    assert await move("all", bank, wallet, MAX_TOTAL) is Result.CREATED
    assert await move("one more", bank, wallet, 1) is Result.OVERFLOWS
    assert await move("too much", bank, wallet, MAX_TOTAL + 1) is Result.AMOUNT_MUST_BE_POSITIVE
    assert await move("out", wallet, bank, MAX_TOTAL) is Result.CREATED
    assert await move("empty", wallet, bank, 1) is Result.OVERFLOWS


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=some.lists(
        some.tuples(
            some.integers(0, 50), some.integers(1, 9), some.none() | some.integers(-100, 100)
        ),
        min_size=1,
        max_size=30,
    ),
    asked=some.integers(-120, 1600),
)
async def test_past_balances_are_sums_over_what_was_recorded_or_effective_by_then(
    db: Database, steps: list[tuple[int, int, int | None]], asked: int
) -> None:
    name = f"{steps}{asked}"
    shop = account_id(Code.WALLET, name, "INR")
    db.clock = ManualClock(start := 1_790_000_000_000)
    async with db.work() as work:
        await service.open_accounts(
            work,
            [
                service.account(Code.CLEARING, name, "INR"),
                service.account(Code.WALLET, name, "INR"),
            ],
        )
    made = []
    for step, (wait, amount, shift) in enumerate(steps):
        db.clock.advance(wait)
        now = db.clock.now_ms()
        when = None if shift is None else now + shift
        one = Transfer(
            id=derived(name, step), debit=account_id(Code.CLEARING, name, "INR"), credit=shop,
            amount=amount, effective_at=when,
        )  # fmt: skip
        async with db.work() as work:
            await service.post(work, [one])
        made.append((now, when if when is not None else now, amount))
    at = start + asked
    async with db.reader() as reader:
        recorded = await service.balance_at(reader, shop, at)
        effective = await service.balance_at(reader, shop, at, effective=True)
    assert recorded is not None
    assert effective is not None
    assert recorded.balance == sum(amount for then, _, amount in made if then <= at)
    assert effective.balance == sum(amount for _, then, amount in made if then <= at)
