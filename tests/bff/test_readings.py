"""Scraping is cheap: every reading reaches its rows by an index, and each says what is there."""

import json

import pytest
from graphql import parse

from bff import readings
from bff.guard import root_fields
from server_core.db.work import Database, Reader
from server_core.events import lag
from server_core.events import store as events
from server_core.payments import standing as payments
from server_core.refunds import store as refunds
from server_core.strays import store as strays
from server_core.telemetry import metrics
from server_core.terminals import store as terminals
from server_core.webhooks import messages
from tests.conftest import NOW_MS


class Explaining(Reader):
    """Keeps the plan of each statement that it runs."""

    plans: list[str]

    async def _explain(self, sql: str, values: tuple[object, ...]) -> None:
        found = await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
        self.plans.append(found if isinstance(found, str) else json.dumps(found))

    async def rows(self, sql, *values):
        await self._explain(sql, values)
        return await super().rows(sql, *values)

    async def row(self, sql, *values):
        await self._explain(sql, values)
        return await super().row(sql, *values)

    async def value(self, sql, *values):
        await self._explain(sql, values)
        return await super().value(sql, *values)


async def test_every_reading_goes_by_an_index(db: Database) -> None:
    async with db.reader() as plain:
        reader = Explaining(plain._connection, plain.now_ms)
        reader.plans = []
        await readings._standing(reader)
        await lag.read(reader)
        await events.head(reader)
        await payments.open_by_rail(reader, 10)
    assert len(reader.plans) == 9
    for plan in reader.plans:
        assert "Seq Scan" not in plan, plan
    for index in ("attempt_open", "intent_conflicted", "stray_check", "refund_check",
                  "webhook_message_due", "terminal_synced"):  # fmt: skip
        assert sum(index in plan for plan in reader.plans) == 1, index


async def test_each_reading_counts_what_waits(db: Database) -> None:
    old = NOW_MS - 90_000

    async def put(table: str, **values: object) -> None:
        """A row with what the reading asks for; every other column as empty as it may be."""
        async with db.work() as work:
            found = await work.rows(
                "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type"
                " FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0"
                " AND a.attnotnull AND NOT a.attisdropped",
                table,
            )
            empty = {"uuid": "gen_random_uuid()", "text": "''", "bigint": "1", "boolean": "false",
                     "bytea": "gen_random_uuid()::text::bytea", "smallint": "0",
                     "jsonb": "'[]'"}  # fmt: skip
            columns = {row["name"]: empty[row["type"]] for row in found} | {
                name: f"'{value}'" for name, value in values.items()
            }
            await work.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
            )

    await put("refund", state="pending", next_check_at=NOW_MS, created_at=old)
    await put("refund", state="failed", next_check_at=NOW_MS, created_at=1)  # only watched
    await put("refund", state="succeeded", created_at=1)
    await put("stray", next_check_at=NOW_MS, found_at=old)
    await put("stray", found_at=1)
    for state in ("conflicted", "succeeded"):
        await put("intent", state=state, captured=0, capturable=0, refunded=0)
    two_days = readings.SILENT_MS
    await put("terminal", state="active", synced_at=NOW_MS - two_days - 5_000)
    await put("terminal", state="active", synced_at=NOW_MS - two_days + 5_000)
    await put("terminal", state="revoked", synced_at=1)
    endpoint, off = "0" * 31 + "1", "0" * 31 + "2"
    await put("webhook_endpoint", id=endpoint, state="enabled", rest_until=0)
    await put("webhook_endpoint", id=off, state="disabled", rest_until=0)
    for place, (whose, state, due) in enumerate(
        [
            (endpoint, "pending", old), (endpoint, "pending", NOW_MS + 1),
            (endpoint, "delivered", 1), (off, "pending", 1),
        ]
    ):  # fmt: skip
        await put("webhook_message", endpoint=whose, seq=place, state=state, due_at=due)
    async with db.reader() as reader:
        assert await refunds.standing(reader, 10) == (1, old)
        assert await strays.standing(reader, 10) == (1, old)
        assert await payments.count_conflicted(reader, 10) == 1
        assert await terminals.standing(reader, NOW_MS - two_days, 10) == (
            1, NOW_MS - two_days - 5_000,
        )  # fmt: skip
        assert await messages.standing(reader, 10) == (1, old)
        standing = await readings._standing(reader)
    assert standing[metrics.REFUNDS_OLDEST] == standing[metrics.WEBHOOKS_OLDEST] == 90
    assert standing[metrics.SYNC_OLDEST] == two_days / 1000 + 5


async def test_what_is_rolled_back_is_not_counted(db: Database) -> None:
    series = metrics.counter(metrics.CONFIRMS, "of this test")

    async def count(*, fails: bool) -> None:
        async with db.work() as work:
            work.count(metrics.CONFIRMS, "of this test")
            if fails:
                raise ValueError

    with pytest.raises(ValueError):
        await count(fails=True)
    assert series._value.get() == 0
    await count(fails=False)
    assert series._value.get() == 1
    metrics.CONFIRMS.remove("of this test")


def test_fragments_that_spread_each_other_twice_are_walked_once() -> None:
    """Walked at each place, thirty of them would be a billion."""
    text = "{ ...f0 }" + "".join(
        f" fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(30)
    )
    document = parse(f"{text} fragment f30 on Query {{ a: viewer {{ role }} }}")
    assert root_fields(document, document.definitions[0]) == {"viewer"}
