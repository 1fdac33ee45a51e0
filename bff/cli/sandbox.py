"""`hundi sandbox`: upi-core, which stands in for the real switch, card network and banks."""

from pathlib import Path

import click

from server_core.rails.callbacks import MIN_KEY
from server_core.sandbox import app as sandbox_app


@click.command()
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), default=8481)
@click.option("--seed", type=int, default=1)
@click.option("--state", type=click.Path(path_type=Path), help="A file that keeps its debits.")
@click.option(
    "--callback-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file whose bytes, 32 at least, sign callbacks.",
)
def sandbox(host: str, port: int, seed: int, state: Path | None, callback_key: Path | None) -> None:
    """Run the upi-core sandbox, a process of its own, with seeded latency and faults."""
    key = None if callback_key is None else callback_key.read_bytes()
    if key is not None and len(key) < MIN_KEY:
        raise click.BadParameter(f"at least {MIN_KEY} bytes", param_hint="--callback-key")
    sandbox_app.serve(
        host=host,
        port=port,
        seed=seed,
        state_path=state,
        callback_key=key,
        ready=lambda address: click.echo(f"hundi sandbox: upi-core answers at {address}"),
    )
