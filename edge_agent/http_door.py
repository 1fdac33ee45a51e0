"""HTTP/1.1 on this machine alone, for its own screen: few connections, small bodies, no wait without an end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import h11

from edge_agent.errors import AgentError

ADDRESS: Final = "127.0.0.1"
BODY_MAX: Final = 16_384
_HEAD_MAX: Final = 16_384
_READ: Final = 16_384
_CONNECTIONS_MAX: Final = 32
_IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; names of headers in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; its length is counted by the door."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Awaitable[Answer]]


class _TooLargeError(Exception):
    """More than the door takes."""


@asynccontextmanager
async def door(handler: Handler, port: int) -> AsyncIterator[int]:
    """Answer on `port` (0: any) of the loopback while the block runs; gives the port.

    Raises edge.screen_port when the port is another's. `handler` must not raise.
    """
    opened: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(opened) >= _CONNECTIONS_MAX:
            writer.close()
            return
        opened[writer] = asyncio.current_task()
        try:
            with suppress(ConnectionError, TimeoutError):
                await _converse(handler, reader, writer)
        finally:
            del opened[writer]
            writer.close()

    try:
        server = await asyncio.start_server(serve, ADDRESS, port, limit=_READ)
    except OSError as e:
        raise AgentError(
            "edge.screen_port",
            f"the screen's port {port} cannot be had ({e.strerror}): "
            "set another screen_port in agent.toml, 0 for no screen",
        ) from e
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        tasks = [task for task in opened.values() if task is not None]
        for writer in list(opened):
            writer.close()
        # Each ends by itself, at its next read or when its act is done.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _converse(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request after another; whatever breaks the protocol ends the connection."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_MAX)
    while True:
        try:
            async with asyncio.timeout(_IDLE_S):
                asked = await _asked(wire, reader)
        except h11.RemoteProtocolError as e:
            await _send(wire, writer, Answer(status=e.error_status_hint))
            return
        except _TooLargeError:
            await _send(wire, writer, Answer(status=413))
            return
        if asked is None:
            return
        await _send(wire, writer, await handler(asked))
        if wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
            return
        wire.start_next_cycle()


async def _asked(wire: h11.Connection, reader: asyncio.StreamReader) -> Asked | None:
    """Read one request; None when the other side has gone."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_MAX:
                raise _TooLargeError
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Asked(
                method=head.method.decode("ascii"),
                path=head.target.decode("latin-1").partition("?")[0],
                headers={
                    name.decode("ascii"): value.decode("latin-1") for name, value in head.headers
                },
                body=body,
            )
        else:
            return None


async def _send(wire: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    if wire.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
    if answer.status == 304:
        headers.pop()
    head = h11.Response(status_code=answer.status, headers=headers)
    parts = [wire.send(head)]
    if answer.status != 304:
        parts.append(wire.send(h11.Data(data=answer.body)))
    parts.append(wire.send(h11.EndOfMessage()))
    writer.write(b"".join(part for part in parts if part))
    async with asyncio.timeout(_IDLE_S):
        await writer.drain()
