"""Runs the jobs: each on its own period, in the server's process or apart (`hundi work`)."""

import asyncio
from collections.abc import Sequence

import structlog

from devices.clock import Clock
from server_core.app import Job

_log = structlog.get_logger("hundi.workers")


async def run(jobs: Sequence[Job], clock: Clock) -> None:
    """Tick every job until cancelled. The period is the retry: a failed tick is logged, once."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_repeat(job, clock))


async def _repeat(job: Job, clock: Clock) -> None:
    while True:
        did = 0
        try:
            did = await job.tick()
        except Exception as error:  # noqa: BLE001 - one job's failure is no other's
            _log.error("job.failed", job=job.name, error=repr(error))
        if did == 0:
            await clock.sleep(job.period_s)
