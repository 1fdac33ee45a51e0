"""`hundi terminal`: pair a shop's terminal."""

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.settings import Settings
from server_core.terminals import service as terminals


@click.group()
def terminal() -> None:
    """Shop terminals."""


@terminal.command()
@click.option("--merchant", required=True, help="The merchant's id (pty_…) or its exact name.")
@waits
async def pair(merchant: str) -> None:
    """Print a one-time pairing code (10 minutes) with the root key's fingerprint."""
    async with open_core(Settings.read()) as core:
        found = await party_of(core, merchant)
        async with core.db.work() as work:
            code = await terminals.pair(work, core.entropy, core.trust, OPERATOR, merchant=found.id)
    click.echo(code)
