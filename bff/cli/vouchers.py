"""`hundi voucher`: what of offline money waits for an operator, and how it ends."""

import click

from bff.cli.hex_bytes import AID, HASH, TERMINAL
from bff.cli.operator import OPERATOR
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.settings import Settings
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import Bearer

_SAID = {
    Bearer.PAYER: "paid to the shop from the payer's wallet",
    Bearer.HOUSE: "paid to the shop by the house",
    Bearer.SHOP: "refused: the shop bears it",
}


@click.group()
def voucher() -> None:
    """Offline payments that wait for an operator."""


@voucher.command()
@waits
async def waiting() -> None:
    """List late claims and voids that wait for you, the oldest first (100 of each)."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        late = await vouchers.late_waiting(reader, 100)
        voids = await vouchers.voids_waiting(reader, 100)
    for one in late:
        click.echo(
            f"late  {one.h.hex()}  {one.amount / 100:.2f} {one.currency}"
            f"  terminal {one.terminal.hex()}"
        )
    for void in voids:
        click.echo(f"void  {void.h.hex()}  terminal {void.terminal.hex()}  {void.reason}")
    if not late and not voids:
        click.echo("nothing waits")


@voucher.command()
@click.argument("h", type=HASH, metavar="VOUCHER")
@click.argument("bearer", type=click.Choice([str(one) for one in Bearer]))
@waits
async def decide(*, h: bytes, bearer: str) -> None:
    """End the shop's claim of late VOUCHER: who bears it.

    payer: its wallet, into which the money went back at the close. house: we do. shop: refused.
    """
    async with open_core(Settings.read()) as core:
        done = await vouchers.decide(core.db, OPERATOR, h, Bearer(bearer))
    click.echo(f"{done.h.hex()} is {_SAID[Bearer(bearer)]}")


@voucher.command("approve-void")
@click.argument("h", type=HASH, metavar="VOUCHER")
@click.argument("terminal", type=TERMINAL)
@waits
async def approve_void(*, h: bytes, terminal: bytes) -> None:
    """Let TERMINAL's void of VOUCHER through, although it may not give that much back by itself."""
    async with open_core(Settings.read()) as core:
        state = await vouchers.approve_void(core.db, OPERATOR, h, terminal)
    said = {
        "applied": "the payer has the money back",
        "waiting": "the payer gets the money back as soon as the shop's account covers it",
    }
    click.echo(f"{h.hex()}: {said[state]}")


@voucher.command()
@click.argument("aid", type=AID, metavar="ALLOWANCE")
@waits
async def freeze(*, aid: bytes) -> None:
    """Stop ALLOWANCE (32 hex digits): every terminal refuses it from its next sync on."""
    async with open_core(Settings.read()) as core:
        await vouchers.freeze_one(core.db, OPERATOR, aid)
    click.echo(f"{aid.hex()} is frozen")


@voucher.command()
@click.argument("aid", type=AID, metavar="ALLOWANCE")
@waits
async def unfreeze(*, aid: bytes) -> None:
    """Let ALLOWANCE go: its payer may take another. Terminals go on refusing this one."""
    async with open_core(Settings.read()) as core:
        await vouchers.unfreeze(core.db, OPERATOR, aid)
    click.echo(f"{aid.hex()} is no longer frozen")
