"""`hundi demo`: the whole story in real processes, each step with what it proves."""

import asyncio
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bff.cli.demo_stage import Story
from bff.cli.demo_story import tell
from bff.cli.processes import Processes, environment_of
from server_core.settings import Settings


@click.command()
@click.option(
    "--home", type=click.Path(path_type=Path), default=Path(".demo"), help="Made anew each time."
)
def demo(home: Path) -> None:
    """Pay online, stop the server, pay offline, cheat, start it again, and settle."""
    home = home.absolute()
    if (home / "pg").exists() or (home / "demo").exists():
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / "demo").touch()
    port, upi = _free_port(), _free_port()
    settings = replace(
        Settings.read(),
        home=home,
        database_url=None,
        host="127.0.0.1",
        port=port,
        origin=f"http://localhost:{port}",
        upi_url=f"http://127.0.0.1:{upi}",
        rail_pace=0.01,
    )
    console = Console(highlight=False, width=max(108, Console().width))
    with Processes(home, environment_of(settings)) as programs:
        story = Story(settings=settings, programs=programs, console=console)
        asyncio.run(tell(story))
    if story.broken:
        raise click.ClickException(f"{len(story.broken)} expectations did not hold: {story.broken}")
    console.print("\n[bold green]Every expectation held.[/]")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
