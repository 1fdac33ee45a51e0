"""Subscriptions over graphql-transport-ws: one socket, one session, a few operations at a time.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Ours instead of a
library's because a socket here carries subscriptions only, and asks the session anew before every
event.
"""

import asyncio
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import WebSocket

from bff.auth import check_origin, token_of
from bff.guard import Refused
from bff.operations import Asked, Operations, refusal
from server_core.actor import Actor
from server_core.errors import DomainError, Kind
from server_core.sessions import service as sessions

PROTOCOL: Final = "graphql-transport-ws"
INIT_WAIT_S: Final = 5.0
MAX_OPERATIONS: Final = 16
MAX_MESSAGE: Final = 64 * 1024
MAX_ID: Final = 128


class Message(msgspec.Struct):
    type: str
    id: str | None = None
    payload: Any = None


_MESSAGE: Final = msgspec.json.Decoder(Message)
_encode: Final = msgspec.json.Encoder().encode


class Closing(Exception):  # noqa: N818 - how a socket ends, which may be well
    """End the socket with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Gone(Exception):  # noqa: N818 - the client left
    pass


class Socket:
    """One connection from handshake to close."""

    __slots__ = ("_init_wait_s", "_operations", "_running", "_socket")

    def __init__(
        self, operations: Operations, socket: WebSocket[Any, Any, Any], *, init_wait_s: float
    ) -> None:
        self._operations, self._socket, self._init_wait_s = operations, socket, init_wait_s
        self._running: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        try:
            check_origin(self._socket)
        except DomainError as refused:
            await self._socket.close(4403, refused.code)  # before accepting: the handshake fails
            return
        offered = PROTOCOL in self._socket.scope["subprotocols"]
        await self._socket.accept(subprotocols=PROTOCOL if offered else None)
        try:
            if not offered:
                raise Closing(4406, "Subprotocol not acceptable")  # noqa: TRY301 - one way to end
            actor = await self._started()
            await self._carry(actor)
        except Closing as closing:
            await self._close(closing)
        except Gone:
            pass

    async def _started(self) -> Actor:
        """The actor, once connection_init came and was acknowledged."""
        try:
            async with asyncio.timeout(self._init_wait_s):
                while True:
                    message = await self._receive()
                    if message.type == "connection_init":
                        break
                    await self._unhurried(message)
                actor = await self._authenticated(message.payload)
        except TimeoutError:
            raise Closing(4408, "Connection initialisation timeout") from None
        await self._send({"type": "connection_ack"})
        return actor

    async def _authenticated(self, payload: Any) -> Actor:
        token = token_of(self._socket)
        if isinstance(payload, dict) and "authorization" in payload:
            scheme, _, token = str(payload["authorization"]).partition(" ")
            if scheme.lower() != "bearer":
                raise Closing(4403, "Forbidden")
        elif payload is not None and not isinstance(payload, dict):
            raise Closing(4400, "Invalid connection_init payload")
        try:
            return await sessions.authenticate(self._operations.core.db, token)
        except DomainError as refused:
            raise _closing(refused) from None

    async def _carry(self, actor: Actor) -> None:
        """Take messages until the client leaves; what runs ends with the socket."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    message = await self._receive()
                    if message.type == "subscribe":
                        await self._subscribe(group, message, actor)
                    elif message.type == "complete":
                        task = self._running.pop(message.id or "", None)
                        if task is not None:
                            task.cancel()
                    elif message.type == "connection_init":
                        raise Closing(4429, "Too many initialisation requests")  # noqa: TRY301
                    else:
                        await self._unhurried(message)
        except* (Closing, Gone) as ends:
            how = ends.exceptions[0]
            while isinstance(how, ExceptionGroup):
                how = how.exceptions[0]
            raise how from None

    async def _unhurried(self, message: Message) -> None:
        """What may come at any time."""
        if message.type == "ping":
            await self._send({"type": "pong"})
        elif message.type == "subscribe":
            raise Closing(4401, "Unauthorized")
        elif message.type not in {"pong", "complete"}:
            raise Closing(4400, "Unknown message type")

    async def _subscribe(self, group: asyncio.TaskGroup, message: Message, actor: Actor) -> None:
        key = message.id
        if not key or len(key) > MAX_ID:
            raise Closing(4400, f"subscribe needs an id of 1 to {MAX_ID} characters")
        if key in self._running:
            raise Closing(4409, f"Subscriber for {key[:64]} already exists")
        try:
            asked = msgspec.convert(message.payload, Asked)
        except msgspec.ValidationError:
            raise Closing(4400, "Invalid subscribe payload") from None
        if len(self._running) >= MAX_OPERATIONS:
            error = {
                "message": f"a socket carries at most {MAX_OPERATIONS} subscriptions",
                "extensions": {"code": "graphql.too_many_subscriptions"},
            }
            await self._send({"id": key, "type": "error", "payload": [error]})
            return
        self._running[key] = group.create_task(self._run(key, asked, actor))

    async def _run(self, key: str, asked: Asked, actor: Actor) -> None:
        """One subscription to its end: completed, refused, or gone with its session."""
        operations = self._operations
        try:
            await self._check_session(actor)
            stream: Any = await operations.subscribe(asked, actor)
            async with aclosing(stream):
                async for result in stream:
                    await self._check_session(actor)
                    payload = {"data": result.data}
                    if result.errors:
                        payload["errors"] = operations.told(result.errors)
                    await self._send({"id": key, "type": "next", "payload": payload})
            last: dict[str, Any] = {"id": key, "type": "complete"}
        except (Closing, Gone):
            raise
        except Refused as refused:
            last = _error(key, operations.told(refused.errors))
        except DomainError as refused:
            last = _error(key, [refusal(refused)])
        except Exception as error:  # noqa: BLE001 - told as a bug; the socket's others go on
            last = _error(key, [operations.bug(error)])
        self._running.pop(key, None)  # before the last word, after which the id may come again
        await self._send(last)

    async def _check_session(self, actor: Actor) -> None:
        if actor.session is None:
            return
        async with self._operations.core.db.reader() as reader:
            try:
                await sessions.still_live(reader, actor.session)
            except DomainError as refused:
                raise _closing(refused) from None

    async def _receive(self) -> Message:
        """The next message; raises Gone when the client left, Closing on what is no message."""
        event: Any = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise Gone
        text = event.get("text")
        if text is None or len(text) > MAX_MESSAGE:
            raise Closing(4400, "Messages are text of at most 64 KiB")
        try:
            return _MESSAGE.decode(text)
        except (msgspec.DecodeError, RecursionError):
            raise Closing(4400, "Invalid message") from None

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send_data(_encode(message).decode(), mode="text")
        except (OSError, RuntimeError) as error:  # what servers raise when the peer is not there
            raise Gone from error

    async def _close(self, closing: Closing) -> None:
        try:
            await self._socket.close(closing.code, closing.reason)
        except (OSError, RuntimeError):
            return  # it closed first


def _error(key: str, errors: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": key, "type": "error", "payload": errors}


def _closing(refused: DomainError) -> Closing:
    """A session that is over ends its socket; a ledger that cannot be asked says come again."""
    if refused.kind is Kind.UNAVAILABLE:
        return Closing(1013, "Try again later")
    return Closing(4403, refused.code)
