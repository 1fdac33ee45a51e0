"""`hundi run`: server, workers, upi-core sandbox and a shop terminal, with a small population."""

import asyncio
import json
import signal
from contextlib import suppress
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import click
import httpx
from rich.console import Console
from rich.panel import Panel

from bff.cli.operator import OPERATOR
from bff.cli.population import settle_in
from bff.cli.processes import Processes, call, environment_of
from devices.entropy import SystemEntropy
from server_core.app import open_core
from server_core.ids import public
from server_core.rails.callbacks import MIN_KEY
from server_core.settings import Settings
from server_core.terminals import service as terminals


@click.command()
def run() -> None:
    """Start everything on this machine and say how to make the first payment."""
    settings = Settings.read()
    console = Console()
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    key = settings.home / "callbacks.key"
    environment = {**environment_of(settings), "HUNDI_CALLBACK_KEY": str(key)}
    shop_home = settings.home / "shop"
    with Processes(settings.home, environment) as programs:
        with console.status("starting the upi-core sandbox"):
            _make_key(key)
            programs.start(
                "upi-core", "hundi", "sandbox", "--port", _port(settings.upi_url),
                "--state", str(settings.home / "upi.db"), "--callback-key", str(key),
            )  # fmt: skip
            programs.wait_until_ready("upi-core", f"{settings.upi_url}/health")
        with console.status("starting PostgreSQL, the server and its workers"):
            programs.start("server", "hundi", "serve")
            address = f"http://{settings.host}:{settings.port}"
            programs.wait_until_ready("server", f"{address}/health/ready")
            _have_told(settings.upi_url, f"{address}/rails/callbacks")
        with console.status("letting people in and pairing the shop's terminal"):
            shop = asyncio.run(_populate(settings, shop_home))
            if shop is not None:
                _enrol(environment, shop_home, address, shop)
        programs.start("shop-terminal", "hundi-edge", "terminal", "run", "--home", str(shop_home))
        console.print(_welcome(settings, address, shop_home))
        while not stopped.wait(0.5):
            ended = programs.first_to_end()
            if ended is not None:
                raise click.ClickException(f"{ended} ended: see {settings.home}/logs/{ended}.log")
        console.print("hundi: stopping")


async def _populate(settings: Settings, shop_home: Path) -> str | None:
    """Make who is missing; a pairing code for the shop's terminal if it has none yet."""
    async with open_core(settings) as core:
        people = await settle_in(core)
        ids = {name: public("pty", party.id) for name, party in people.items()}
        (settings.home / "demo.json").write_text(json.dumps(ids, indent=2) + "\n")
        if (shop_home / "terminal" / "agent.db").exists():
            return None
        async with core.db.work() as work:
            return await terminals.pair(
                work, core.entropy, core.trust, OPERATOR, merchant=people["Chai Point"].id
            )


def _make_key(path: Path) -> None:
    """What upi-core signs its callbacks with and the server checks them by; made once."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(SystemEntropy().bytes(MIN_KEY))


def _have_told(upi_url: str, callbacks: str) -> None:
    """Have upi-core tell each outcome at once; it tells this machine alone, and nobody else."""
    with suppress(httpx.HTTPError):  # without it outcomes are asked for, a little later
        httpx.post(f"{upi_url}/upi/admin/behaviour", json={"callback_url": callbacks}, timeout=5)


def _port(url: str) -> str:
    return str(urlsplit(url).port or 80)


def _enrol(environment: dict[str, str], home: Path, address: str, pairing: str) -> None:
    done = call(
        environment, "hundi-edge", "terminal", "enrol", pairing, "--server", address,
        "--home", str(home),
    )  # fmt: skip
    if done.returncode != 0:
        raise click.ClickException(f"the shop's terminal could not be paired: {done.stdout}")


def _welcome(settings: Settings, address: str, shop_home: Path) -> Panel:
    return Panel(
        f"GraphQL      {address}/graphql\n"
        f"OpenAPI      {address}/schema\n"
        f"health       {address}/health/ready\n"
        f"upi-core     {settings.upi_url}/upi/admin/help\n"
        f"terminal     {shop_home} (of Chai Point)\n"
        f"people       Asha, Ravi (INR 5,000.00 each); shops Chai Point, Kirana Corner\n\n"
        "The first payment, in another window:\n\n"
        "  bash docs/examples/first-payment.sh\n\n"
        "Ctrl-C stops everything.",
        title="Hundi is running",
        title_align="left",
        expand=False,
    )
