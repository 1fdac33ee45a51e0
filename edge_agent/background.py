"""What an open terminal does beside its sales: sync now and then, sooner again after a failure, in vain never fast."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from devices.clock import Clock
from devices.entropy import Entropy
from edge_agent.errors import AgentError, VerdictError
from edge_agent.server import Server
from edge_agent.sync import Synced, sync
from edge_agent.terminal import Terminal

_FIRST_S: Final = 2.0
_LONGEST_S: Final = 300.0
_DOUBLINGS_MAX: Final = 16


def wait_after(failures: int, *, every_s: float, entropy: Entropy) -> float:
    """Give the seconds until the next sync after so many failures in a row.

    It doubles from 2 s to 5 minutes; the half of it is drawn, so that the shops of a town whose link
    comes back do not all call in the same second.
    """
    if failures == 0:
        return every_s
    most = min(_LONGEST_S, _FIRST_S * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
    return most * (1 + entropy.unit()) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one try came to: `done`, or what went wrong; and when the next one is."""

    done: Synced | None = None
    trouble: AgentError | VerdictError | None = None
    failures: int = 0
    next_s: float = 0


@dataclass(slots=True, kw_only=True)
class Syncing:
    """The one place that syncs an open terminal: never twice at a time, and at once when woken."""

    terminal: Terminal
    clock: Clock
    every_s: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def once(self) -> Synced:
        async with self.lock, Server(self.terminal.me.server) as door:
            return await sync(self.terminal, door)

    async def keep(self, after: Callable[[Round], None]) -> None:
        """Sync for ever; `after` hears of each round, in this thread and outside any commit."""
        failures = 0
        while True:
            done, trouble = None, None
            self.woken.clear()
            try:
                done = await self.once()
                failures = 0
            except (AgentError, VerdictError) as e:
                trouble, failures = e, failures + 1
                self._close_due()
            wait_s = wait_after(failures, every_s=self.every_s, entropy=self.terminal.entropy)
            after(Round(done=done, trouble=trouble, failures=failures, next_s=wait_s))
            await _either(self.clock.sleep(wait_s), self.woken.wait())

    def _close_due(self) -> None:
        try:
            self.terminal.close_open(due_only=True)
        except AgentError:
            # The disk is full or broken: the sale at hand says so to a person, and the next round tries.
            return


async def _either(*waits: Awaitable[object]) -> None:
    """Wait for the first of them and let the others go."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
