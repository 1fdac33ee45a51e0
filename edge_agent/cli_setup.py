"""`hundi-edge setup`: pair a terminal, write its settings and its systemd unit. It starts nothing."""

import os
import pwd
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from devices.keystore.sealed import write_durably
from edge_agent import unit
from edge_agent.cli_shape import command, shop_currency
from edge_agent.codes import read_code
from edge_agent.config import NAME as CONFIG
from edge_agent.config import config_text, read_config
from edge_agent.errors import AgentError
from edge_agent.home import Home, give_to_owner
from edge_agent.pairing import Paired, pair
from edge_agent.show import Look, Said, Screen

_SYSTEM: Final = Path("/etc/systemd/system")
_BOOTED: Final = Path("/run/systemd/system")


@click.command()
@click.argument("pairing_code", required=False)
@click.option("--server", default=None, help="The server's address, https://…")
@click.option(
    "--unit-folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Where the systemd unit goes; as root /etc/systemd/system, else the home.",
)
@shop_currency
@command
def setup(
    home: Home,
    _screen: Screen,
    /,
    pairing_code: str | None,
    server: str | None,
    unit_folder: Path | None,
    currency: str,
) -> Said:
    """Make this machine a shop's terminal: pair it, write its settings and its systemd unit.

    PAIRING_CODE is the text HUNDI-PAIR:…, a file or a picture of its QR code, or - for the input. On a
    home that is paired already leave it out: settings stay, and the unit is written anew.
    """
    folder = unit_folder.expanduser() if unit_folder is not None else _unit_folder(home)
    # All that can be refused is refused before the one-time code is used up.
    text = unit.unit_text(_facts(home))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AgentError("edge.file_unwritable", f"no unit can be written to {folder}")
    config = read_config(home.root / "terminal")
    paired = _paired(home, pairing_code, server, currency)
    settings = home.root / "terminal" / CONFIG
    if not settings.exists():
        write_durably(settings, config_text(config).encode())
        give_to_owner(home.root, settings)
    path = folder / unit.NAME
    write_durably(path, text.encode())
    path.chmod(0o644)
    return Said(
        ok=True,
        code="edge.set_up",
        line=f"This is a terminal of {paired.name}." if paired else "The unit is written anew.",
        look=Look.FINE,
        detail=_next_steps(home, path, paired),
        facts={
            "name": paired.name if paired else None,
            "synced": (not paired.trouble) if paired else None,
            "config": str(settings),
            "unit": str(path),
        },
    )


def _paired(
    home: Home, pairing_code: str | None, server: str | None, currency: str
) -> Paired | None:
    if pairing_code is None:
        # Raises where there is no terminal yet.
        with home.terminal_store() as store:
            store.state()
        return None
    if server is None:
        raise AgentError("edge.server_url", "say which server this terminal pairs with: --server")
    return pair(home, read_code(pairing_code), server, currency)


def _unit_folder(home: Home) -> Path:
    if os.geteuid() == 0 and _BOOTED.is_dir():
        return _SYSTEM
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home.root


def _facts(home: Home) -> unit.UnitFacts:
    beside = Path(sys.executable).parent / "hundi-edge"
    found = str(beside) if beside.exists() else shutil.which("hundi-edge")
    if found is None:
        raise AgentError("edge.program_missing", "the program hundi-edge is not installed here")
    given = home.passphrase_file
    return unit.UnitFacts(
        program=Path(found).absolute(),
        home=home.root.absolute(),
        user=pwd.getpwuid(os.geteuid()).pw_name,
        passphrase_file=given.absolute() if given is not None else None,
    )


def _next_steps(home: Home, path: Path, paired: Paired | None) -> str:
    lines = []
    if paired is not None and paired.trouble:
        lines.append(f"The first sync failed, the service tries again: {paired.trouble}")
    if not unit.dynamic(home.root.absolute()):
        lines.append(
            "With --home /var/lib/hundi-edge the service would have a user of its own; "
            f"this unit runs as the owner of {home.root.absolute()}."
        )
    if path.parent == _SYSTEM:
        lines.append(f"To start it: systemctl daemon-reload && systemctl enable --now {path.name}")
    else:
        lines.append(
            f"To start it, as root: cp {path} {_SYSTEM}/ && systemctl daemon-reload && "
            f"systemctl enable --now {path.name}"
        )
    return "\n".join(lines)
