"""`hundi sandbox`: the upi-core switch that stands in for the real one."""

from pathlib import Path

import click

from server_core.sandbox import app as sandbox_app


@click.command()
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), default=8481)
@click.option("--seed", type=int, default=1)
@click.option("--state", type=click.Path(path_type=Path), help="A file that keeps its debits.")
def sandbox(host: str, port: int, seed: int, state: Path | None) -> None:
    """Run the upi-core sandbox, a process of its own, with seeded latency and faults."""
    sandbox_app.serve(
        host=host,
        port=port,
        seed=seed,
        state_path=state,
        ready=lambda address: click.echo(f"hundi sandbox: upi-core answers at {address}"),
    )
