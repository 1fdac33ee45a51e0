"""Arrivals that wait for no answer, and upi-core beside them as the process that it is.

Each wait is counted from the moment at which its request was to arrive, so that a stall of ours is
in the figures and does not thin out what comes meanwhile.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar
from uuid import UUID

import httpx

from devices.clock import SystemClock
from devices.entropy import SeededEntropy, SystemEntropy
from server_core.db.work import Database
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails
from server_core.rails.model import RailAnswer, RailOrder
from server_core.rails.upi import UpiRail

T = TypeVar("T")
SEED = 7
_MAIN = "from bff.cli.main import main; main()"
_CLOCK = SystemClock()


async def arrive(
    todo: Iterable[T], rate: float, do: Callable[[T, float], Awaitable[None]], seed: int = SEED
) -> None:
    """Begin `do(one, due)` at Poisson times of `rate` a second, `due` by perf_counter; wait for all."""
    chance, tasks = SeededEntropy(f"arrivals:{seed}"), set()
    due = perf_counter()
    for one in todo:
        due += -math.log(1 - chance.unit()) / rate
        await _CLOCK.sleep(max(0.0, due - perf_counter()))
        tasks.add(asyncio.create_task(do(one, due)))  # type: ignore[arg-type]
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, BaseException):
            raise done


class Line(UpiRail):
    """The real adapter, which keeps what each call took and what it answered."""

    __slots__ = ("answers",)

    async def authorize(self, order: RailOrder) -> RailAnswer:
        answer = await super().authorize(order)
        self.answers[order.attempt] = answer
        return answer


@dataclass(slots=True, kw_only=True)
class Switch:
    """One `hundi sandbox` and the adapter that speaks to it."""

    address: str
    line: Line
    answers: dict[UUID, RailAnswer] = field(default_factory=dict)

    async def behave(self, **said: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.address}/upi/admin/behaviour", json=said)
            answer.raise_for_status()


@asynccontextmanager
async def switch(seed: int = SEED, **behaviour: Any) -> AsyncIterator[Switch]:
    """upi-core as a process of its own on a free port."""
    words = ["sandbox", "--port", "0", "--seed", str(seed)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MAIN, *words,
        cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout
    try:
        async with asyncio.timeout(30):
            address = (await child.stdout.readline()).decode().split()[-1]
        async with Line.connect(address) as line:
            made = Switch(address=address, line=line)
            line.answers = made.answers
            await made.behave(**behaviour)
            yield made
    finally:
        child.terminate()
        await child.wait()


@asynccontextmanager
async def connected(
    db: Database, count: int = 1, *, pace: float = 1.0, **behaviour: Any
) -> AsyncIterator[tuple[Rails, Confirmations, list[Switch]]]:
    """`count` connections over UPI (`upi`, `upi.2`), and the queue in which confirms are committed."""
    async with AsyncExitStack() as opened:
        switches = [
            await opened.enter_async_context(switch(SEED + place, **behaviour))
            for place in range(count)
        ]
        names = ["upi", *(f"upi.{place}" for place in range(2, count + 1))]
        rails = Rails(
            by_name={name: one.line for name, one in zip(names, switches, strict=True)},
            pace=pace,
            entropy=SystemEntropy(),
        )
        queue = Confirmations(db, rails)
        try:
            yield rails, queue, switches
        finally:
            await queue.close()
