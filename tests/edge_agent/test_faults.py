"""A full disk, a disk that fails, a clock that leaps: nothing is shown as paid that is not, lost, or paid twice."""

import errno
import functools
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import doctor
from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.chain import broken_at
from edge_agent.errors import AgentError, VerdictError
from edge_agent.health import Level, findings
from edge_agent.server import Server
from edge_agent.sync import sync
from edge_agent.terminal import Terminal
from offline.journal import Accept
from offline.verdicts import Verdict
from tests.edge_agent import failing_disk
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import DAY_S, World, rows

failing = pytest.mark.skipif(not failing_disk.KNOWN, reason="the fault is written for Linux")


async def settled(server: RunningServer, terminal: Terminal) -> int:
    server.side.terminals.setdefault(
        terminal.me.terminal, KnownTerminal(key=terminal.keys.public_key())
    )
    async with Server(server.url) as door:
        done = await sync(terminal, door)
    assert (done.left, done.refused) == (0, [])
    return len(server.side.settled)


def whole(terminal: Terminal, sold: set[bytes]) -> None:
    """The file is sound, and holds each sale once."""
    db = terminal.store.db
    assert db.read("PRAGMA integrity_check") == [("ok",)]
    assert broken_at(terminal.store) is None
    accepted = [row.signed.h for row in rows(terminal) if isinstance(row, Accept)]
    assert sorted(accepted) == sorted(sold)
    assert {h for (h,) in db.read("SELECT h FROM redeemed")} == sold


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "hundi-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this machine has no mount")
    if done.returncode != 0:
        pytest.skip(f"a small disk needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not one block free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 16, 4_096, 1):
            try:
                while out.write(b"x" * size):
                    continue
            except OSError as e:
                assert e.errno == errno.ENOSPC  # noqa: PT017 - that it is full is what is asked for
    return filler


async def test_a_full_disk_stops_sales_and_loses_none(
    world: World, server: RunningServer, small: Path
):
    shop = World(small, issuer=world.issuer, clock=world.clock)
    terminal, payer = shop.terminal(), world.payer()
    first = payer.pay(ask(terminal, 100).text)
    assert accept(terminal, first.to_text()).paid
    second = payer.pay(ask(terminal, 200).text)
    filler = fill(small)
    for _ in range(2):
        with pytest.raises(AgentError) as refusal:
            accept(terminal, second.to_text())
        assert refusal.value.code == "edge.disk_full"
    with pytest.raises(AgentError) as refusal:
        ask(terminal, 300)
    assert refusal.value.code == "edge.disk_full"
    with pytest.raises(AgentError):
        await settled(server, terminal)
    assert doctor._disk(small / "shop").level is Level.BAD
    filler.unlink()
    assert accept(terminal, second.to_text()).paid
    third = payer.pay(ask(terminal, 300).text)
    assert accept(terminal, third.to_text()).paid
    sold = {first.h, second.h, third.h}
    whole(terminal, sold)
    assert await settled(server, terminal) == 3
    terminal.store.db.close()
    whole(shop.terminal(), sold)
    shop.close()


@failing
async def test_a_disk_that_fails_once_stops_one_sale(
    world: World, server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    # The fault belongs to a thread; the file is the same connection's before, in and after it.
    loose = functools.partial(sqlite3.connect, check_same_thread=False)
    monkeypatch.setattr(sqlite3, "connect", loose)
    terminal, payer = world.terminal(), world.payer()
    first = payer.pay(ask(terminal, 100).text)
    assert accept(terminal, first.to_text()).paid
    second = payer.pay(ask(terminal, 200).text)
    raised = failing_disk.on_a_failing_disk(lambda: accept(terminal, second.to_text()))
    assert isinstance(raised, AgentError)
    assert (raised.code, "SQLITE_IOERR_FSYNC" in raised.message) == ("edge.store_failed", True)
    assert terminal.store.redeemed(second.h) is None
    assert accept(terminal, second.to_text()).paid
    whole(terminal, {first.h, second.h})
    assert await settled(server, terminal) == 2


@failing
def test_a_device_whose_disk_fails_shows_no_voucher_and_spends_once(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    loose = functools.partial(sqlite3.connect, check_same_thread=False)
    monkeypatch.setattr(sqlite3, "connect", loose)
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 100)
    raised = failing_disk.on_a_failing_disk(lambda: payer.pay(asked.text))
    assert isinstance(raised, AgentError)
    assert "SQLITE_IOERR_FSYNC" in raised.message
    signed = payer.pay(asked.text)
    assert accept(terminal, signed.to_text()).paid
    assert (signed.voucher.counter, payer.store.usable().cum) == (1, 100)


@failing
@pytest.mark.parametrize("killed", [False, True])
def test_a_sale_on_a_failing_disk_is_not_paid_until_the_disk_takes_it(ready: Shell, killed: bool):
    first = ready.payer("pay", ready.terminal("ask", "10")["text"], "--yes")
    ready.terminal("accept", first["text"])
    paid = ready.payer("pay", ready.terminal("ask", "20")["text"], "--yes")
    home = ready.folder / "terminal"
    words = ["terminal", "accept", paid["text"], "--home", str(home)]
    if killed:
        done = failing_disk.killed_accept(home, paid["text"])
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        assert "SQLITE_IOERR_FSYNC" in done.stdout
    else:
        done = failing_disk.command(*words)
        assert (done.returncode, done.stderr) == (2, "")
        said = json.loads(done.stdout)
        assert (said["code"], said["paid"]) == ("edge.store_failed", False)
        assert "SQLITE_IOERR_FSYNC" in said["message"]
    # What the failed commit left in the log is not believed while the disk still fails.
    again = json.loads(failing_disk.command(*words).stdout)
    assert (again["paid"], "SQLITE_IOERR" in again["message"]) == (False, True)
    taken = ready.terminal("accept", paid["text"])
    assert (taken["paid"], taken["code"]) == (
        True,
        # The killed commit was whole in the log: the next start brought it onto the disk.
        "OV_ALREADY_ACCEPTED" if killed else "OV_ACCEPTED",
    )
    assert ready.terminal("journal")["chain_ok"]
    assert [row["minor"] for row in ready.terminal("list")["rows"]] == ["2000", "1000"]
    assert ready.terminal("sync")["settled"] == "3000"
    assert len(ready.server.side.settled) == 2


@pytest.mark.parametrize("days", [-3, 3])
async def test_a_clock_that_leaps_stops_requests_and_pays_nothing_twice(
    world: World, server: RunningServer, days: int
):
    terminal, payer = world.terminal(server=server.url), world.payer()
    shown = payer.pay(ask(terminal, 100).text)
    right_ms = world.clock.now_ms()
    world.clock.set_wall(right_ms + days * DAY_S * 1000)
    result = accept(terminal, shown.to_text())
    # Set back, the floor still tells the time; set ahead, the allowance seems over: refused, not lost.
    assert result.verdict is (Verdict.ACCEPTED if days < 0 else Verdict.ALLOWANCE_EXPIRED)
    assert result.paid is (days < 0)
    for opened in (terminal, world.terminal(server=server.url, synced=False, boot="boot-two")):
        with pytest.raises(VerdictError) as refusal:
            ask(opened, 200)
        assert refusal.value.verdict is Verdict.CLOCK_UNTRUSTED
    found = findings(doctor.standing(terminal.store, world.clock))
    assert [one.what for one in found if one.level is Level.BAD] == ["clock"]
    assert "3 days" in next(one.says for one in found if one.what == "clock")
    world.clock.set_wall(right_ms)
    again = accept(terminal, shown.to_text())
    if days < 0:
        assert (again.verdict, again.paid) == (Verdict.ALREADY_ACCEPTED, False)
    else:
        # The restart closed the request: the sale is asked for again.
        assert again.verdict is Verdict.CHALLENGE_EXPIRED
    other = payer.pay(ask(terminal, 200).text)
    assert accept(terminal, other.to_text()).paid
    whole(terminal, {other.h} | ({shown.h} if days < 0 else set()))
    assert await settled(server, terminal) == (2 if days < 0 else 1)


def test_the_small_disk_is_part_of_a_run_as_root(small: Path):
    """As root nothing above is skipped for want of a disk."""
    assert os.statvfs(small).f_blocks * os.statvfs(small).f_frsize == 1 << 20
