"""Books that an older release wrote come through the migration whole, named and sealed."""

from uuid import UUID

import asyncpg
from alembic import command
from sqlalchemy import Connection, MetaData, text

from devices.clock import ManualClock
from devices.entropy import SeededEntropy, SystemEntropy
from server_core.db import migrate
from server_core.db.work import Database
from server_core.events import store as events
from server_core.ids import derived
from server_core.ledger import audit, rebuild
from server_core.ledger.model import Finding
from server_core.seals import jobs, keys, service
from tests.conftest import Postgres

TRANSFERS = 1_203


async def old_books(url: str) -> None:
    """A database at revision 0002, as release 0.1 left it, with one account paying another."""

    def to_0002(connection: Connection, cell: int) -> None:
        connection.execute(text(migrate._ROLE))
        connection.execute(text(f"CREATE SCHEMA {migrate.schema_of(cell)}"))
        connection.execute(
            text(f"GRANT USAGE ON SCHEMA {migrate.schema_of(cell)} TO {migrate.APP_ROLE}")
        )
        command.upgrade(migrate._config(connection, MetaData()), "0002")

    await migrate._with_cell(url, 0, to_0002)
    bank, shop = derived("bank"), derived("shop")
    owner = await asyncpg.connect(url, server_settings={"search_path": "cell0"})
    try:
        for account, side, taken, given in (
            (bank, "debit", TRANSFERS, 0), (shop, "credit", 0, TRANSFERS),
        ):  # fmt: skip
            await owner.execute(
                "INSERT INTO account (id, ledger, code, owner, side, version, debits_posted,"
                " credits_posted, created_at) VALUES ($1, 'INR', 'clearing', 'x', $2, $3, $4, $5,"
                " 0)",
                account, side, TRANSFERS, taken, given,
            )  # fmt: skip
        ids = [derived("old", n) for n in range(TRANSFERS)]
        await owner.execute(
            "INSERT INTO transfer (id, mode, result, debit, credit, amount, ledger, code,"
            " reference, final, linked, recorded_at) SELECT id, 'single', 'created', $2, $3, 1,"
            " 'INR', '', '', true, false, n FROM unnest($1::uuid[]) WITH ORDINALITY AS u(id, n)",
            ids, bank, shop,
        )  # fmt: skip
        for account, column in ((bank, "debits_posted"), (shop, "credits_posted")):
            await owner.execute(
                f"INSERT INTO entry (account, version, transfer, {column}, recorded_at,"
                f" debits_pending, credits_pending,"
                f" {'credits_posted' if column == 'debits_posted' else 'debits_posted'})"
                " SELECT $2, n, id, n, n, 0, 0, 0 FROM unnest($1::uuid[]) WITH ORDINALITY"
                " AS u(id, n)",
                ids, account,
            )  # fmt: skip
        await owner.execute(
            "INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version,"
            " payload, actor, recorded_at) VALUES (1, $1, 'x', $1, 1, 'x.y', 1, '{}', '{}', 0);"
            .replace("$1", f"'{UUID(int=1)}'")
            + "UPDATE event_head SET seq = 1"
        )  # fmt: skip
    finally:
        await owner.close()


async def test_old_books_are_named_journalled_and_sealed(postgres: Postgres) -> None:
    await migrate.make_database(postgres.url("old_books"), "old_books")
    url = postgres.url("old_books")
    await old_books(url)
    await migrate.upgrade(url)
    db = await Database.connect(
        url, clock=ManualClock(9_000), entropy=SystemEntropy(), flush=events.flush
    )
    key = keys.JournalKey(SeededEntropy(1).bytes(32))
    try:
        while await jobs.tick(db, key):
            pass
        async with db.snapshot() as reader:
            assert await audit.findings(reader) == []
            assert await events.gap(reader) is None
            assert [x async for x in rebuild.differences(reader) if isinstance(x, Finding)] == []
            found = [one async for one in service.findings(reader, key.public, "cell0")]
            assert found[-1] == TRANSFERS
            receipt = await service.receipt(reader, derived("old", 700))
            assert receipt.index == 700
    finally:
        await db.close()
