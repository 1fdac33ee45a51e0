"""`hundi session`: sign somebody in from the command line, until they have a passkey."""

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from server_core.actor import Role
from server_core.app import open_core
from server_core.sessions import service as sessions
from server_core.settings import Settings

_ROLES = [Role.PAYER.value, Role.MERCHANT.value, Role.GUARDIAN.value, Role.DELEGATE.value]


@click.group()
def session() -> None:
    """Sign-in by the operator."""


@session.command()
@click.option("--party", required=True, help="A party's id (pty_…) or its exact name.")
@click.option("--role", type=click.Choice(_ROLES), required=True)
@click.option("--aal", type=click.IntRange(1, 2), default=1, help="2 counts as a second factor.")
@waits
async def issue(party: str, role: str, aal: int) -> None:
    """Print a new session's token; send it as `Authorization: Bearer …`."""
    async with open_core(Settings.read()) as core:
        found = await party_of(core, party)
        async with core.db.work() as work:
            token = await sessions.issue(
                work, core.entropy, OPERATOR, party=found.id, role=Role(role), assurance=aal
            )
    click.echo(token)


@session.command()
@click.option("--party", required=True, help="A party's id (pty_…) or its exact name.")
@click.option("--role", type=click.Choice(_ROLES), required=True)
@click.option("--aal", type=click.IntRange(1, 2), default=1, help="2 counts as a second factor.")
@waits
async def link(party: str, role: str, aal: int) -> None:
    """Print a one-time code (10 minutes) for `POST /session/link`, and where a browser opens it."""
    settings = Settings.read()
    async with open_core(settings) as core:
        found = await party_of(core, party)
        async with core.db.work() as work:
            code = await sessions.link(
                work, core.entropy, OPERATOR, party=found.id, role=Role(role), assurance=aal
            )
    click.echo(code)
    click.echo(f"in a browser: {settings.origin}/web/link/#{code}", err=True)
