"""`hundi ussd`: numbers of feature phones that pay from a wallet."""

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.settings import Settings
from server_core.ussd import service


@click.group()
def ussd() -> None:
    """Feature phones that pay by USSD."""


@ussd.command()
@click.option("--party", required=True, help="The person's id (pty_…) or exact name.")
@click.option("--number", required=True, help="The phone's number, +91…")
@waits
async def link(party: str, number: str) -> None:
    """Let NUMBER pay for PARTY. Whoever dials from it first chooses its PIN: check whose SIM it is."""
    async with open_core(Settings.read()) as core:
        found = await party_of(core, party)
        async with core.db.work() as work:
            await service.link(work, core.fields, OPERATOR, party=found.id, number=number)
    click.echo("linked: its user dials once and chooses a PIN")


@ussd.command()
@click.argument("number")
@waits
async def unlink(number: str) -> None:
    """End NUMBER: sold, lost or ported."""
    async with open_core(Settings.read()) as core, core.db.work() as work:
        await service.unlink(work, core.fields, OPERATOR, number=number)
    click.echo("unlinked")


@ussd.command()
@click.argument("number")
@waits
async def unlock(number: str) -> None:
    """End the lock-out of NUMBER; its user chooses a new PIN. Check who asks."""
    async with open_core(Settings.read()) as core, core.db.work() as work:
        await service.unlock(work, core.fields, OPERATOR, number=number)
    click.echo("unlocked: its user dials once and chooses a new PIN")
