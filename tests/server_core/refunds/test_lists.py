"""Refunds page by page: of one instant too, by an index, and only one's own."""

import pytest

from server_core.actor import SYSTEM
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.refunds import service, store
from server_core.refunds.model import Refund
from tests.server_core.payments.conftest import OPERATOR, World
from tests.server_core.refunds.test_book import back, paid, refunded


async def walked(world: World, page) -> list[Refund]:
    found: list[Refund] = []
    before = None
    while True:
        async with world.db.reader() as reader:
            some = await page(reader, before=before, limit=2)
        found += some
        if len(some) < 2:
            return found
        before = (some[-1].created_at, some[-1].id)


async def test_refunds_of_one_instant_are_walked_each_once(world: World) -> None:
    """Their ids are derived from keys, so that neither id nor time alone orders them."""
    intents = [await paid(world), await paid(world)]
    made = {}
    for step in range(9):
        if step == 5:
            world.db.clock.advance(1)
        one = await refunded(world, back(world, intents[step % 2], 10 + step))
        assert isinstance(one, Refund)
        made[one.id] = one
    newest = sorted(made.values(), key=lambda one: (one.created_at, one.id), reverse=True)
    for party in (world.asha, world.shop):
        actor = world.actor(party)
        mine = await walked(world, lambda r, actor=actor, **at: service.mine(r, actor, **at))
        assert mine == newest
        of_one = await walked(
            world,
            lambda r, actor=actor, **at: service.of_payment(r, actor, intents[0].id, **at),
        )
        assert of_one == [one for one in newest if one.intent == intents[0].id]


async def test_only_the_two_sides_and_the_house_see_them(world: World) -> None:
    intent = await paid(world)
    await refunded(world, back(world, intent, 10))
    ravi = world.actor(world.ravi)
    async with world.db.reader() as reader:
        assert await service.mine(reader, ravi, before=None, limit=5) == []
        with pytest.raises(DomainError, match="no such payment intent"):
            await service.of_payment(reader, ravi, intent.id, before=None, limit=5)
        for house in (OPERATOR, SYSTEM):
            assert await service.mine(reader, house, before=None, limit=5) == []
            seen = await service.of_payment(reader, house, intent.id, before=None, limit=5)
            assert len(seen) == 1


async def test_a_paid_payment_without_a_payer_is_nobody_else_s_and_so_are_its_refunds(
    world,
) -> None:
    intent = await paid(world)
    await refunded(world, back(world, intent, 10))
    async with world.db.work() as work:
        await work.execute("UPDATE intent SET payer = NULL")
        await work.execute("UPDATE refund SET payer = NULL")
        ravi = world.actor(world.ravi)
        with pytest.raises(DomainError, match=r"payments\.unknown"):
            await service.of_payment(work, ravi, intent.id, before=None, limit=5)


async def test_one_s_own_refund_to_oneself_stands_once(world: World) -> None:
    """Of a top-up who pays and who is paid is the same."""
    intent = await paid(world)
    made = await refunded(world, back(world, intent, 10))
    assert isinstance(made, Refund)
    async with world.db.work() as work:
        await work.execute("UPDATE refund SET payer = payee WHERE id = $1", made.id)
    async with world.db.reader() as reader:
        found = await service.mine(reader, world.actor(world.shop), before=None, limit=5)
    assert [one.id for one in found] == [made.id]


@pytest.mark.parametrize("page", [store.of_party, store.of_intent])
async def test_a_page_is_read_by_an_index_in_its_order(world: World, db: Database, page) -> None:
    asked = []

    class Planning:
        async def rows(self, sql: str, *values: object) -> list:
            asked.append(await reader.rows(f"EXPLAIN {sql}", *values))
            return []

    async with db.reader() as reader:
        await page(Planning(), world.shop.id, before=None, limit=21)
    [plan] = asked
    text = "\n".join(row[0] for row in plan)
    used = {name for name in ("refund_payee", "refund_payer", "refund_intent") if name in text}
    wanted = {"refund_intent"} if page is store.of_intent else {"refund_payee", "refund_payer"}
    assert used == wanted, text
    assert text.count("Index Scan Backward") == len(wanted), text
    assert "Seq Scan" not in text
