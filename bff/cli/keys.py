"""`hundi keys`: the keys of sealed fields and of the issuer, their rotation, and what terminals are told."""

from datetime import UTC, datetime

import click

from bff.cli.waiting import waits
from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from devices.keystore import fields
from devices.keystore.field_ring import RING_MAX
from devices.keystore.fields import SoftwareFieldKeys
from server_core.app import open_core
from server_core.limits import service as limits
from server_core.settings import Settings
from server_core.trust import model as trust_model
from server_core.trust import service as trust
from server_core.vouchers.model import PROFILE
from server_core.vouchers.rules import policy_of


@click.group()
def keys() -> None:
    """The keys of sealed fields, and the issuer's."""


@keys.command()
def status() -> None:
    """Open the ring and list its keys, oldest first; nothing secret is printed."""
    settings = Settings.read()
    folder = settings.home / "keys"
    if not fields.is_made(folder):
        click.echo(f"{folder} holds no field keys yet: the first start of the server makes them")
        return
    opened = fields.load(
        folder,
        entropy=SystemEntropy(),
        clock=SystemClock(),
        passphrase=settings.keys_passphrase,
    )
    by = "the passphrase" if settings.keys_passphrase else "machine.key, which lies beside it"
    click.echo(f"{folder}/fields.key is whole, and sealed under {by}")
    _list(opened)


@keys.command()
def rotate_fields() -> None:
    """Let a new key seal fields from now on; the older ones still open. Running servers follow."""
    settings = Settings.read()
    rotated = fields.rotate(
        settings.home / "keys",
        entropy=SystemEntropy(),
        clock=SystemClock(),
        passphrase=settings.keys_passphrase,
    )
    _list(rotated)


@keys.command()
def rotate_issuer() -> None:
    """Let the issuer's next key sign, and publish another next one. Restart the servers after."""
    settings = Settings.read()
    rotated = trust.rotate(
        settings.home / "keys",
        entropy=SystemEntropy(),
        clock=SystemClock(),
        passphrase=settings.keys_passphrase,
        token=settings.issuer_token,
    )
    _bundle(rotated)


@keys.command()
@waits
async def policy() -> None:
    """Have the bundle tell terminals the limits in force (limit_profile `offline`). Restart after."""
    settings = Settings.read()
    async with open_core(settings) as core, core.db.reader() as reader:
        limits_now = await limits.in_force(reader, PROFILE)
    governed, new = trust.govern(
        settings.home / "keys",
        (policy_of("INR", limits_now),),
        entropy=SystemEntropy(),
        passphrase=settings.keys_passphrase,
        token=settings.issuer_token,
    )
    _bundle(governed)
    click.echo("restart the servers: terminals take it at their next sync" if new else "no change")


def _bundle(opened: trust.Keys) -> None:
    found = opened.bundle.bundle
    for one in found.entries:
        ends = datetime.fromtimestamp(one.not_after, UTC).date().isoformat()
        use = "signs now" if one.kid == opened.kid else ""
        use = use or (
            "is next" if one.usages == trust_model.USAGES else "vouches for what it signed"
        )
        place = "on the token" if one.kid in opened.on_token else "in the ring"
        click.echo(f"{one.kid.hex()}  until {ends}  {place}  {use}")
    click.echo(f"the root is {'on the token' if opened.root_on_token else 'in the ring'}")
    for told in found.policies:
        click.echo(
            f"{told.ccy}  {told.cap_each} a payment, {told.cap_total} an allowance,"
            f" {told.risk.hard_sum} unsynced (minor units)"
        )
    click.echo(f"bundle {found.version}")


def _list(opened: SoftwareFieldKeys) -> None:
    for one in opened.ring.keys:
        made = datetime.fromtimestamp(one.made_at, UTC).isoformat()
        use = "seals and opens" if one is opened.ring.current else "opens only"
        click.echo(f"{one.kid.hex()}  made {made}  {use}")
    click.echo(f"{len(opened.ring.keys)} of at most {RING_MAX} keys")
