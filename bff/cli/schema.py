"""`hundi schema`: the GraphQL contract, and the next migration."""

import click

from bff.cli.waiting import waits
from graph.schema import sdl
from server_core.app import TABLES, open_core
from server_core.db import migrate
from server_core.settings import Settings


@click.group()
def schema() -> None:
    """Contracts that are kept in the repository."""


@schema.command()
def graphql() -> None:
    """Print the GraphQL schema; graph/schema.graphql holds what this prints."""
    click.echo(sdl(), nl=False)


@schema.command()
@click.option("--message", "-m", required=True)
@waits
async def revise(message: str) -> None:
    """Write the next migration from what the tables declare and the database has."""
    settings = Settings.read()
    async with open_core(settings) as core:
        await migrate.revise(core.database_url, TABLES, message)
