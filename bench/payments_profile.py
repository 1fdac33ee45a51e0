"""Where a payment's time goes: each statement's wait, and this process's own time by function.

`python -m bench.payments_run --profile`; SECONDS (10 unless set) for each of Confirm and Pay.
"""

import os
from collections import defaultdict
from time import perf_counter
from typing import Any

import uvloop

from bench.cluster import cluster, database
from bench.payments import NO_RAILS, PARTIES, drive, engine
from bench.payments_stage import confirms, intents, pays, town
from bench.sampling import sampled
from server_core.db.batch import Batch
from server_core.db.work import Work
from server_core.payments.confirming import Confirmed, confirm_many, rows_of
from server_core.payments.model import Confirm, Pay

SECONDS = float(os.environ.get("SECONDS", "10"))


class _Timed(Work):
    """A Work that notes how long each statement was waited for."""

    __slots__ = ("spent",)

    def __init__(self, work: Work, spent: dict[str, float]) -> None:
        super().__init__(work._connection, work.now_ms, work.ids)  # noqa: SLF001 - it stands in for it
        self.emitted, self.spent = work.emitted, spent

    async def rows(self, sql: str, *values: object) -> list[Any]:
        began = perf_counter()
        try:
            return await super().rows(sql, *values)
        finally:
            self.spent[sql] += perf_counter() - began

    async def execute(self, sql: str, *values: object) -> int:
        began = perf_counter()
        try:
            return await super().execute(sql, *values)
        finally:
            self.spent[sql] += perf_counter() - began


async def profile(url: str, seconds: float = SECONDS, parties: int = PARTIES) -> None:
    """Print what each statement was waited for, and where the process's own time goes."""
    async with database(url) as db:
        here = await town(db, parties, parties)
        warm = await intents(db, here, 2_000, "warm")
        rate = (await engine(db, confirms(here, warm, "warm"))).rate
        ids = await intents(db, here, int(2 * rate * seconds) + 1_000, "profile")
        for kind, todo in (
            ("Confirm", confirms(here, ids, "confirm")),
            ("Pay", pays(here, 10**9, "pay")),
        ):
            spent: dict[str, float] = defaultdict(float)
            sizes: list[int] = []

            async def run(
                work: Work, commands: Any, spent: dict[str, float] = spent, sizes: list[int] = sizes
            ) -> Any:
                sizes.append(len(commands))
                began = perf_counter()
                try:
                    return await confirm_many(_Timed(work, spent), commands, rails=NO_RAILS)
                finally:
                    spent["confirm_many, whole"] += perf_counter() - began

            queue: Batch[Confirm | Pay, Confirmed] = Batch(db, run, keys=rows_of)
            with sampled() as samples:
                found = await drive(db, queue, todo, seconds)
            await queue.close()
            each_us = found.busy / found.count * 1e6
            print(
                f"\n{kind}: {found.rate:,.0f}/s, {len(sizes)} batches of"
                f" {sum(sizes) / len(sizes):.0f}; this process {each_us:.0f} µs a payment,"
                f" {found.busy / found.seconds:.0%} of a core; {samples.taken} samples"
            )
            print("  waited for, in ms a batch (two lanes at once):")
            for sql, total in sorted(spent.items(), key=lambda item: -item[1]):
                print(f"    {total / len(sizes) * 1000:7.2f} ms  {' '.join(sql.split())[:90]}")
            samples.show(each_us)


async def main() -> None:
    async with cluster() as url:
        await profile(url)


if __name__ == "__main__":
    uvloop.run(main())
