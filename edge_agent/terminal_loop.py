"""The open terminal: one process that reads a line at a time and syncs beside it when it can."""

import asyncio
import sys
import threading
from functools import partial
from typing import Final

from devices.clock import Clock
from edge_agent import terminal_said as said
from edge_agent.acts import act
from edge_agent.background import Syncing
from edge_agent.cli_shape import answer
from edge_agent.codes import read_code
from edge_agent.show import TROUBLES, Said, Screen, trouble
from edge_agent.terminal import Terminal

_LINE_MAX: Final = 8_192


async def run_loop(terminal: Terminal, clock: Clock, screen: Screen, *, sync_every_s: int) -> None:
    """Answer lines until quit or the end of the input.

    Everything touches the file from this one thread; only waiting for the network yields, so a sale
    is never inside another's transaction and never waits for the server.
    """
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in iter(lambda: sys.stdin.readline(_LINE_MAX), ""):
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    syncing = Syncing(terminal=terminal, clock=clock, every_s=sync_every_s)
    # Silently: without a link nothing is wrong, and a spoken `sync` or `status` tells the rest.
    ticks = asyncio.create_task(syncing.keep(lambda _: None))
    screen.say(
        Said(ok=True, code="edge.ready", line=f"{terminal.certificate.name}: the terminal is open.")
    )
    try:
        while (line := await lines.get()) is not None:
            word, _, rest = line.strip().partition(" ")
            if word == "quit":
                break
            if word == "sync":
                await _sync_now(terminal, screen, syncing)
            elif word:
                answer(screen, partial(act, terminal, clock, word, rest.strip(), read_code))
    finally:
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)
        terminal.close_open(due_only=False)


async def _sync_now(terminal: Terminal, screen: Screen, syncing: Syncing) -> None:
    try:
        screen.say(said.synced(terminal, await syncing.once()))
    except TROUBLES as e:
        screen.say(trouble(e))
