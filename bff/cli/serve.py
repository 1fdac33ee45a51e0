"""`hundi serve` and `hundi work`: the server and its workers, together or apart."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace

import click
import uvicorn
import uvloop
from litestar import Litestar

from bff.app import create_app, create_watched
from server_core import workers
from server_core.app import Core, open_core
from server_core.events.relay import Relay
from server_core.events.remotes import Target
from server_core.settings import Settings

_ALLOW_PRIVATE = click.option(
    "--allow-private-webhooks",
    is_flag=True,
    help="For development only: webhooks over http and to private addresses.",
)


@click.command()
@click.option("--workers/--no-workers", default=True, help="Run the jobs in this process too.")
@_ALLOW_PRIVATE
def serve(*, workers: bool, allow_private_webhooks: bool) -> None:
    """Serve HTTP and GraphQL; settings come from HUNDI_* variables."""
    uvloop.run(_serve(_settings(allow_private_webhooks), with_workers=workers))


@click.command()
@click.option(
    "--relay",
    "relays",
    type=click.Choice([one.value for one in Target]),
    multiple=True,
    help="Carry the event log there too; may be given twice.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Serve /metrics and /health here, on HUNDI_HOST; nothing is served without it.",
)
@_ALLOW_PRIVATE
def work(
    *, relays: tuple[str, ...], metrics_port: int | None, allow_private_webhooks: bool
) -> None:
    """Run the jobs alone, beside a server started with --no-workers."""
    settings, targets = _settings(allow_private_webhooks), [Target(one) for one in relays]
    uvloop.run(_work(settings, targets, metrics_port))


def _settings(allow_private_webhooks: bool) -> Settings:
    found = Settings.read()
    return replace(found, allow_private_webhooks=True) if allow_private_webhooks else found


def spare_the_collector() -> None:
    """What was made at the start stays: it is not walked again; what commands make dies by itself.

    With the collector's own thresholds a fifth of a payment's CPU went into finding nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _serve(settings: Settings, *, with_workers: bool) -> None:
    async with open_core(settings, program="hundi-server") as core:
        spare_the_collector()
        async with _background(core, on=with_workers):
            await _Server(_config(create_app(core), settings.host, settings.port)).serve()


def _config(app: Litestar, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        timeout_graceful_shutdown=10,
    )


class _Server(uvicorn.Server):
    """Ends when a signal asks, and returns: the parts behind it are closed in order after it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True


async def _work(settings: Settings, targets: Sequence[Target], metrics_port: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with (
        open_core(settings, program="hundi-worker") as core,
        core.relaying(targets) as relays,
        _background(core, on=True, relays=relays),
    ):
        click.echo("hundi work: jobs are running")
        if metrics_port is None or stop.is_set():
            await stop.wait()
        else:  # it ends by the same signals, which it takes over
            await _Server(_config(create_watched(core), settings.host, metrics_port)).serve()


@asynccontextmanager
async def _background(core: Core, *, on: bool, relays: Sequence[Relay] = ()) -> AsyncIterator[None]:
    if not on:
        yield
        return
    task = asyncio.create_task(workers.run(core.jobs(relays), core.db))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
