"""`hundi keys`: the keys that fields are sealed under, and their rotation. Needs no database."""

from datetime import UTC, datetime

import click

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from devices.keystore import fields
from devices.keystore.field_ring import RING_MAX
from devices.keystore.fields import SoftwareFieldKeys
from server_core.settings import Settings


@click.group()
def keys() -> None:
    """The keys of fields that are sealed at rest."""


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


def _list(opened: SoftwareFieldKeys) -> None:
    for one in opened.ring.keys:
        made = datetime.fromtimestamp(one.made_at, UTC).isoformat()
        use = "seals and opens" if one is opened.ring.current else "opens only"
        click.echo(f"{one.kid.hex()}  made {made}  {use}")
    click.echo(f"{len(opened.ring.keys)} of at most {RING_MAX} keys")
