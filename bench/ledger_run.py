"""`make bench-ledger`: every figure of the ledger in one run on one machine, each as a ratio.

STORED (5,000,000 unless set) is how many transfers are stored before the last part is measured.
"""

import asyncio
import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter
from uuid import UUID

import uvloop

from bench import ledger_baselines as baselines
from bench import ledger_writer, relay, webhooks
from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from bench.ledger import group_commit, moves, open_accounts, version
from devices.entropy import SeededEntropy
from server_core.db.work import Database
from server_core.events import store as events
from server_core.ledger import audit, rebuild
from server_core.ledger.model import Finding, Transfer
from server_core.seals import jobs as sealing
from server_core.seals import keys
from server_core.seals import service as seals

STORED = int(os.environ.get("STORED", "5000000"))
KEY = keys.JournalKey(SeededEntropy(1).bytes(32))
CALLERS = 1_000


async def rate_of(db: Database, wallets: list[UUID], seed: int, runs: int = 3) -> float:
    """The median of `runs` runs of 40,000 transfers."""
    rates = []
    for run in range(runs):
        rate, _ = await group_commit(db, moves(wallets, 40_000, seed + run), CALLERS)
        rates.append(rate)
    return median(rates)


async def against_baselines(url: str, db: Database, wallets: list[UUID]) -> list[Figure]:
    uniform = await rate_of(db, wallets, 100)
    figures = [
        Figure(
            name="group commit, 1,000 callers, uniform", value=uniform, unit="transfers/s",
            n=120_000, baseline=20_000, ratio=uniform / 20_000, goal="20,000; at least 15,000",
            holds=uniform >= 15_000,
        )
    ]  # fmt: skip
    for name, run, n, goal in (
        ("ORM with row locks", baselines.orm, 1_500, 60),
        ("asyncpg transaction", baselines.by_hand, 3_000, 20),
        ("stored function", baselines.stored_function, 8_000, 6),
    ):
        found = await run(url, moves(wallets, n, n), CALLERS)
        beside, _ = await group_commit(db, moves(wallets, 40_000, n + 1), CALLERS)
        figures.append(
            Figure(
                name=f"  against a {name} a transfer", value=beside, unit="transfers/s", n=n,
                baseline=found, ratio=beside / found, goal=f"≥ {goal} ×",
                holds=beside >= goal * found,
            )
        )  # fmt: skip
    hot, _ = await group_commit(db, moves(wallets, 40_000, 200, hot=True), CALLERS)
    figures.append(
        Figure(
            name="one hot account", value=hot, unit="transfers/s", n=40_000, baseline=uniform,
            ratio=hot / uniform, goal="≥ uniform", holds=hot >= uniform,
        )
    )  # fmt: skip
    rate, waits = await group_commit(db, moves(wallets, 40_000, 300), 100)
    p95 = percentile(waits, 0.95)
    figures.append(
        Figure(
            name="100 callers: p95 of one wait", value=p95, unit="ms", n=40_000,
            goal="≤ 10 ms", holds=p95 <= 10,
        )
    )  # fmt: skip
    figures.append(Figure(name="  and its rate", value=rate, unit="transfers/s", n=40_000))
    return figures


def unclean(wallets: list[UUID], n: int, seed: int) -> list[Transfer]:
    """2 % that cannot be paid, and 1 % that were sent before."""
    made = moves(wallets, n, seed)
    for place in range(1_000, n, 100):
        made[place] = made[place - 900]
    for place in range(10, n, 50):
        one = made[place]
        made[place] = Transfer(id=one.id, debit=one.debit, credit=one.credit, amount=10**15)
    return made


async def other_loads(url: str, db: Database, wallets: list[UUID]) -> list[Figure]:
    clean, _ = await group_commit(db, moves(wallets, 60_000, 400), CALLERS)
    mixed, _ = await group_commit(db, unclean(wallets, 60_000, 500), CALLERS, clean=False)
    figures = [
        Figure(
            name="2 % refused and 1 % repeated", value=mixed, unit="transfers/s", n=60_000,
            baseline=clean, ratio=mixed / clean, goal="≥ 0.8", holds=mixed >= 0.8 * clean,
        )
    ]  # fmt: skip
    two = await asyncio.to_thread(two_processes, url)
    one, _ = await group_commit(db, moves(wallets, 60_000, 600), CALLERS)
    figures.append(
        Figure(
            name="two server processes, 500 callers each", value=two, unit="transfers/s",
            n=80_000, baseline=one, ratio=two / one, goal="≥ 1 process", holds=two >= one,
        )
    )  # fmt: skip
    cached = await ledger_writer.run(db, moves(wallets, 40_000, 700), CALLERS)
    figures.append(
        Figure(
            name="a single writer that caches balances (not built)", value=cached,
            unit="transfers/s", n=40_000, baseline=one, ratio=cached / one,
        )
    )  # fmt: skip
    return figures


