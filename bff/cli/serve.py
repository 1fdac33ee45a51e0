"""`hundi serve` and `hundi work`: the server and its workers, together or apart."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import click
import uvicorn
import uvloop

from bff.app import create_app
from server_core import workers
from server_core.app import Core, open_core
from server_core.settings import Settings


@click.command()
@click.option("--workers/--no-workers", default=True, help="Run the jobs in this process too.")
def serve(*, workers: bool) -> None:
    """Serve HTTP and GraphQL; settings come from HUNDI_* variables."""
    uvloop.run(_serve(Settings.read(), with_workers=workers))


@click.command()
def work() -> None:
    """Run the jobs alone, beside a server started with --no-workers."""
    uvloop.run(_work(Settings.read()))


async def _serve(settings: Settings, *, with_workers: bool) -> None:
    async with open_core(settings) as core:
        config = uvicorn.Config(
            create_app(core),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            timeout_graceful_shutdown=10,
        )
        async with _background(core, on=with_workers):
            await _Server(config).serve()


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


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_core(settings) as core, _background(core, on=True):
        click.echo("hundi work: jobs are running")
        await stop.wait()


@asynccontextmanager
async def _background(core: Core, *, on: bool) -> AsyncIterator[None]:
    if not on:
        yield
        return
    task = asyncio.create_task(workers.run(core.jobs(), core.db))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
