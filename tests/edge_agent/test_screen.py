"""The door of the shop's screen: who may use it, what it takes, and that nothing of it ends the terminal."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from devices.clock import SystemClock
from edge_agent.accepting import accept
from edge_agent.agent_log import AgentLog
from edge_agent.asking import ask
from edge_agent.background import Syncing
from edge_agent.config import Config
from edge_agent.http_door import BODY_MAX, Answer, Asked, door
from edge_agent.screen import ShopScreen, address, pages, screen_key
from edge_agent.serving import serve
from edge_agent.systemd import Notifier
from edge_agent.terminal import Terminal
from edge_agent.till import day_begins
from edge_agent.ussd import Dial
from tests.edge_agent.service import WAIT_S, Service
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World

NOBODY = "http://127.0.0.1:9"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def screen(
    world: World, terminal: Terminal, *, key: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's way to an open terminal, with its key unless another is given."""
    log = AgentLog(world.folder / "agent.log", world.clock, size=65_536, files=2)
    own = screen_key(world.folder, terminal.entropy)
    shown = ShopScreen(
        terminal=terminal,
        clock=world.clock,
        syncing=Syncing(terminal=terminal, clock=world.clock, every_s=60),
        log=log,
        key=own,
        files=pages(),
    )
    headers = {"authorization": f"Bearer {own if key is None else key}"}
    with log:
        async with (
            door(shown, 0) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client,
        ):
            yield client


async def said(client: httpx.AsyncClient, word: str, rest: str = "") -> dict[str, Any]:
    answer = await client.post("/act", json={"word": word, "rest": rest})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def till_of(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.post("/till", json={"east_s": 19_800})).json()
    return found


async def test_a_sale_from_the_keypad_to_the_takings(world: World):
    terminal = world.terminal("shop", server=NOBODY)
    payer = world.payer("asha")
    async with screen(world, terminal) as client:
        assert (await till_of(client))["request"] is None
        asked = await said(client, "ask", "150.50")
        stands = await till_of(client)
        assert stands["request"]["text"] == asked["text"]
        assert stands["request"]["left_s"] <= asked["ttl_s"]
        paid = await said(client, "scan", payer.pay(asked["text"]).to_text())
        assert (paid["look"], paid["paid"], paid["amount"]) == ("PAID", True, "15050")
        stands = await till_of(client)
        assert stands["request"] is None
        assert stands["takings"] == {"count": 1, "amount": "15050"}
        assert stands["waiting"] == {"count": 1, "amount": "15050", "oldest_s": 0}
        again = await said(client, "scan", payer.pay(asked["text"]).to_text())
        assert again["look"] != "NOT_PAID"
        assert (await till_of(client))["takings"]["count"] == 1


async def test_takings_are_of_the_shops_day_and_of_what_stands(world: World):
    terminal = world.terminal("shop", server=NOBODY)
    payer = world.payer("asha")
    async with screen(world, terminal) as client:
        for rupees in ("10", "20"):
            text = (await said(client, "ask", rupees))["text"]
            code = payer.pay(text).to_text()
            await said(client, "scan", code)
        assert (await said(client, "return", code))["look"] == "NOT_PAID"
        assert (await till_of(client))["takings"] == {"count": 1, "amount": "1000"}
        world.clock.advance(24 * 3_600_000)
        assert (await till_of(client))["takings"] == {"count": 0, "amount": "0"}


async def test_what_the_server_does_not_settle_is_told_apart(world: World):
    terminal = world.terminal("shop", server=NOBODY)
    accept(terminal, world.payer("asha").pay(ask(terminal, 700).text).to_text())
    with terminal.store.db.write() as c:
        c.execute("UPDATE redeemed SET result = 'OV_DOUBLE_SPEND'")
    async with screen(world, terminal) as client:
        stands = await till_of(client)
        assert stands["takings"] == {"count": 0, "amount": "0"}
        assert stands["refused"] == {"count": 1, "amount": "700"}
        [row] = (await said(client, "list"))["rows"]
        assert row["why"]


