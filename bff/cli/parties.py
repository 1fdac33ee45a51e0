"""`hundi party`: add people and shops."""

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.errors import invalid
from server_core.ids import public
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.rails import store as rail_store
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


@party.command()
@click.argument("name")
@click.argument("rails", nargs=-1)
@waits
async def prefer(*, name: str, rails: tuple[str, ...]) -> None:
    """Have NAME (pty_… or its exact name) paid over RAILS where they do well; none forgets it."""
    async with open_core(Settings.read()) as core:
        payee = await party_of(core, name)
        for rail in rails:
            if rail not in core.rails.by_name:
                known = ", ".join(sorted(core.rails.by_name))
                raise invalid("rails.unknown", f"{rail!r} is not connected: {known}", field="rails")
        async with core.db.work() as work:
            await rail_store.prefer(work, payee.id, rails)
    click.echo(f"{public('pty', payee.id)} {', '.join(rails) or 'no preference'}")
