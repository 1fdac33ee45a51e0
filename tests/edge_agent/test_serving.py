"""The terminal as a service: alone in its home, syncing by itself, watched, and ended cleanly."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from devices.clock import ManualClock, SystemClock
from devices.entropy import SeededEntropy
from edge_agent.agent_log import AgentLog
from edge_agent.asking import ask
from edge_agent.background import Round, Syncing, wait_after
from edge_agent.config import Config, config_text, read_config
from edge_agent.errors import AgentError
from edge_agent.serving import serve
from edge_agent.systemd import Notifier
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.service import PROGRAM, WAIT_S, Service
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World


class EnoughError(Exception):
    """Ends a loop that has no end."""


async def rounds_of(world: World, url: str, count: int) -> list[Round]:
    terminal = world.terminal("shop", server=url, synced=False)
    syncing = Syncing(terminal=terminal, clock=world.clock, every_s=60)
    seen: list[Round] = []

    def after(one: Round) -> None:
        seen.append(one)
        if len(seen) == count:
            raise EnoughError

    with pytest.raises(EnoughError):
        await syncing.keep(after)
    return seen


async def test_failures_back_off_and_a_success_ends_it(world: World, server: RunningServer):
    server.side.lose_requests = 4
    world.terminal("shop", server=server.url, synced=False).store.db.close()
    key = world.keys("shop").public_key()
    server.side.terminals[b"T001"] = KnownTerminal(key=key)
    seen = await rounds_of(world, server.url, 6)
    assert [one.failures for one in seen] == [1, 2, 3, 4, 0, 0]
    for one, most in zip(seen, (2, 4, 8, 16), strict=False):
        assert most / 2 <= one.next_s <= most
    assert [one.next_s for one in seen[4:]] == [60, 60]


def test_the_wait_is_bounded_and_drawn():
    entropy = SeededEntropy("waits")
    waits = [wait_after(1_000, every_s=60, entropy=entropy) for _ in range(100)]
    assert all(150 <= wait <= 300 for wait in waits)
    assert len(set(waits)) > 90


def test_the_service_is_ready_watched_alone_and_ends_cleanly(ready: Shell):
    home = ready.folder / "terminal"
    with Service(home, watchdog_us=200_000) as service:
        service.until_told("READY=1")
        assert "synced, nothing waits" in service.until_told("STATUS=open;")
        service.until_told("WATCHDOG=1")
        service.until_told("WATCHDOG=1")
        second = subprocess.run(
            [*PROGRAM, "terminal", "serve", "--home", str(home)],
            capture_output=True, text=True, check=False, timeout=WAIT_S,
        )  # fmt: skip
        assert second.returncode == 2
        assert second.stdout.count("another process is using this home") == 1
        assert "Traceback" not in second.stdout + second.stderr
        assert ready.terminal("ask", "1", code=2)["code"] == "edge.home_busy"
        assert ready.terminal("status")["unsettled"] == "0"
        code, out, errors = service.stop()
        service.until_told("STOPPING=1")
    assert (code, errors, json.loads(out)["code"]) == (0, "", "edge.stopped")
    lines = (home / "terminal" / "agent.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["started", "stopped"]
    assert ready.terminal("ask", "1")["ok"]


async def test_what_is_open_at_the_end_is_closed(world: World):
    terminal = world.terminal()
    notifier = Notifier.of({})
    with AgentLog(world.folder / "agent.log", world.clock, size=4_096, files=2) as log:
        serving = asyncio.create_task(
            serve(terminal, SystemClock(), world.folder, Config(screen_port=0), notifier, log)
        )
        while not (world.folder / "agent.log").exists():
            await SystemClock().sleep(0.01)
        ask(terminal, 500)
        assert terminal.store.totals().open_count == 1
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            await serving
    assert terminal.store.totals().open_count == 0


def test_what_was_taken_before_the_service_began_is_settled_by_it(ready: Shell):
    paid = ready.payer("pay", ready.terminal("ask", "20")["text"], "--yes")
    ready.terminal("accept", paid["text"])
    ready.terminal("ask", "30")
    with Service(ready.folder / "terminal") as service:
        service.until_told("STATUS=open; synced")
        assert service.stop(signal.SIGINT)[0] == 0
    assert len(ready.server.side.settled) == 1
    assert ready.terminal("status")["open_requests"] == 0


def test_it_syncs_at_once_when_asked_to(ready: Shell):
    (ready.folder / "terminal" / "terminal" / "agent.toml").write_text("sync_every_s = 86400\n")
    with Service(ready.folder / "terminal") as service:
        service.until_told("STATUS=open; synced")
        ready.server.side.revoked.append(bytes(16))
        service.process.send_signal(signal.SIGHUP)
        service.until_told("STATUS=open; synced")
    assert ready.server.side.batches[-1][2] == 1


def test_without_a_server_it_stays_open_and_says_so(ready: Shell):
    ready.server.side.lose_requests = 1_000
    with Service(ready.folder / "terminal") as service:
        told = service.until_told("STATUS=not synced")
        assert "(edge.server_unreachable)" in told
        assert "sales go on" in told
        assert service.stop()[0] == 0


async def test_the_watchdog_hears_only_while_it_is_asked_for():
    taking = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    taking.bind("")
    name = "@" + taking.getsockname()[1:].decode()
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}
    assert Notifier.of({}, 7).every_s is None
    other = Notifier.of(environment, 8)
    assert other.every_s is None
    mine = Notifier.of(environment, 7)
    assert mine.every_s == 30
    mine.tell("READY=1", "STATUS=open")
    assert taking.recv(100) == b"READY=1\nSTATUS=open"
    taking.close()
    mine.tell("STATUS=nobody listens")
    await other.beat(ManualClock(0))
    mine.close()
    other.close()


def test_the_settings_are_read_strictly(tmp_path: Path):
    assert read_config(tmp_path) == Config()
    (tmp_path / "agent.toml").write_text(config_text(Config(sync_every_s=7, log_files=2)))
    assert read_config(tmp_path) == Config(sync_every_s=7, log_files=2)
    for text in ("sync_evry_s = 7", "sync_every_s = 0", "sync_every_s = true", "log_files = '2'",
                 "archive_after_days = 3", "sync_every_s = [", "sync_every_s"):  # fmt: skip
        (tmp_path / "agent.toml").write_text(text)
        with pytest.raises(AgentError) as refusal:
            read_config(tmp_path)
        assert refusal.value.code == "edge.config_invalid"


def test_the_log_is_bounded(tmp_path: Path):
    with AgentLog(tmp_path / "agent.log", ManualClock(5), size=4_096, files=3) as log:
        for number in range(1_000):
            log.write("synced", number=number)
    kept = sorted(tmp_path.iterdir())
    assert [path.name for path in kept] == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(path.stat().st_size <= 4_096 for path in kept)
    last = (tmp_path / "agent.log").read_text().splitlines()[-1]
    assert json.loads(last) == {"at": 5, "event": "synced", "number": 999}


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path):
    with AgentLog(tmp_path / "missing" / "agent.log", ManualClock(0), size=4_096, files=2) as log:
        log.write("started")