async def test_takings_count_what_was_paid_by_phone(world: World):
    terminal = world.terminal("shop", server=NOBODY)
    asked = ask(terminal, 5_000)
    with terminal.store.db.write() as c:
        c.execute("INSERT OR REPLACE INTO ussd_code VALUES (1, '1234567')")
        day = terminal.floor.now_s() // 86_400
        c.execute(
            "INSERT INTO ussd_challenge VALUES (?, '123456', ?, 5000, 0, 0)", (day, asked.nonce)
        )
    async with screen(world, terminal) as client:
        dial = Dial(code="1234567", rupees=50, challenge="123456").text
        assert (await till_of(client))["request"]["dial"] == dial
        with terminal.store.db.write() as c:
            c.execute("UPDATE ussd_challenge SET paid = 1")
        assert (await till_of(client))["takings"] == {"count": 1, "amount": "5000"}


@pytest.mark.parametrize(
    ("now", "east_s", "begins"),
    [
        (1_700_000_000, 0, 1_699_920_000),
        (1_700_000_000, 19_800, 1_699_986_600),  # half past four of the next day in India
        (1_699_986_600, 19_800, 1_699_986_600),
        (1_699_986_599, 19_800, 1_699_900_200),
    ],
)
def test_a_day_begins_at_the_shops_midnight(now: int, east_s: int, begins: int):
    assert day_begins(now, east_s) == begins


@pytest.mark.parametrize("key", ["x", "0" * 32, "é" * 16])
async def test_without_the_key_nothing_is_told_or_done(world: World, key: str):
    terminal = world.terminal("shop", server=NOBODY)
    async with screen(world, terminal) as client:
        for path in ("/till", "/act"):
            answer = await client.post(
                path, json={"word": "ask", "rest": "5"},
                headers={"authorization": f"Bearer {key}".encode("latin-1")},
            )  # fmt: skip
            assert (answer.status_code, answer.json()["code"]) == (401, "edge.screen_key")
    assert terminal.store.totals().open_count == 0


async def test_another_name_for_this_machine_gets_nothing(world: World):
    """A foreign page whose name is made to point here would be of an origin that is not the screen's."""
    async with screen(world, world.terminal("shop", server=NOBODY)) as client:
        for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example:1"):
            for answer in (
                await client.get("/terminal/", headers={"host": host}),
                await client.post("/act", json={"word": "status"}, headers={"host": host}),
            ):
                assert (answer.status_code, answer.content) == (421, b"")


async def test_a_foreign_page_may_not_even_ask_whether_it_may(world: World):
    async with screen(world, world.terminal("shop", server=NOBODY)) as client:
        answer = await client.options("/act", headers={"origin": "https://evil.example"})
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 9_000, b"\xff", b'{"word": 5}', b'{"word": "quit"}', b'{"word": "ask", "rest": 5}'],
)  # fmt: skip
async def test_what_is_no_word_is_refused_in_words(world: World, body: bytes):
    async with screen(world, world.terminal("shop", server=NOBODY)) as client:
        answer = await client.post("/act", content=body)
        assert answer.json()["code"] == "edge.command_unknown"
        assert answer.json()["ok"] is False


async def test_a_code_is_never_a_files_name(world: World):
    terminal = world.terminal("shop", server=NOBODY)
    voucher = world.payer("asha").pay(ask(terminal, 700).text).to_text()
    (world.folder / "voucher.txt").write_text(voucher)
    async with screen(world, terminal) as client:
        answer = await said(client, "scan", str(world.folder / "voucher.txt"))
        assert (answer["look"], answer["code"]) == ("NOT_PAID", "OV_MALFORMED")


