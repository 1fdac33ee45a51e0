"""`hundi-edge terminal …`: enrol, ask, accept, void, sync and look after a shop's terminal."""

import asyncio

import click

from edge_agent import terminal_said as said
from edge_agent.amounts import parse_amount
from edge_agent.cli_shape import code_output, command
from edge_agent.codes import read_code
from edge_agent.enrol import enrol_terminal
from edge_agent.errors import AgentError, VerdictError
from edge_agent.home import Home
from edge_agent.restore import restore as restore_terminal
from edge_agent.server import Server
from edge_agent.serving import run_service
from edge_agent.show import Look, Said, Screen
from edge_agent.store.terminal_rows import ShopLimits
from edge_agent.sync import sync as sync_terminal
from edge_agent.terminal import Terminal
from edge_agent.terminal_loop import run_loop
from edge_agent.trust import read_pairing


@click.group()
def terminal() -> None:
    """A shop's terminal."""


@terminal.command()
@click.argument("pairing_string")
@click.option("--server", required=True, help="The server's address, https://…")
@click.option(
    "--floor-limit", default="10000", show_default=True, help="The most that may stand unsynced."
)
@click.option(
    "--allowance-limit", default="2000", show_default=True, help="The same, from one payer."
)
@click.option(
    "--void-limit", default="500", show_default=True, help="The most given back offline at once."
)
@click.option("--currency", default="INR", show_default=True)
@command
def enrol(
    home: Home,
    _screen: Screen,
    pairing_string: str,
    server: str,
    floor_limit: str,
    allowance_limit: str,
    void_limit: str,
    currency: str,
) -> Said:
    """Pair this terminal by the string HUNDI-PAIR:… that the server printed, and sync once."""
    limits = ShopLimits(
        ccy=currency,
        floor_limit=parse_amount(floor_limit, currency),
        allowance_limit=parse_amount(allowance_limit, currency),
        void_limit=parse_amount(void_limit, currency),
    )
    pairing = read_pairing(pairing_string)

    async def run() -> str:
        async with Server(server) as door:
            with home.locked("terminal"), home.terminal_store(create=True) as store:
                keys = home.keys("terminal", create=True)
                certificate = await enrol_terminal(
                    store,
                    keys,
                    door,
                    pairing,
                    clock=home.clock,
                    entropy=home.entropy,
                    limits=limits,
                )
        return certificate.name

    name = asyncio.run(run())
    detail, synced = "", True
    try:
        with home.terminal() as opened:
            asyncio.run(_sync(opened))
    except (AgentError, VerdictError) as e:
        detail, synced = f"The first sync failed; run terminal sync before a sale. {e}", False
    return Said(
        ok=True,
        code="edge.enrolled",
        line=f"This is a terminal of {name}.",
        look=Look.FINE,
        detail=detail,
        facts={"name": name, "synced": synced},
    )


@terminal.command()
@click.argument("amount")
@code_output
@command
def ask(home: Home, _screen: Screen, amount: str) -> Said:
    """Show a request for an amount such as 150 or 150.50. Works offline."""
    with home.terminal() as opened:
        return said.ask(opened, parse_amount(amount, opened.limits.ccy))


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
@command
def journal(home: Home, _screen: Screen, limit: int) -> Said:
    """Show the last rows of the journal and whether its chain holds."""
    with home.terminal_store() as store:
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
    """Say who this terminal is and what stands unsettled."""
    with home.terminal_store() as store:
        return said.status(store, home.clock)


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


@terminal.command()
@click.option("--yes", is_flag=True, help="The files here were put back from a copy.")
@command
def restore(home: Home, _screen: Screen, yes: bool) -> Said:
    """Go on after the files were put back from a copy: a new history, and one sync before any sale."""
    if not yes:
        raise AgentError("edge.not_confirmed", "say --yes if this home was put back from a copy")
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
