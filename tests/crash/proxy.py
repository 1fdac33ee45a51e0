"""A TCP proxy before PostgreSQL that knows where a message ends, and so can cut exactly at COMMIT.

Clients' words are type, length, body (PostgreSQL: Frontend/Backend Protocol, Message Formats); the
first of a connection has no type. TLS is not spoken here.
"""

import asyncio
import contextlib
import struct
from enum import StrEnum

_COMMIT = b"COMMIT"
_TLS = struct.pack("!I", 80877103)


class Mode(StrEnum):
    """What happens to a connection that is made now, or that speaks now."""

    PASS = "pass"
    FROZEN = "frozen"
    """Accepts, reads, and never answers: a stopped process, a full disk below it."""


class Cut(StrEnum):
    """Where the next COMMIT is cut."""

    BEFORE = "before PostgreSQL has it"
    BETWEEN = "after PostgreSQL has it, whatever it made of it"
    AFTER = "after PostgreSQL answered, before the answer arrives"


class Proxy:
    def __init__(self, port: int) -> None:
        self.to_port, self.mode = port, Mode.PASS
        self.port = 0
        self.cuts: list[Cut] = []
        """What the next COMMITs meet, first to last."""
        self.made: list[Cut] = []
        self.accepted = self.dropped = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thawed = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close the port and every connection, as a host that is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Reset every connection that is open."""
        self.dropped += len(self._writers)
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        self._thawed.clear()
        self.mode = Mode.FROZEN

    def thaw(self) -> None:
        self.mode = Mode.PASS
        self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        up: asyncio.StreamWriter | None = None
        try:
            await self._pass()
            behind, up = await asyncio.open_connection("127.0.0.1", self.to_port)
            self._writers.add(up)
            cut = _Cutting()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._asks(reader, up, cut))
                group.create_task(self._answers(behind, writer, cut))
        except* (OSError, asyncio.IncompleteReadError, _OverError):
            pass
        finally:
            for one in (writer, up):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()
                    with contextlib.suppress(OSError):
                        await one.wait_closed()

    @property
    def listens(self) -> bool:
        return self._server is not None

    async def _pass(self) -> None:
        if self.mode is Mode.FROZEN:
            await self._thawed.wait()

    async def _asks(
        self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, cut: "_Cutting"
    ) -> None:
        while (first := await _first(reader))[4:8] == _TLS:
            up.write(first)  # PostgreSQL says no, and the client begins anew in plain
        up.write(first)
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self._pass()
            if head[:1] == b"Q" and body.startswith(_COMMIT) and self.cuts:
                cut.at = self.cuts.pop(0)
                self.made.append(cut.at)
                if cut.at is Cut.BEFORE:
                    raise _OverError
                up.write(head + body)
                await up.drain()
                if cut.at is Cut.BETWEEN:
                    raise _OverError
                continue
            up.write(head + body)
            await up.drain()

    async def _answers(
        self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: "_Cutting"
    ) -> None:
        while found := await behind.read(65536):
            await self._pass()
            if cut.at is Cut.AFTER:
                raise _OverError
            writer.write(found)
            await writer.drain()
        raise _OverError

    async def close(self) -> None:
        self.thaw()
        await self.refuse()


class _OverError(Exception):
    """The connection ends here."""


class _Cutting:
    def __init__(self) -> None:
        self.at: Cut | None = None


async def _first(reader: asyncio.StreamReader) -> bytes:
    """The first packet of a connection: a length, a code, and no type."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("!I", head)[0] - 4)
