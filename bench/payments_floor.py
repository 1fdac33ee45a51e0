"""The floor of the engine: its own statements with their values, sent again with nothing decided.

A batch's statements are taped while the engine works on one copy of the database; the tape is then
played on another copy, beside the engine's own run. So the rows, the statements, the batches and the
commits are the engine's, and what is missing is only what Python does between them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import asyncpg

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.db.batch import Batch
from server_core.db.work import Database, Work
from server_core.events import store as events
from server_core.payments.confirming import Confirmed, confirm_many, rows_of
from server_core.payments.model import Confirm, Pay
from server_core.rails.connected import Rails

LANES = 2


class Sent(NamedTuple):
    """One statement: `writes` when it changes rows, `tells` when its rows are fetched."""

    sql: str
    values: tuple[object, ...]
    writes: bool
    tells: bool


Script = list[Sent]
"""The statements of one commit, in order."""


class Taped(Work):
    """A Work that notes what is sent, and hears the same answers."""

    __slots__ = ("script",)

    def __init__(self, work: Work, script: Script) -> None:
        super().__init__(work._connection, work.now_ms, work.ids, known=work.known)  # noqa: SLF001 - it stands in for it
        self.emitted, self.script = work.emitted, script

    async def rows(self, sql: str, *values: object) -> list[Any]:
        self.script.append(Sent(sql, values, _writes(sql), tells=True))
        return await super().rows(sql, *values)

    async def value(self, sql: str, *values: object) -> Any:
        self.script.append(Sent(sql, values, _writes(sql), tells=True))
        return await super().value(sql, *values)

    async def execute(self, sql: str, *values: object) -> int:
        self.script.append(Sent(sql, values, _writes(sql), tells=False))
        return await super().execute(sql, *values)


def _writes(sql: str) -> bool:
    """What only reads or locks is left out."""
    return not sql.lstrip().startswith(("SELECT", "WITH locked")) or "append_events" in sql


def size(script: Script) -> int:
    """How many payments a commit holds: as many as keys were claimed."""
    claimed = next(one for one in script if one.sql.startswith("INSERT INTO idempotency"))
    return len(claimed.values[0])  # type: ignore[arg-type]


class Tape:
    """Every commit's statements, in the order of the commits."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self._open: dict[int, Script] = {}

    @asynccontextmanager
    async def queue(self, url: str, rails: Rails) -> AsyncIterator[tuple[Database, Any]]:
        """A database whose confirms are taped, and their queue."""

        async def run(work: Work, commands: Sequence[Confirm | Pay]) -> Sequence[Any]:
            script: Script = []
            self._open[id(work.emitted)] = script
            return await confirm_many(Taped(work, script), commands, rails=rails)

        async def flush(work: Work) -> None:
            script = self._open.pop(id(work.emitted), [])
            await events.flush(Taped(work, script))
            if script:
                self.scripts.append(script)

        db = await Database.connect(url, clock=SystemClock(), entropy=SystemEntropy(), flush=flush)
        batch: Batch[Confirm | Pay, Confirmed] = Batch(db, run, keys=rows_of)
        try:
            yield db, batch
        finally:
            await batch.close()
            await db.close()


async def play(db: Database, scripts: Iterable[Script], *, only_writes: bool = False) -> float:
    """Seconds for the commits of `scripts`, in LANES lanes as the engine has."""
    todo = iter(scripts)

    async def lane() -> None:
        for script in todo:
            await db.transact(partial(_send, script=script, only_writes=only_writes))

    began = perf_counter()
    await asyncio.gather(*(lane() for _ in range(LANES)))
    return perf_counter() - began


async def _send(work: Work, *, script: Script, only_writes: bool) -> None:
    for sql, values, writes, tells in script:
        if only_writes and not writes:
            continue
        if tells:
            await work.rows(sql, *values)
        else:
            await work.execute(sql, *values)


@asynccontextmanager
async def copied(url: str, name: str) -> AsyncIterator[str]:
    """The address of a copy of the database `hundi`, which nobody may be connected to."""
    owner = await asyncpg.connect(url.replace("/hundi?", "/postgres?"))
    try:
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE hundi STRATEGY file_copy")
        yield url.replace("/hundi?", f"/{name}?")
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await owner.close()
