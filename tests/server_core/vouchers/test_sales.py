"""Statement lines of offline money say at which terminal it was paid, to its payer and its shop only."""

from graph.context import Context
from graph.schema import SCHEMA
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.ids import public
from server_core.vouchers import sales
from tests.server_core.vouchers.street import ACCEPTED

STATEMENT = """{ viewer { statement { edges { node {
  code change { minor } sale { terminal number signedAt payee { id } } } } } } }"""


async def statement(street, actor: Actor) -> list[dict]:
    context = Context(db=street.db, bus=None, rails=None, confirmations=None, actor=actor)
    said = await SCHEMA.execute(STATEMENT, context_value=context)
    assert not said.errors
    return [edge["node"] for edge in said.data["viewer"]["statement"]["edges"]]


def merchant(shop) -> Actor:
    return Actor(party=shop.terminal.party, role=Role.MERCHANT)


async def test_a_shop_reads_which_terminal_took_it(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    shop.accept(phone.pay(shop, 10_000), phone.pay(shop, 5_000))
    await shop.sync()
    lines = await statement(street, merchant(shop))
    assert [(line["code"], line["change"]["minor"], line["sale"]) for line in lines] == [
        (
            "voucher",
            amount,
            {
                "terminal": shop.terminal.id.hex(),
                "number": number,
                "signedAt": "2026-09-21T14:13:20+00:00",
                "payee": {"id": public("pty", shop.terminal.party)},
            },
        )
        for amount, number in (("5000", 2), ("10000", 1))
    ]


async def test_a_payer_reads_where_what_came_back_was_paid(street) -> None:
    actor = await street.payer()
    shop, phone = await street.shop(), await street.phone(actor)
    sold = phone.pay(shop, 10_000)
    shop.accept(sold)
    shop.void(sold)
    await shop.sync()
    back, set_aside = (await statement(street, actor))[:2]
    assert (back["code"], back["sale"]["terminal"]) == ("void", shop.terminal.id.hex())
    assert (set_aside["code"], set_aside["sale"]) == ("allowance", None)


async def test_of_two_with_one_number_each_reads_its_own(street) -> None:
    first, second, phone = await street.shop(), await street.shop(), await street.phone()
    twin = phone.clone()
    first.accept(phone.pay(first, 100))
    second.accept(twin.pay(second, 200))
    assert (await first.sync(), await second.sync()) == ([ACCEPTED], [Verdict.DOUBLE_SPEND])
    reference = f"{phone.allowance.aid.hex()}:1"
    payer = Actor(party=phone.allowance.party, role=Role.PAYER)
    stranger = await street.payer()
    async with street.db.reader() as reader:
        for who, terminal in (
            (merchant(first), first.terminal.id),
            (merchant(second), second.terminal.id),
            (payer, first.terminal.id),
            (merchant(await street.shop()), None),
            (stranger, None),
        ):
            found = await sales.of_references(reader, who, [reference, "", "zz:1", "aa:x"])
            assert [one.terminal.id for one in found.values()] == ([terminal] if terminal else [])
