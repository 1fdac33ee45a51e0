"""PostgreSQL and the posting program killed under load: all that was told is there, once."""

from pathlib import Path

from tests.crash import faults
from tests.crash.cluster import Cluster
from tests.crash.scene import scene

ROUNDS = 2


async def test_every_fault_under_load(cluster: Cluster, tmp_path: Path) -> None:
    seed = 100
    async with scene(cluster, tmp_path, seed) as one:
        await faults.rounds(one, ROUNDS)
        await one.stand_still()
