"""Connections that open just as a delivery's deadline falls leave nothing behind."""

import asyncio
import gc
from contextlib import suppress
from pathlib import Path

import pytest

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.webhooks.model import IN_ALL, PER_ENDPOINT, Failure
from server_core.webhooks.sending import MAX_READ, Sender

DEADLINE_S = 0.1
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def listening():
    """A server that answers every request, and its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(1)
                writer.write(OK)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_name_that_resolves_at_the_last_moment_uses_nothing_up(listening: int) -> None:
    clock, drawn, late = SystemClock(), SeededEntropy("late"), True

    async def resolve(host: str, port: int) -> list[str]:
        if late:
            await clock.sleep(DEADLINE_S - 0.02 * drawn.unit())
        return ["127.0.0.1"]

    url, headers = f"http://evil.shop:{listening}/", [("webhook-id", "m")]
    before = open_files()
    async with Sender(clock, allow_private=True, resolve=resolve, deadline_s=DEADLINE_S) as sender:
        for _ in range(10):
            await asyncio.gather(*(sender.post(url, b"x", headers) for _ in range(100)))
        assert len(sender._lines) <= PER_ENDPOINT
        await clock.sleep(0.3)
        assert open_files() - before <= 2 * PER_ENDPOINT + 10  # both ends of what is kept
        late = False
        for _ in range(20):  # a busy machine may miss a deadline, a pool that is used up misses all
            heard = await asyncio.gather(*(sender.post(url, b"x", headers) for _ in range(50)))
            if {one.status for one in heard} == {200}:
                break
        assert {one.status for one in heard} == {200}
    await clock.sleep(0.2)
    assert open_files() - before <= 10


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 103 \r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
    ],
)
async def test_an_answer_of_heads_and_frames_is_cut_off(flood: bytes) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            while sent < 200 * MAX_READ:
                writer.write(flood)
                await writer.drain()
                sent += len(flood)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Sender(SystemClock(), allow_private=True, deadline_s=5) as sender:
        heard = await sender.post(f"http://127.0.0.1:{port}/", b"x", [])
    assert heard.failure is not Failure.TIMEOUT
    assert sent < 200 * MAX_READ
    server.close()


async def test_what_is_kept_is_bounded_and_used_again(listening: int) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with Sender(SystemClock(), allow_private=True, resolve=resolve) as sender:
        for shop in range(IN_ALL + 20):
            assert (await sender.post(f"http://shop{shop}.in:{listening}/", b"x", [])).status == 200
        assert len(sender._lines) == IN_ALL
        before = open_files()
        for _ in range(20):
            await sender.post(f"http://shop{IN_ALL}.in:{listening}/", b"x", [])
        assert open_files() <= before
