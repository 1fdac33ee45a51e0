"""`hundi terminal`: pair a shop's terminal, see which are silent, end one."""

from pathlib import Path

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from offline import qr
from server_core.app import open_core
from server_core.ids import public
from server_core.settings import Settings
from server_core.terminals import service as terminals

_HOUR_MS = 3600 * 1000


@click.group()
def terminal() -> None:
    """Shop terminals."""


@terminal.command()
@click.option("--merchant", required=True, help="The merchant's id (pty_…) or its exact name.")
@click.option(
    "--png", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a QR code too."
)
@waits
async def pair(merchant: str, png: Path | None) -> None:
    """Print a one-time pairing code (10 minutes) with the root key's fingerprint."""
    async with open_core(Settings.read()) as core:
        found = await party_of(core, merchant)
        async with core.db.work() as work:
            code = await terminals.pair(work, core.entropy, core.trust, OPERATOR, merchant=found.id)
    if png is not None:
        _draw(png, code)
    click.echo(code)


def _draw(path: Path, text: str) -> None:
    path.write_bytes(qr.png(text))


@terminal.command()
@click.option("--hours", type=click.IntRange(min=0), default=48, help="For how long; 48.")
@waits
async def silent(hours: int) -> None:
    """List active terminals that have not synced for so long, the longest silent first (100)."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        found = await terminals.silent(reader, hours * _HOUR_MS, 100)
        now_ms = reader.now_ms
    for one, synced_at in found:
        ago = (now_ms - synced_at) // _HOUR_MS
        click.echo(f"{one.id.hex()}  of {public('pty', one.party)}  {ago} hours")


@terminal.command()
@click.argument("identity", metavar="TERMINAL")
@waits
async def revoke(identity: str) -> None:
    """End TERMINAL (8 hex digits, as `hundi terminal silent` prints it). It may still drain."""
    try:
        key = bytes.fromhex(identity)
    except ValueError:
        raise click.BadParameter("a terminal is named by 8 hex digits") from None
    async with open_core(Settings.read()) as core, core.db.work() as work:
        await terminals.revoke(work, OPERATOR, key)
    click.echo(f"{identity} is revoked")
