"""`hundi payments`: one payment as it stands, and the whole story of it."""

import click

from bff.cli import payment_story
from bff.cli.operator import OPERATOR
from bff.cli.payment_facts import Facts, gather
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.ids import parse, public
from server_core.payments import standing
from server_core.payments.model import Decision
from server_core.rails.doors import txn_id
from server_core.refunds import conflicts
from server_core.settings import Settings

_SAID = {
    Decision.TAKEN: "the rail owes it, nothing moved",
    Decision.WRITTEN_OFF: "the house paid it, the payee keeps it",
    Decision.TAKEN_BACK: "the payee gave it back",
}


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


@payments.command()
@click.argument("payment")
@click.argument("decision", type=click.Choice([str(one) for one in Decision]))
@waits
async def decide(*, payment: str, decision: str) -> None:
    """End the conflict of PAYMENT (pay_…), whose rail denies what it had confirmed.

    taken: the rail owes it after all. written_off: the house pays, the payee keeps it. taken_back: the
    payee gives it back, and the payment is canceled.
    """
    intent = parse("pay", payment)
    async with open_core(Settings.read()) as core:
        done = await core.db.transact(
            lambda work: conflicts.decide(work, OPERATOR, intent, Decision(decision))
        )
    click.echo(f"{payment} is {done.state}: {_SAID[Decision(decision)]}")
