"""`hundi-edge terminal …`: enrol, ask, accept, void, sync and look after a shop's terminal."""

import asyncio
from pathlib import Path

import click

from edge_agent import terminal_said as said
from edge_agent.amounts import parse_amount
from edge_agent.backup import back_up, restore_from
from edge_agent.cli_shape import code_output, command, shop_currency
from edge_agent.codes import read_code
from edge_agent.config import read_config
from edge_agent.doctor import examine
from edge_agent.errors import AgentError
from edge_agent.home import Home, give_to_owner
from edge_agent.pairing import pair
from edge_agent.restore import restore as restore_terminal
from edge_agent.screen import KEY, address, screen_key
from edge_agent.server import Server
from edge_agent.serving import run_service
from edge_agent.show import Look, Said, Screen
from edge_agent.sync import sync as sync_terminal
from edge_agent.terminal import Terminal
from edge_agent.terminal_loop import run_loop
from offline.codec import read_certificate


@click.group()
def terminal() -> None:
    """A shop's terminal."""


@terminal.command()
@click.argument("pairing_string")
@click.option("--server", required=True, help="The server's address, https://…")
@shop_currency
@command
def enrol(
    home: Home,
    _screen: Screen,
    /,
    pairing_string: str,
    server: str,
    currency: str,
) -> Said:
    """Pair this terminal by the string HUNDI-PAIR:… that the server printed, and sync once."""
    paired = pair(home, pairing_string, server, currency)
    detail = f"The first sync failed; run terminal sync before a sale. {paired.trouble}"
    return Said(
        ok=True,
        code="edge.enrolled",
        line=f"This is a terminal of {paired.name}.",
        look=Look.FINE,
        detail=detail if paired.trouble else "",
        facts={"name": paired.name, "synced": not paired.trouble},
    )


@terminal.command()
@click.argument("amount")
@code_output
@command
def ask(home: Home, _screen: Screen, amount: str) -> Said:
    """Show a request for an amount such as 150 or 150.50. Works offline."""
    with home.terminal() as opened:
        return said.ask(opened, parse_amount(amount, opened.ccy))


@terminal.command()
@click.argument("voucher_code")
@code_output
@command
def accept(home: Home, _screen: Screen, voucher_code: str) -> Said:
    """Take a payer's voucher: an OV1V text in single quotes, a text file, a picture of the QR code, or -.

    Works offline.
    """
    text = read_code(voucher_code)
    with home.terminal() as opened:
        return said.accept(opened, text)


@terminal.command()
@click.argument("voucher_code")
@click.option("--return", "give_back", is_flag=True, help="Undo a sale that was accepted here.")
@code_output
@command
def void(home: Home, _screen: Screen, voucher_code: str, give_back: bool) -> Said:
    """Sign a cancellation for a voucher that was refused here, or give an accepted one back."""
    text = read_code(voucher_code)
    with home.terminal() as opened:
        return said.void(opened, text, give_back=give_back)


@terminal.command()
@click.argument("digits")
@command
def phone(home: Home, _screen: Screen, digits: str) -> Said:
    """Take the 8 DIGITS that a payer was told by phone for the request on the screen."""
    with home.terminal() as opened:
        return said.by_phone(opened, digits)


@terminal.command()
@click.option(
    "--nonce", default=None, help="Which request (hex); the one on the screen if not given."
)
@click.option("--paid-online", is_flag=True, help="The sale was paid another way.")
@command
def cancel(home: Home, _screen: Screen, nonce: str | None, paid_online: bool) -> Said:
    """Close an open request."""
    with home.terminal() as opened:
        return said.cancel(opened, nonce, paid_online=paid_online)


@terminal.command()
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--segment", default=None, type=click.IntRange(1), help="One of the archive instead.")
@command
def journal(home: Home, _screen: Screen, limit: int, segment: int | None) -> Said:
    """Show the last rows of the journal and whether its chain holds."""
    with home.terminal_store() as store:
        if segment is not None:
            return said.archived(home.root / "terminal", store, segment)
        return said.journal(store, limit)