async def test_only_pages_of_the_screen_are_served(world: World):
    async with screen(world, world.terminal("shop", server=NOBODY)) as client:
        page = await client.get("/terminal/")
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        known = await client.get("/terminal/", headers={"if-none-match": page.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        assert (await client.get("/")).headers["location"] == "/terminal/"
        for path in (
            "/payer/",
            "/screen.key",
            "/terminal/../screen.key",
            "/agent.db",
            "/till",
        ):
            assert (await client.get(path)).status_code == 404, path


async def test_a_fault_of_the_screen_is_told_and_the_terminal_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with screen(world, world.terminal("shop", server=NOBODY)) as client:
        with monkeypatch.context() as patch:
            patch.setattr("edge_agent.screen.till", broken)
            answer = await client.post("/till", json={})
        assert (answer.status_code, answer.json()["code"]) == (500, "edge.screen_failed")
        assert (await client.post("/till", json={})).status_code == 200
    assert "ZeroDivisionError" in (world.folder / "agent.log").read_text()


# The door itself


async def silent(_: Asked) -> Answer:
    return Answer(status=200, body=b"hello")


async def spoken(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(WAIT_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"a" * 20_000, b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
    ],
)
async def test_what_is_not_http_ends_the_connection(sent: bytes, status: bytes):
    async with door(silent, 0) as port:
        assert (await spoken(port, sent)).startswith(b"HTTP/1.1 " + status)
        assert b"hello" in await spoken(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # fmt: skip


async def test_a_body_of_the_most_size_is_taken_and_one_more_is_not():
    async def measured(asked: Asked) -> Answer:
        return Answer(status=200, body=str(len(asked.body)).encode())

    async with door(measured, 0) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/"
        assert (await client.post(url, content=b"a" * BODY_MAX)).text == str(BODY_MAX)
        assert (await client.post(url, content=b"a" * (BODY_MAX + 1))).status_code == 413


async def test_connections_are_bounded_and_those_that_wait_keep_nobody_out_for_ever(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("edge_agent.http_door._IDLE_S", 0.3)
    async with door(silent, 0) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(32)]
        await SystemClock().sleep(0.05)
        assert await spoken(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == b""
        for reader, writer in idle:
            async with asyncio.timeout(WAIT_S):
                assert await reader.read() == b""
            writer.close()
        assert b"hello" in await spoken(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # fmt: skip


# The service and its command


async def test_a_taken_port_is_logged_and_the_terminal_serves_without_a_screen(world: World):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(screen_port=taken.getsockname()[1])
        terminal = world.terminal("shop", server=NOBODY)
        path = world.folder / "agent.log"
        with AgentLog(path, world.clock, size=65_536, files=2) as log:
            serving = asyncio.create_task(
                serve(terminal, SystemClock(), world.folder, config, Notifier.of({}), log)
            )
            async with asyncio.timeout(WAIT_S):
                while not (path.exists() and "started" in path.read_text()):
                    await SystemClock().sleep(0.01)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    assert json.loads(path.read_text().splitlines()[0])["event"] == "screen.failed"


def test_the_command_prints_the_address_of_a_running_screen(ready: Shell):
    home = ready.folder / "terminal"
    port = free_port()
    with Service(home, port=port) as service:
        service.until_told("READY=1")
        url = ready.terminal("screen")["url"]
        key = url.partition("#")[2]
        assert url == address(port, key)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/till", json={}, headers={"authorization": f"Bearer {key}"}
        )
        assert answer.json()["name"]
        assert stat.S_IMODE((home / "terminal" / "screen.key").stat().st_mode) == 0o600
        assert service.stop()[0] == 0
    assert ready.terminal("screen")["url"] == url, "the same after a new start"


def test_without_a_screen_the_command_says_so(ready: Shell, tmp_path: Path):
    with Service(ready.folder / "terminal", port=0) as service:
        service.until_told("READY=1")
        assert ready.terminal("screen", code=2)["code"] == "edge.screen_port"
        service.stop()
