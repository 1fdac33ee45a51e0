"""kill -9 at random instants: nothing shown is lost, nothing happens twice."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from devices.entropy import SeededEntropy
from edge_agent.chain import broken_at
from edge_agent.server import Server
from edge_agent.sync import sync
from offline.journal import Accept, read_row
from offline.wire import SignedVoucher
from tests.edge_agent.crash_driver import RISK
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.world import World

DRIVER = Path(__file__).with_name("crash_driver.py")
ROOT = DRIVER.parents[2]


def until_killed(role: str, folder: Path, seed: int, after_s: float) -> list[str]:
    """Run the driver, kill it `after_s` after it is ready, and give what it had said."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), role, str(folder), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready \n", process.stderr.read()
    plug = threading.Timer(after_s, process.send_signal, [signal.SIGKILL])
    plug.start()
    # Not communicate(): it reads past what readline() had taken ahead, and those lines would be lost.
    with process:
        said, errors = process.stdout.read(), process.stderr.read()
    plug.join()
    assert process.returncode == -signal.SIGKILL, errors
    # A line that the kill cut off was not shown.
    return [line.split(" ", 1)[1] for line in said.splitlines(keepends=True) if line[-1] == "\n"]


async def test_a_terminal_killed_at_random_loses_nothing_it_showed(
    world: World, server: RunningServer
) -> None:
    dice = SeededEntropy("shop")
    first = world.terminal(risk=RISK)
    first.store.db.close()
    shown: list[str] = []
    for seed in range(1, 27):
        said = until_killed("shop", world.folder, seed, 0.15 * dice.unit())
        shown += [line.strip() for line in said]
    terminal = world.terminal()
    store = terminal.store
    assert store.db.read("PRAGMA integrity_check") == [("ok",)]
    assert store.db.read("PRAGMA foreign_key_check") == []
    stored = [h.hex() for (h,) in store.db.read("SELECT h FROM redeemed")]
    assert len(shown) > 100, "the kills came before the work"
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(stored)
    assert len(stored) - len(shown) <= 26, "at most the one in hand at each kill was not yet shown"
    assert broken_at(store) is None
    state = store.state()
    rows = [read_row(r.row) for r in store.journal(state.epoch, 1, state.head_seq)]
    accepted = [row.signed.h.hex() for row in rows if isinstance(row, Accept)]
    assert sorted(accepted) == sorted(stored)
    paid = store.db.first("SELECT count(*) FROM open_request WHERE state = 'paid'")
    assert paid == (len(stored),)
    assert store.totals().open_count == 0
    server.side.terminals[terminal.me.terminal] = KnownTerminal(key=terminal.keys.public_key())
    async with Server(server.url) as door:
        done = await sync(terminal, door)
    assert (done.settled_count, done.left, done.refused) == (len(stored), 0, [])
    assert len(server.side.settled) == len(stored)


@pytest.mark.parametrize("kills", [12])
def test_a_payer_killed_at_random_never_gives_one_counter_two_payloads(
    world: World, kills: int
) -> None:
    dice = SeededEntropy("payer")
    world.payer(allowance=False).store.db.close()
    shown: list[SignedVoucher] = []
    for seed in range(1, kills + 1):
        said = until_killed("payer", world.folder, seed, 0.2 * dice.unit())
        shown += [SignedVoucher.from_text(line.strip()) for line in said]
    device = world.payer()
    device.recover()
    rows = device.store.vouchers(100_000)
    row = device.store.usable()
    assert row is not None
    assert len(shown) > 20, "the kills came before the work"
    by_counter = {r.voucher.counter: r for r in rows}
    assert sorted(by_counter) == list(range(1, row.counter + 1))
    for signed in shown:
        kept = by_counter[signed.voucher.counter]
        assert (kept.h, kept.sig) == (signed.h, signed.sig_v)
    assert len({s.voucher.counter for s in shown}) == len(shown)
    assert row.cum == sum(r.voucher.amount for r in rows)
    assert all(r.sig is not None for r in rows)
    assert device.keys.counter(row.scope) == row.counter
