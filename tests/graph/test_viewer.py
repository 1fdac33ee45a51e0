"""Balances, statements and payments are the viewer's own, paged, and no one else's."""

import pytest

from graph.context import Context
from graph.schema import SCHEMA
from server_core.errors import DomainError
from server_core.ids import public

STATEMENT = """query ($first: Int! = 20, $after: String, $currency: String! = "INR") { viewer {
  statement(first: $first, after: $after, currency: $currency) {
    edges { cursor node { code change { minor } balance { minor } paymentId recordedAt } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
PAYMENTS = """query ($first: Int! = 20, $after: String) { viewer { payments(first: $first, after: $after) {
  edges { cursor node { id payee { name } payer { name } } }
  pageInfo { hasNextPage endCursor } } } }"""


async def test_the_viewer_sees_who_it_is_and_what_it_has(world) -> None:
    said = await world.ask(
        world.asha,
        "{ viewer { role party { id name kind } balances { account"
        " posted { minor currency exponent } available { minor } } } }",
    )
    party = {"id": public("pty", world.asha.id), "name": "Asha", "kind": "PERSON"}
    money = {"minor": "100000", "currency": "INR", "exponent": 2}
    balance = {"account": "WALLET", "posted": money, "available": {"minor": "100000"}}
    assert said["viewer"] == {"role": "PAYER", "party": party, "balances": [balance]}


async def test_a_statement_is_paged_newest_first_without_loss(world) -> None:
    paid = [await world.bill(amount) for amount in (100, 200, 300, 400)]
    for intent in paid:
        await world.pay(world.asha, intent)
    lines, after = [], None
    for _ in range(3):
        page = (await world.ask(world.asha, STATEMENT, first=2, after=after))["viewer"]["statement"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        lines += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert page["pageInfo"]["hasNextPage"] is False
    assert [line["change"]["minor"] for line in lines] == ["-400", "-300", "-200", "-100", "100000"]
    assert [line["balance"]["minor"] for line in lines] == (
        ["99000", "99400", "99700", "99900", "100000"]
    )
    assert lines[0]["paymentId"] == public("pay", paid[-1].id)
    assert (lines[-1]["paymentId"], lines[-1]["code"]) == (None, "top_up")
    assert lines[0]["recordedAt"].endswith("+00:00")


async def test_a_page_is_one_to_a_hundred(world) -> None:
    for first in (0, -1, 101):
        with pytest.raises(DomainError) as caught:
            await world.ask(world.asha, STATEMENT, first=first)
        assert caught.value.code == "graphql.page_size"


@pytest.mark.parametrize("after", ["", "x", "é", "c3RhdGVtZW50IElOUjo", "c3RhdGVtZW50IElOUjotMQ"])
async def test_a_made_up_cursor_is_refused(world, after: str) -> None:
    for text in (STATEMENT, PAYMENTS):
        with pytest.raises(DomainError) as caught:
            await world.ask(world.asha, text, after=after)
        assert caught.value.code == "graphql.cursor"


async def test_a_cursor_fits_its_own_list_only(world) -> None:
    page = (await world.ask(world.asha, STATEMENT))["viewer"]["statement"]
    for text, more in ((PAYMENTS, {}), (STATEMENT, {"currency": "USD"})):
        with pytest.raises(DomainError):
            await world.ask(world.asha, text, after=page["pageInfo"]["endCursor"], **more)


async def test_payments_are_paged_and_both_sides_see_names(world) -> None:
    intents = []
    for amount in (100, 200, 300):
        intents.append(await world.bill(amount))
        world.core.clock.advance(1)
    await world.pay(world.asha, intents[1])
    seen, after = [], None
    for _ in range(3):
        page = (await world.ask(world.shop, PAYMENTS, first=1, after=after))["viewer"]["payments"]
        seen += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert [one["id"] for one in seen] == [public("pay", one.id) for one in reversed(intents)]
    assert [one["payer"] for one in seen] == [None, {"name": "Asha"}, None]
    assert {one["payee"]["name"] for one in seen} == {"Chai Point"}
    mine = (await world.ask(world.asha, PAYMENTS))["viewer"]["payments"]["edges"]
    assert [edge["node"]["id"] for edge in mine] == [public("pay", intents[1].id)]
    assert (await world.ask(world.ravi, PAYMENTS))["viewer"]["payments"]["edges"] == []


async def test_names_of_a_page_are_read_at_once(world) -> None:
    for amount in (100, 200, 300):
        await world.pay(world.asha, await world.bill(amount))
    asked = []

    class Counting(Context):
        async def _read_parties(self, ids):
            asked.append(ids)
            return await super()._read_parties(ids)

    core = world.core
    context = Counting(
        db=core.db, bus=core.bus, rails=core.rails, confirmations=core.confirmations,
        actor=world.actor(world.asha),
    )  # fmt: skip
    result = await SCHEMA.execute(PAYMENTS, context_value=context)
    assert len(result.data["viewer"]["payments"]["edges"]) == 3
    assert [set(ids) for ids in asked] == [{world.shop.id, world.asha.id}]


async def test_a_foreign_or_made_up_payment_is_not_there(world) -> None:
    intent = await world.bill()
    await world.pay(world.asha, intent)
    text = "query ($id: ID!) { payment(id: $id) { id } }"
    known = public("pay", intent.id)
    assert (await world.ask(world.asha, text, id=known))["payment"] == {"id": known}
    for stranger in (known, "pay_x", public("pty", intent.id), public("pay", world.ravi.id), "5"):
        assert (await world.ask(world.ravi, text, id=stranger))["payment"] is None
