"""Long runs: `python -m tests.crash.run --rounds N [--seed S]`, every fault N times in seeded order."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from devices.entropy import SystemEntropy
from tests.crash import faults
from tests.crash.cluster import Cluster
from tests.crash.proxy import Cut, Proxy
from tests.crash.scene import HEAL_S, scene
from tests.crash.test_many_hosts import fail_over
from tests.crash.test_relay import relay_rounds, relayed
from tests.crash.test_server import stage_rounds, staged
from tests.crash.waiting import beside, until


async def postgres(folder: Path, seed: int, rounds: int) -> str:
    cluster = Cluster()
    await beside(cluster.start)
    try:
        async with scene(cluster, folder, seed) as one:
            lost = await faults.rounds(one, rounds)
            posted = await one.stand_still()
    finally:
        await beside(cluster.close)
    return f"{posted} transfers; calls that lost their answer: {lost}"


async def commits(folder: Path, seed: int, rounds: int) -> str:
    cluster = Cluster()
    await beside(cluster.start)
    proxy = Proxy(cluster.port)
    await proxy.start()
    try:
        url = cluster.url(f"seed_{seed}", proxy.port)
        async with scene(cluster, folder, seed, load_url=url) as one:
            for _ in range(10 * rounds):
                due = len(proxy.made) + 1
                proxy.cuts = [list(Cut)[one.dice.below(3)]]
                await until(lambda due=due: len(proxy.made) == due, HEAL_S, "the cut is made")
                await one.under_way()
            posted = await one.stand_still()
    finally:
        await proxy.close()
        await beside(cluster.close)
    return f"{posted} transfers; {len(proxy.made)} commits whose answer was lost"


async def hosts(folder: Path, seed: int, rounds: int) -> str:
    posted = 0
    for number in range(rounds):
        (folder / str(number)).mkdir()
        posted += await fail_over(folder / str(number), seed + number)
    return f"{posted} transfers; {rounds} standbys promoted"


async def server(folder: Path, seed: int, rounds: int) -> str:
    cluster = Cluster()
    await beside(cluster.start)
    try:
        async with staged(cluster, folder, seed) as stage:
            await stage_rounds(stage, rounds)
        return f"{len(stage.till.told)} payments; {stage.lost()} requests without an outcome"
    finally:
        await beside(cluster.close)


async def relay(folder: Path, seed: int, rounds: int) -> str:
    """A broker of its own each round: the mock one forgets what is old."""
    carried = 0
    cluster = Cluster()
    try:
        for number in range(rounds):
            await beside(cluster.start)
            (folder / str(number)).mkdir()
            async with relayed(cluster, folder / str(number), seed + number) as one:
                await relay_rounds(one, 1)
                carried += (await one.at())[0]
    finally:
        await beside(cluster.close)
    return f"{carried} events and more"


PARTS = {one.__name__: one for one in (postgres, commits, hosts, server, relay)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SystemEntropy().below(1_000_000))
    parser.add_argument("--only", choices=PARTS)
    given = parser.parse_args()
    for name, part in PARTS.items():
        if given.only in {None, name}:
            say(f"{name}: seed {given.seed}, {given.rounds} rounds")
            with tempfile.TemporaryDirectory(prefix="hundi-crash-run-") as folder:
                say(asyncio.run(part(Path(folder), given.seed, given.rounds)))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
