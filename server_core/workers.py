"""Runs the jobs: each on its own period, in the server's process or apart (`hundi work`).

A job that follows the event log is woken by every commit that emits, too; its period is the floor
when a nudge is lost.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from devices.clock import Clock
from server_core.app import Job
from server_core.db.work import Database
from server_core.events.store import CHANNEL
from server_core.telemetry import metrics

_RELISTEN_S: Final = 1
_log = structlog.get_logger("hundi.workers")


async def run(jobs: Sequence[Job], db: Database) -> None:
    """Tick every job until cancelled. The period is the retry: a failed tick is logged, once."""
    nudges = [asyncio.Event() for job in jobs if job.follows]
    unused = iter(nudges)
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            if job.follows:
                group.create_task(_follow(job, next(unused)))
            else:
                group.create_task(_repeat(job, db.clock))
        if nudges:
            group.create_task(_listen(db, nudges))


async def _repeat(job: Job, clock: Clock) -> None:
    while True:
        if await _tick(job) == 0:
            await clock.sleep(job.period_s)


async def _follow(job: Job, nudge: asyncio.Event) -> None:
    while True:
        nudge.clear()
        if await _tick(job) == 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(job.period_s):
                    await nudge.wait()


async def _listen(db: Database, nudges: Sequence[asyncio.Event]) -> None:
    """Keep one connection that hears commits; while there is none, the periods do."""

    def heard() -> None:
        for nudge in nudges:
            nudge.set()

    while True:
        try:
            async with db.listen(CHANNEL, heard) as lost:
                heard()
                await lost.wait()
        except Exception as error:  # noqa: BLE001 - whatever the database refuses, the jobs go on
            _log.warning("listen.lost", error=str(error))
        await db.clock.sleep(_RELISTEN_S)


async def _tick(job: Job) -> int:
    try:
        with metrics.timer(metrics.JOB_SECONDS, job.name).time():
            done = await job.tick()
    except Exception as error:  # noqa: BLE001 - one job's failure is no other's
        metrics.counter(metrics.JOB_TICKS, job.name, "failed").inc()
        _log.error("job.failed", job=job.name, error=repr(error))
        return 0
    metrics.counter(metrics.JOB_TICKS, job.name, "done").inc()
    return done