@terminal.command(name="list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@command
def list_(home: Home, _screen: Screen, limit: int) -> Said:
    """List the last sales."""
    with home.terminal_store() as store:
        return said.sales(store, limit)


@terminal.command()
@command
def status(home: Home, _screen: Screen) -> Said:
    """Say who this terminal is, what stands unsettled, and whether it may sell. Exit 1: it may not."""
    with home.terminal_store() as store:
        return said.status(store, home.clock)


@terminal.command()
@command
def doctor(home: Home, _screen: Screen) -> Said:
    """Look at clock, disk, key, database, journal, queue and last sync. Exit 1: something is wrong."""
    return said.examined(examine(home))


async def _sync(opened: Terminal, url: str | None = None) -> Said:
    async with Server(url or opened.me.server) as door:
        return said.synced(opened, await sync_terminal(opened, door))


@terminal.command()
@click.option("--server", default=None, help="Another address of the same server.")
@command
def sync(home: Home, _screen: Screen, server: str | None) -> Said:
    """Send what was taken and learn what became of it."""
    with home.terminal() as opened:
        return asyncio.run(_sync(opened, server))


_backup_passphrase = click.option(
    "--backup-passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File with the backup's own passphrase; needed where a machine key opens the terminal.",
)


@terminal.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_backup_passphrase
@command
def backup(home: Home, _screen: Screen, file: Path, backup_passphrase_file: Path | None) -> Said:
    """Write this terminal, key and all, to one new FILE. The service may go on meanwhile."""
    return said.backed_up(file, back_up(home, file, backup_passphrase_file))


@terminal.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@_backup_passphrase
@click.option("--yes", is_flag=True, help="What is here now, or nothing, is all there is of it.")
@command
def restore(
    home: Home,
    _screen: Screen,
    file: Path | None,
    backup_passphrase_file: Path | None,
    yes: bool,
) -> Said:
    """Go on from a backup FILE, or, without one, after the files here were put back from a copy.

    A new history begins, and one sync comes before any sale.
    """
    if not yes:
        raise AgentError(
            "edge.not_confirmed", "say --yes if no other copy of this terminal is in use"
        )
    if file is not None:
        return said.restored(restore_from(home, file, backup_passphrase_file)[1])
    with home.terminal() as opened:
        return said.restored(restore_terminal(opened))


@terminal.command()
@click.option("--sync-every", default=60, show_default=True, type=click.IntRange(1, 86_400))
@click.option("--qr/--no-qr", default=False, help="Draw each code in this terminal window.")
@command
def run(home: Home, screen: Screen, sync_every: int) -> Said:
    """Stay open as the shop's terminal: ask 150.00 | scan CODE | void CODE | cancel | sync | status | quit."""
    with home.terminal(fresh=True) as opened:
        asyncio.run(run_loop(opened, home.clock, screen, sync_every_s=sync_every))
    return Said(ok=True, code="edge.stopped", line="The terminal has stopped; nothing is open.")


@terminal.command()
@command
def serve(home: Home, _screen: Screen) -> Said:
    """Keep this terminal as a service: sync in the background and answer systemd's watchdog. Ends at SIGTERM."""
    with home.terminal(fresh=True) as opened:
        run_service(home, opened)
    return Said(ok=True, code="edge.stopped", line="The terminal has stopped; nothing is open.")


@terminal.command()
@command
def screen(home: Home, _screen: Screen) -> Said:
    """Print the address that opens the shop's screen in this machine's browser. The service must run."""
    folder = home.root / "terminal"
    with home.terminal_store() as store:
        name = read_certificate(store.must_me().cert).name
    port = read_config(folder).screen_port
    if port == 0:
        raise AgentError(
            "edge.screen_port", "this terminal has no screen: set screen_port in agent.toml"
        )
    key = screen_key(folder, home.entropy)
    give_to_owner(home.root, folder / KEY)
    url = address(port, key)
    return Said(
        ok=True,
        code="edge.screen",
        line=f"The screen of {name}: {url}",
        detail="Whoever has this address takes payments here: it works on this machine alone.",
        facts={"url": url},
    )
