"""The sandbox as a process: its HTTP server, and `serve`, which runs it until SIGTERM or SIGINT."""

import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
from litestar import Litestar

from devices.clock import Clock, SystemClock
from server_core.rails.callbacks import MIN_KEY
from server_core.sandbox import requests, routes
from server_core.sandbox.core import UpiCore
from server_core.sandbox.line import Line
from server_core.sandbox.model import Behaviour

GRACE_S: Final = 3
"""How long a stopping server waits for answers under way; held ones are let go at once."""


def create_app(
    *,
    seed: int = 1,
    state_path: Path | None = None,
    behaviour: Behaviour | None = None,
    clock: Clock | None = None,
    callback_key: bytes | None = None,
) -> Litestar:
    """The ASGI application; what it serves is `app.state.core`. Without `state_path` in memory.

    `callback_key` signs callbacks, 32 bytes at least; raises ValueError of a shorter one.
    """
    if callback_key is not None and len(callback_key) < MIN_KEY:
        raise ValueError(f"the callback key must have at least {MIN_KEY} bytes")
    core = UpiCore(
        behaviour=behaviour or Behaviour(seed=seed),
        clock=clock or SystemClock(),
        path=state_path,
        callback_key=callback_key,
    )

    @asynccontextmanager
    async def opened(app: Litestar) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's hook
        core.open()
        try:
            yield
        finally:
            await core.close()

    app = Litestar(
        route_handlers=routes.all_of(core),
        lifespan=[opened],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=requests.MAX_BODY,
        exception_handlers=routes.EXCEPTIONS,
    )
    app.state.core = core
    return app


def serve(
    host: str,
    port: int,
    seed: int,
    state_path: Path | None,
    *,
    callback_key: bytes | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then return. `ready` hears the address once it answers.

    Port 0 takes a free one. Raises OSError when the address is taken.
    """
    server, listening = make_server(
        create_app(seed=seed, state_path=state_path, callback_key=callback_key),
        host,
        port,
        ready=ready,
    )
    # The server raises the signal that stopped it once more when it is done; here it is done.
    before = {one: signal.signal(one, _ignore) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        for one, handler in before.items():
            signal.signal(one, handler)


def make_server(
    app: Litestar, host: str, port: int, *, ready: Callable[[str], None] | None = None
) -> tuple["Server", socket.socket]:
    """A server and its bound socket, to be run by `server.run(sockets=[socket])`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=1024)
    shown = f"[{host}]" if family is socket.AF_INET6 else host
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
    )
    address = f"http://{shown}:{listening.getsockname()[1]}"
    return Server(config, app.state.core.line, address, ready), listening


class Server(uvicorn.Server):
    """Says when it answers, and lets go of held answers before it waits for the rest."""

    def __init__(
        self,
        config: uvicorn.Config,
        line: Line,
        address: str,
        ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self.address = address
        self._line, self._ready = line, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready(self.address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._line.stop()
        await super().shutdown(sockets)


def _ignore(signum: int, frame: object) -> None:
    """Let the server's own handler do it."""
