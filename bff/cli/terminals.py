"""`hundi terminal`: pair a shop's terminal, see which are silent, end one."""

from pathlib import Path

import click

from bff.cli.hex_bytes import TERMINAL
from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from offline import qr
from server_core.app import open_core
from server_core.ids import public
from server_core.settings import Settings
from server_core.terminals import service as terminals
from server_core.terminals.model import State
from server_core.vouchers import service as vouchers

_HOUR_MS = 3600 * 1000
_MINUTE_MS = 60 * 1000


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
@click.option("--state", type=click.Choice([str(one) for one in State]), help="Only those.")
@click.option("--after", type=TERMINAL, help="Go on after this terminal.")
@waits
async def fleet(state: str | None, after: bytes | None) -> None:
    """Say how terminals stand, 100 at a time: last sync, rows not sent, stops not applied, money unsent."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        found = await vouchers.fleet(
            reader, OPERATOR, state=State(state) if state else None, after=after or b"", limit=100
        )
        now_ms = reader.now_ms
    for one in found:
        t, ago = one.terminal, (now_ms - one.synced_at) // _MINUTE_MS
        unsent = " ".join(f"{amount / 100:.2f} {ccy}" for ccy, amount in one.unsent.items()) or "0"
        click.echo(
            f"{t.id.hex()}  {t.state:<11}  {public('pty', t.party)}  synced {ago} min ago"
            f"  {one.behind} rows behind  {one.unapplied} stops behind  unsent {unsent}"
        )
    if len(found) == 100:
        click.echo(f"go on with --after {found[-1].terminal.id.hex()}")


@terminal.command()
@click.argument("identity", type=TERMINAL, metavar="TERMINAL")
@waits
async def release(identity: bytes) -> None:
    """End the quarantine of TERMINAL. One that still writes its second history is back in it soon."""
    async with open_core(Settings.read()) as core, core.db.work() as work:
        await terminals.release(work, OPERATOR, identity)
    click.echo(f"{identity.hex()} is active")


@terminal.command()
@click.argument("identity", type=TERMINAL, metavar="TERMINAL")
@waits
async def revoke(identity: bytes) -> None:
    """End TERMINAL (8 hex digits, as `hundi terminal fleet` prints it). It may still drain."""
    async with open_core(Settings.read()) as core, core.db.work() as work:
        await terminals.revoke(work, OPERATOR, identity)
    click.echo(f"{identity.hex()} is revoked")