def two_processes(url: str) -> float:
    """Transfers a second of two processes together, from the first's begin to the last's end."""
    peers = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.ledger_peer", url, str(seed), "40000", "500"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for seed in (801, 901)
    ]  # fmt: skip
    for peer in peers:
        peer.stdout.readline()
    for peer in peers:
        peer.stdin.write("go\n")
        peer.stdin.flush()
    said = [json.loads(peer.communicate(timeout=300)[0]) for peer in peers]
    return 80_000 / (max(one["ended"] for one in said) - min(one["began"] for one in said))


async def proofs(db: Database, stored: int) -> dict[str, float]:
    """Seconds to seal, verify, check the seals and rebuild, over all that is stored."""
    began = perf_counter()
    while await sealing.tick(db, KEY):
        pass
    took = {"seal": perf_counter() - began}
    async with db.snapshot() as reader:
        began = perf_counter()
        wrong = await audit.findings(reader)
        gap = await events.gap(reader)
        took["verify, the laws"] = perf_counter() - began
        began = perf_counter()
        wrong += [one async for one in seals.findings(reader, KEY.public, "cell0") if _bad(one)]
        took["verify, the seals"] = perf_counter() - began
        began = perf_counter()
        wrong += [one async for one in rebuild.differences(reader) if _bad(one)]
        took["rebuild --check"] = perf_counter() - began
    if wrong or gap:
        raise RuntimeError(f"after {stored} transfers: {wrong} {gap}")
    return took


def _bad(one: Finding | int) -> bool:
    return isinstance(one, Finding)


async def fill(db: Database, wallets: list[UUID], count: int, seed: int) -> None:
    for part in range(0, count, 100_000):
        await group_commit(db, moves(wallets, min(100_000, count - part), seed + part), CALLERS)
        print(f"\r  stored {part + 100_000:,} of {count:,}", end="", flush=True)
    print()


async def grown(db: Database, wallets: list[UUID]) -> list[Figure]:
    """What a tenth and the whole of STORED change, in a database of its own."""
    empty = await rate_of(db, wallets, 1_000, runs=5)
    tenth = STORED // 10
    await fill(db, wallets, tenth - 200_000, 10_000)
    first = await proofs(db, tenth)
    await fill(db, wallets, STORED - tenth, 10_000_000)
    full = await rate_of(db, wallets, 2_000, runs=5)
    last = await proofs(db, STORED)
    figures = [
        Figure(
            name=f"with {STORED:,} stored", value=full, unit="transfers/s", n=200_000,
            baseline=empty, ratio=full / empty, goal="≥ 0.9 of empty", holds=full >= 0.9 * empty,
        )
    ]  # fmt: skip
    for name, seconds in last.items():
        rows = STORED - tenth if name == "seal" else STORED
        before = first[name] / tenth * rows
        figures.append(
            Figure(
                name=name, value=rows / seconds, unit="transfers/s", n=rows, baseline=rows / before,
                ratio=before / seconds, goal="linear: ≥ 0.8", holds=before / seconds >= 0.8,
            )
        )  # fmt: skip
    return figures


async def main() -> bool:
    figures: list[Figure] = []
    async with cluster() as url:
        figures.append(await version(url))
        async with database(url) as db:
            wallets = await open_accounts(db)
            await group_commit(db, moves(wallets, 5_000, 7), CALLERS)  # warm
            figures += await against_baselines(url, db, wallets)
            figures += await other_loads(url, db, wallets)
            async with db.snapshot() as reader:
                if wrong := [one for one in await audit.findings(reader) if one.fatal]:
                    raise RuntimeError(f"the books are wrong: {wrong}")
    for measure in (relay.measure, webhooks.measure):
        async with cluster() as url:
            figures += await measure(url)
    async with cluster() as url, database(url) as db:
        figures += await grown(db, await open_accounts(db))
    return report("bench-ledger", figures)


if __name__ == "__main__":
    sys.exit(0 if uvloop.run(main()) else 1)
