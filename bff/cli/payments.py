"""`hundi payments`: one payment as it stands, and the whole story of it."""

import click

from bff.cli import payment_story
from bff.cli.payment_facts import Facts, gather
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.ids import parse, public
from server_core.payments import standing
from server_core.rails.doors import txn_id
from server_core.settings import Settings


@click.group()
def payments() -> None:
    """Payments, for whoever helps their payers."""


async def _facts(payment: str) -> Facts:
    async with open_core(Settings.read()) as core:
        return await gather(core, parse("pay", payment))


@payments.command()
@click.argument("payment")
@waits
async def show(*, payment: str) -> None:
    """Say how PAYMENT (pay_…) stands."""
    click.echo("\n".join(payment_story.summary(await _facts(payment))))


@payments.command()
@waits
async def unclear() -> None:
    """List payments of unknown outcome, then conflicted ones, the oldest first (50 of each)."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        attempts = await standing.unclear(reader, 50)
        intents = await standing.conflicted(reader, 50)
        now_ms = reader.now_ms
    for one in attempts:
        ago = (now_ms - one.started_at) // 60_000
        name = public("pay", one.intent)
        click.echo(
            f"{name}  #{one.number} {one.state} over {one.rail}  {ago} min  {txn_id(one.id)}"
        )
    for intent in intents:
        click.echo(f"{public('pay', intent.id)}  conflicted")


@payments.command()
@click.argument("payment")
@waits
async def trace(*, payment: str) -> None:
    """Tell all of PAYMENT (pay_…) in order: intent, route, attempts, ledger, refunds, webhooks."""
    click.echo("\n".join(payment_story.story(await _facts(payment))))
