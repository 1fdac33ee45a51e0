"""A consumer's HTTP server on a real socket, which does what a test tells it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from devices.clock import SystemClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(slots=True, kw_only=True)
class Got:
    """One request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Behave = Callable[["Got", asyncio.StreamWriter], Awaitable[bytes | None]]


def status(code: int, *headers: str) -> Behave:
    lines = "".join(f"{one}\r\n" for one in headers)
    answer = f"HTTP/1.1 {code} X\r\n{lines}Content-Length: 0\r\n\r\n".encode()

    async def do(got: Got, writer: asyncio.StreamWriter) -> bytes:
        return answer

    return do


async def ok(got: Got, writer: asyncio.StreamWriter) -> bytes:
    return OK


async def stall(got: Got, writer: asyncio.StreamWriter) -> bytes:
    await asyncio.Event().wait()
    return b""


async def drip(got: Got, writer: asyncio.StreamWriter) -> None:
    """Says 200 at once, and then one byte at a time for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await SystemClock().sleep(0.02)


async def reset(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def huge(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100_000):
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def garbage(got: Got, writer: asyncio.StreamWriter) -> bytes:
    return b"SSH-2.0-nothing to see\r\n\r\n"


@dataclass(slots=True)
class Receiver:
    """What came, in order; `paths` says how to answer at a path, `ok` elsewhere."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    paths: dict[str, Behave] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        for task in list(self.serving):
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        return [one for one in self.got if one.path == path]

    async def until(self, count: int, path: str | None = None, within_s: float = 10) -> None:
        """Wait until so many requests came."""
        async with asyncio.timeout(within_s):
            while len(self.at(path) if path else self.got) < count:
                self.news.clear()
                await self.news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.serving.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.serving.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(headers["content-length"]))
        got = Got(path=first.split()[1], headers=headers, body=body)
        self.got.append(got)
        self.news.set()
        answer = await self.paths.get(got.path, ok)(got, writer)
        if answer is None:
            return False
        writer.write(answer)
        await writer.drain()
        return True
