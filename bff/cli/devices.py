"""`hundi devices`: a payer's devices, and the tier that an operator gives one."""

from datetime import UTC, datetime

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from devices.keystore.port import Tier
from server_core.app import open_core
from server_core.ids import parse, public
from server_core.linking import service as linking
from server_core.settings import Settings


@click.group()
def devices() -> None:
    """Payers' devices."""


@devices.command("list")
@click.argument("party")
@waits
async def list_devices(party: str) -> None:
    """List what PARTY (pty_… or its exact name) linked, the oldest first (100)."""
    async with open_core(Settings.read()) as core:
        owner = await party_of(core, party)
        async with core.db.reader() as reader:
            found = await linking.of_party(reader, OPERATOR, owner.id)
    for one in found:
        ended = f"  revoked {_day(one.revoked_at)}" if one.revoked_at is not None else ""
        click.echo(
            f"{public('dev', one.id)}  {one.tier}  linked {_day(one.linked_at)}{ended}  {one.label}"
        )
    if not found:
        click.echo("no device is linked")


@devices.command()
@click.argument("device")
@click.argument("name", metavar="TIER", type=click.Choice([str(one) for one in Tier]))
@click.option("--evidence", required=True, help="What the tier stands on; kept in the event.")
@waits
async def tier(*, device: str, name: str, evidence: str) -> None:
    """Say how well the key of DEVICE (dev_…) is kept: hardware_counter, tee or software.

    New allowances are bound by it; those that are out stay as they were signed.
    """
    async with open_core(Settings.read()) as core:
        identity = parse("dev", device, field="device")
        async with core.db.work() as work:
            done, new = await linking.set_tier(work, OPERATOR, identity, name, evidence=evidence)
    click.echo(f"{public('dev', done.id)} is {done.tier}" + ("" if new else ", as it was"))


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
