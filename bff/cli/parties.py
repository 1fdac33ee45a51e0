"""`hundi party`: add people and shops."""

import click

from bff.cli.operator import OPERATOR
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.ids import public
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.settings import Settings


@click.group()
def party() -> None:
    """People and shops."""


@party.command()
@click.option("--name", required=True, help="1 to 32 bytes, as payers will see it.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), default="person")
@click.option("--mcc", default="0000", help="A merchant's category, such as 5411.")
@waits
async def add(name: str, kind: str, mcc: str) -> None:
    """Add a party with its account, and print its id."""
    async with open_core(Settings.read()) as core, core.db.work() as work:
        made = await parties.add(work, OPERATOR, kind=Kind(kind), name=name, mcc=mcc)
        identity = public("pty", made.id)
    click.echo(identity)
