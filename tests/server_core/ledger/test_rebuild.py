"""The journal, replayed by code that decides nothing, gives every entry and every balance."""

from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from server_core.db.work import Database
from server_core.ids import derived
from server_core.ledger import rebuild, service
from server_core.ledger.model import Code, Finding, Mode, Transfer, account_id

BANK, SHOP = account_id(Code.CLEARING, "upi", "INR"), account_id(Code.WALLET, "shop", "INR")


async def differences(db: Database) -> list[str]:
    async with db.snapshot() as reader:
        return [one.row async for one in rebuild.differences(reader) if isinstance(one, Finding)]


async def post(db: Database, *transfers: Transfer) -> None:
    async with db.work() as work:
        await service.open_accounts(
            work,
            [
                service.account(Code.CLEARING, "upi", "INR"),
                service.account(Code.WALLET, "shop", "INR"),
            ],
        )
        await service.post(work, transfers)


def hold(name: object, amount: int) -> Transfer:
    return Transfer(
        id=derived("hold", name), mode=Mode.PENDING, debit=BANK, credit=SHOP, amount=amount
    )


def end(name: object, of: UUID, mode: Mode, amount: int = 0, *, final: bool = True) -> Transfer:
    return Transfer(id=derived(mode, name), mode=mode, pending_id=of, amount=amount, final=final)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    some.lists(
        some.tuples(
            some.sampled_from(["single", "hold", "post", "part", "void"]), some.integers(1, 20)
        ),
        max_size=25,
    ),
    some.integers(),
)
async def test_replaying_gives_what_was_posted(
    db: Database, steps: list[tuple[str, int]], salt: int
) -> None:
    holds: list[UUID] = []
    for n, (what, amount) in enumerate(steps):
        name = (salt, n, what, amount)
        if what == "single":
            await post(
                db, Transfer(id=derived("one", name), debit=BANK, credit=SHOP, amount=amount)
            )
        elif what == "hold":
            await post(db, hold(name, amount))
            holds.append(derived("hold", name))
        elif holds and what == "void":
            await post(db, end(name, holds.pop(), Mode.VOID))
        elif holds:
            await post(db, end(name, holds[-1], Mode.POST, amount, final=what == "post"))
    assert await differences(db) == []


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE transfer SET amount = amount + 1 WHERE mode = 'single'", "entry"),
        ("UPDATE entry SET debits_posted = debits_posted + 1 WHERE debits_posted > 0", "entry"),
        ("UPDATE account SET credits_posted = credits_posted + 7 WHERE code = 'wallet'", "account"),
        ("UPDATE account SET version = version + 1 WHERE code = 'wallet'", "account"),
        ("DELETE FROM entry WHERE version = 2", "entry"),
        ("DELETE FROM transfer WHERE mode = 'single'", "entry"),
        ("UPDATE transfer SET pending_id = NULL WHERE mode = 'post'", "entry"),
    ],
)
async def test_a_row_that_was_altered_is_named(
    db: Database, database_url: str, statement: str, names: str
) -> None:
    one = hold("h", 10)
    await post(db, one, Transfer(id=derived("s"), debit=BANK, credit=SHOP, amount=3))
    await post(db, end("p", one.id, Mode.POST, 4))
    assert await differences(db) == []
    owner = await asyncpg.connect(database_url, server_settings={"search_path": db.cell})
    try:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(statement)
    finally:
        await owner.close()
    found = await differences(db)
    assert found
    assert all(row.startswith(names) for row in found)
