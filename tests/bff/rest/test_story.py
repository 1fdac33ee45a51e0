"""The story of a payment that failed over, was refunded in part, and was told to a merchant."""

from contextlib import AsyncExitStack

from bff.cli import payment_story
from bff.cli.payment_facts import gather
from server_core.actor import Actor, Role
from server_core.payments import service
from server_core.payments.model import Confirm, Create, Method
from server_core.payments.queues import Confirmations
from server_core.rails.calls import RailSettings
from server_core.rails.connected import Rails
from server_core.rails.upi import UpiRail
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from tests.bff.rest.conftest import Door

QUICK = RailSettings(connect_s=1)


async def test_a_failed_over_payment_reads_as_a_story(door: Door, upi_core: str) -> None:
    core = door.core
    async with AsyncExitStack() as opened:
        urls = {"upi": "http://127.0.0.1:9", "upi.2": upi_core}
        rails = Rails(
            by_name={
                name: await opened.enter_async_context(UpiRail.connect(url, settings=QUICK))
                for name, url in urls.items()
            },
            entropy=Undrawn(),
        )
        async with core.db.work() as work:
            await service.open_rail_account(work, "upi.2", "INR")
        queue = Confirmations(core.db, rails)
        shop = Actor(party=door.shop.id, role=Role.MERCHANT)
        asha = Actor(party=door.asha.id, role=Role.PAYER)
        made = await service.create(
            core.db,
            Create(actor=shop, key=door.key(), payee=door.shop.id, amount=15_000, currency="INR"),
        )
        await service.confirm(
            core.db, queue, rails,
            Confirm(
                actor=asha, key=door.key(), intent=made.id, method=Method.UPI,
                instrument="asha.rao@okbank",
            ),
        )  # fmt: skip
        ask = Ask(actor=shop, key=door.key(), intent=made.id, amount=5_000)
        await refunds.refund(core.db, rails, ask)
        await queue.close()
    facts = await gather(core, made.id)
    told = "\n".join(payment_story.story(facts))
    in_order = [
        "succeeded", "Asha pays Chai Point",
        "asked for (INR 150.00)",
        "sent to the rail", "#1 pay by upi over upi", "from as***@okbank: not_sent",
        "set aside: clearing:upi → payable of Chai Point",
        "the next one is tried", "#2 pay by upi over upi.2", "succeeded, code 00, reference ",
        "ledger: let go", "set aside: clearing:upi.2 → payable of Chai Point",
        "paid", "moved for good",
        "a refund is asked for (INR 50.00)", "payable of Chai Point → clearing:upi.2",
        "the refund has arrived",
    ]  # fmt: skip
    at = 0
    for words in in_order:
        assert words in told[at:], f"{words!r} is not where it belongs in\n{told}"
        at = told.index(words, at)
    assert "asha.rao" not in told
    assert payment_story.summary(facts)[0].endswith("INR 150.00  succeeded")


class Undrawn:
    """Every draw is the middle: nothing is tried for curiosity."""

    def bytes(self, n: int) -> bytes:
        return bytes(n)

    def below(self, n: int) -> int:
        return n // 2

    def unit(self) -> float:
        return 0.5
