"""One's own payments, read by one's own index in a table that is nearly all another's."""

import asyncpg
import pytest

from server_core.db.work import Database
from server_core.ids import derived
from server_core.payments import service, store
from tests.server_core.payments.conftest import World

MANY = """INSERT INTO intent (id, purpose, state, payer, payee, amount, currency, description,
  attempts, created_at, expires_at, updated_at, capture_method, captured, capturable, refunded)
SELECT uuidv7(), 'payment', 'succeeded', $1, $2, 1, 'INR', '', 1, g, g, g, 'automatic', 1, 0, 0
FROM generate_series(1, 3000) g"""


class Planning:
    """A Reader that asks how a statement is run, by the plan that is cached for any value."""

    def __init__(self, work) -> None:
        self.work, self.plan = work, ""

    async def rows(self, sql: str, *values: object) -> list:
        await self.work.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await self.work.execute(f"PREPARE page AS {sql}")
        said = ", ".join(str(one) if isinstance(one, int) else f"'{one}'" for one in values)
        lines = await self.work.rows(f"EXPLAIN EXECUTE page({said})")
        self.plan = "\n".join(row[0] for row in lines)
        await self.work.execute("DEALLOCATE page")
        return []


@pytest.mark.parametrize("first", [True, False])
async def test_a_page_reads_no_other_party_s_payments(
    world: World, db: Database, database_url: str, first: bool
) -> None:
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    try:
        for side in range(2):
            await owner.execute(MANY, derived("payer", side), derived("payee", side))
        await owner.execute("ANALYZE intent")
    finally:
        await owner.close()
    before = None if first else derived("somewhere")
    async with db.work() as work:
        planning = Planning(work)
        await store.of_party(planning, world.asha.id, before=before, limit=21)
    assert "Index Scan Backward using intent_payee" in planning.plan
    assert "Index Scan Backward using intent_payer" in planning.plan
    assert "Filter" not in planning.plan
    assert "intent_pkey" not in planning.plan


async def test_sent_and_received_by_pages_each_once(world: World) -> None:
    made = []
    for step in range(7):
        intent = await world.ask(by=world.ravi if step % 2 else world.asha)
        made.append(await world.confirm(world.pay(intent)) if step % 2 else intent)
    found, before = [], None
    while True:
        async with world.db.reader() as reader:
            some = await service.mine(reader, world.actor(world.asha), before=before, limit=3)
        found += some
        if len(some) < 3:
            break
        before = some[-1].id
    assert sorted(found, key=lambda one: one.id) == sorted(made, key=lambda one: one.id)
    assert [one.id for one in found] == sorted((one.id for one in made), reverse=True)
