"""The terminal as a service: it keeps the home, syncs, tells systemd that it is alive, and ends when asked to."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from devices.clock import Clock
from edge_agent.agent_log import AgentLog
from edge_agent.archive import archive
from edge_agent.background import Round, Syncing
from edge_agent.config import Config, read_config
from edge_agent.errors import AgentError
from edge_agent.home import Home
from edge_agent.http_door import door
from edge_agent.screen import ShopScreen, pages, screen_key
from edge_agent.systemd import Notifier
from edge_agent.terminal import Terminal

LOG: Final = "agent.log"


def run_service(home: Home, terminal: Terminal) -> None:
    """Serve an open terminal by its home's settings, its log beside them."""
    folder = home.root / "terminal"
    config = read_config(folder)
    notifier = Notifier.of(os.environ)
    log = AgentLog(folder / LOG, home.clock, size=config.log_bytes, files=config.log_files)
    try:
        with log:
            asyncio.run(serve(terminal, home.clock, folder, config, notifier, log))
    finally:
        notifier.close()


async def serve(
    terminal: Terminal,
    clock: Clock,
    folder: Path,
    config: Config,
    notifier: Notifier,
    log: AgentLog,
) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP syncs at once.

    Everything touches the file from this one thread and yields only while it waits, so that a stop
    never falls inside a commit. Raises what ended it otherwise: the manager then starts it anew.
    """
    stop = asyncio.Event()
    syncing = Syncing(terminal=terminal, clock=clock, every_s=config.sync_every_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, syncing.woken.set)

    def after(one: Round) -> None:
        _tell(terminal, notifier, log, one)
        if one.done is not None:
            _put_away(terminal, folder, config, log)

    parts: list[asyncio.Future[object]] = []
    try:
        async with AsyncExitStack() as stack:
            if config.screen_port:
                shown = ShopScreen(
                    terminal=terminal, clock=clock, syncing=syncing, log=log,
                    key=screen_key(folder, terminal.entropy), files=pages(),
                )  # fmt: skip
                try:
                    await stack.enter_async_context(door(shown, config.screen_port))
                except AgentError as e:
                    # What was sold must still be synced: the terminal goes on without its screen.
                    log.write("screen.failed", why=str(e))
            parts += [
                asyncio.ensure_future(one)
                for one in (stop.wait(), syncing.keep(after), _beat(notifier, clock))
            ]
            log.write("started", terminal=terminal.me.terminal.hex())
            notifier.tell("READY=1", f"STATUS={terminal.certificate.name}: open")
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
    finally:
        notifier.tell("STOPPING=1")
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        log.write("stopped")
    terminal.close_open(due_only=False)


def _put_away(terminal: Terminal, folder: Path, config: Config, log: AgentLog) -> None:
    """Archive a little after each sync; a full disk stops this and no sale."""
    try:
        rows = archive(terminal, folder, after_days=config.archive_after_days)
    except (AgentError, OSError) as e:
        log.write("archive.failed", why=str(e))
        return
    if rows:
        log.write("archived", rows=rows)


async def _beat(notifier: Notifier, clock: Clock) -> None:
    await notifier.beat(clock)
    # Without a watchdog there is nobody to tell; the service goes on.
    await asyncio.Event().wait()


def _tell(terminal: Terminal, notifier: Notifier, log: AgentLog, one: Round) -> None:
    if one.trouble is not None:
        code = one.trouble.code if isinstance(one.trouble, AgentError) else one.trouble.verdict
        log.write("sync.failed", code=str(code), why=str(one.trouble), failures=one.failures)
        notifier.tell(f"STATUS=not synced ({code}), again in {one.next_s:.0f} s; sales go on")
        return
    done = one.done
    if done is None:
        return
    if done.sent or done.forked or done.revoked_to is not None:
        log.write(
            "synced",
            sent=done.sent,
            settled=done.settled_count,
            refused=len(done.refused),
            forked=done.forked,
        )
    left = "nothing waits" if done.left == 0 else f"{done.left} rows wait"
    state = "QUARANTINED" if terminal.store.state().quarantined else "open"
    notifier.tell(f"STATUS={state}; synced, {left}")
