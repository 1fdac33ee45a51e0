"""The sandbox as a process: its HTTP routes, and `serve`, which runs it until SIGTERM or SIGINT."""

import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from devices.clock import Clock, SystemClock
from server_core.sandbox import requests
from server_core.sandbox.model import Behaviour, Refusal
from server_core.sandbox.rules import HELP
from server_core.sandbox.switch import Answer, Switch

AnyRequest = Request[Any, Any, Any]
GRACE_S: Final = 3
"""How long a stopping server waits for answers under way; held ones are let go at once."""


def create_app(
    *,
    seed: int = 1,
    state_path: Path | None = None,
    behaviour: Behaviour | None = None,
    clock: Clock | None = None,
) -> Litestar:
    """The ASGI application; its switch is `app.state.switch`. Without `state_path` in memory."""
    switch = Switch(
        behaviour=behaviour or Behaviour(seed=seed), clock=clock or SystemClock(), path=state_path
    )

    @asynccontextmanager
    async def opened(app: Litestar) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's hook
        switch.open()
        try:
            yield
        finally:
            switch.close()

    app = Litestar(
        route_handlers=_payments(switch) + _admin(switch),
        lifespan=[opened],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=requests.MAX_BODY,
        exception_handlers={Refusal: _refused, HTTPException: _http_refused},
    )
    app.state.switch = switch
    return app


def _payments(switch: Switch) -> list[ControllerRouterHandler]:
    @post("/upi/pay", status_code=200)
    async def pay(request: AnyRequest) -> Response[bytes]:
        return _response(await switch.pay(requests.parse_object(await request.body())))

    @get("/upi/txn/{txn_id:str}")
    async def status(txn_id: FromPath[str]) -> Response[bytes]:
        return _response(await switch.status(txn_id))

    @post("/upi/reverse", status_code=200)
    async def reverse(request: AnyRequest) -> Response[bytes]:
        return _response(await switch.reverse(requests.parse_object(await request.body())))

    return [pay, status, reverse]


def _admin(switch: Switch) -> list[ControllerRouterHandler]:
    @get("/health")
    async def health() -> dict[str, Any]:
        outage = switch.behaviour.outage
        return {"status": "outage" if outage else "ok", "transactions": switch.count}

    @get("/upi/admin/help")
    async def explain() -> dict[str, str]:
        return HELP

    @get("/upi/admin/behaviour")
    async def behaviour() -> dict[str, Any]:
        return switch.behaviour.facts()

    @post("/upi/admin/behaviour", status_code=200)
    async def behave(request: AnyRequest) -> dict[str, Any]:
        said = requests.parse_object(await request.body())
        switch.behaviour = requests.parse_behaviour(said, switch.behaviour)
        return switch.behaviour.facts()

    @post("/upi/admin/txn/{txn_id:str}", status_code=200)
    async def steer(txn_id: FromPath[str], request: AnyRequest) -> Response[bytes]:
        return _response(switch.steer(txn_id, requests.parse_object(await request.body())))

    return [health, explain, behaviour, behave, steer]


def serve(
    host: str,
    port: int,
    seed: int,
    state_path: Path | None,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then return. `ready` hears the address once it answers.

    Port 0 takes a free one. Raises OSError when the address is taken.
    """
    server, listening = make_server(
        create_app(seed=seed, state_path=state_path), host, port, ready=ready
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
    return Server(config, app.state.switch, address, ready), listening


class Server(uvicorn.Server):
    """Says when it answers, and lets go of held answers before it waits for the rest."""

    def __init__(
        self,
        config: uvicorn.Config,
        switch: Switch,
        address: str,
        ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self.address = address
        self._switch, self._ready = switch, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready(self.address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._switch.stop()
        await super().shutdown(sockets)


def _response(answer: Answer) -> Response[bytes]:
    content = answer.raw if answer.said is None else json.dumps(answer.said).encode()
    return Response(content, status_code=answer.status, media_type=MediaType.JSON)


def _refused(_: AnyRequest, refusal: Refusal) -> Response[bytes]:
    return _response(Answer(status=refusal.status, said=refusal.body()))


def _http_refused(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What the framework refuses by itself: unknown paths, wrong methods, bodies too large."""
    said = {"error": "upi.http", "message": error.detail or "the request could not be read"}
    return _response(Answer(status=error.status_code, said=said))


def _ignore(signum: int, frame: object) -> None:
    """Let the server's own handler do it."""
