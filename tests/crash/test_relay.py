"""`hundi work --relay kafka` under faults: every event reaches the topic, in its aggregate's order."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server_core.events import cursors
from server_core.events import store as events
from server_core.events.relay import cursor_of
from tests.crash import books
from tests.crash.cluster import Cluster, free_port
from tests.crash.faults import backend_killed, immediate_stop
from tests.crash.programs import Program
from tests.crash.scene import HEAL_S, Scene, scene
from tests.crash.waiting import ASK_S, beside, until
from tests.server_core.events.mock_kafka import MockKafka, first_seen, mock_kafka

TOPIC = "hundi.events"
PARTITIONS, CALLERS = 16, 4
"""The mock broker keeps 5 MB a partition and forgets what is older: so many, and a slow load."""


class Relayed:
    """A scene whose log a relay carries to a broker that may go."""

    def __init__(self, one: Scene, kafka: MockKafka, folder: Path) -> None:
        self.scene, self.kafka = one, kafka
        environment = os.environ | {
            "HUNDI_HOME": str(folder), "HUNDI_DATABASE_URL": one.url,
            "HUNDI_KAFKA_BOOTSTRAP": kafka.address, "HUNDI_KAFKA_TOPIC": TOPIC,
            "HUNDI_UPI_URL": f"http://127.0.0.1:{free_port()}",
        }  # fmt: skip
        words = "hundi", "work", "--relay", "kafka"
        self.worker = Program(folder / "relay.log", *words, environment=environment)

    async def at(self) -> tuple[int, int]:
        """Where the relay stands, and where the log ends."""
        db = await books.open_database(self.scene.url)
        try:
            async with db.reader() as reader:
                stands = (await cursors.positions(reader)).get(cursor_of("kafka"), 0)
                return stands, await events.head(reader)
        finally:
            await db.close()

    async def carries(self) -> None:
        stands, _ = await self.at()

        async def further() -> bool:
            assert self.worker.alive, self.worker.said()
            return (await self.at())[0] > stands

        await until(further, HEAL_S, f"it carries events after {stands}", step_s=ASK_S)

    async def broker_away(self) -> None:
        self.kafka.down()
        _, head = await self.at()
        await self.scene.under_way()
        stands, _ = await self.at()
        self.kafka.up()
        assert stands <= head, "it stood beyond what the broker could have had"

    async def worker_killed(self) -> None:
        await beside(self.worker.kill)
        self.worker.start()


@asynccontextmanager
async def relayed(cluster: Cluster, folder: Path, seed: int) -> AsyncIterator[Relayed]:
    with mock_kafka() as kafka:
        kafka.make_topic(TOPIC, PARTITIONS)
        async with scene(cluster, folder, seed, callers=CALLERS) as one:
            carried = Relayed(one, kafka, folder)
            try:
                carried.worker.start()
                await until(lambda: _stands(carried), 40, "it carries", step_s=ASK_S)
                yield carried
                await one.stand_still()
                await until(lambda: _level(carried), HEAL_S, "it has carried all", step_s=ASK_S)
                await carried.worker.end()
                await beside(_all_there, carried, (await carried.at())[1])
            except BaseException as error:
                error.add_note(f"the relay said: {carried.worker.said()}")
                raise
            finally:
                await beside(carried.worker.drop)


async def _stands(carried: Relayed) -> bool:
    return (await carried.at())[0] > 0


async def _level(carried: Relayed) -> bool:
    stands, head = await carried.at()
    return stands == head


def _all_there(carried: Relayed, head: int) -> None:
    got = carried.kafka.records(TOPIC)
    assert {one.seq for one in got} == set(range(1, head + 1))
    for aggregate, sequences in first_seen(got).items():
        assert sequences == list(range(1, len(sequences) + 1)), aggregate


async def relay_rounds(carried: Relayed, number: int) -> None:
    for _ in range(number):
        carried.kafka.slow(50)  # so that pages are under way when it is killed
        await carried.worker_killed()
        await carried.carries()
        carried.kafka.slow(0)
        await carried.broker_away()
        await carried.carries()
        for fault in (immediate_stop, backend_killed):
            assert await carried.scene.fault(lambda fault=fault: fault(carried.scene)) > 0
            await carried.carries()


async def test_events_reach_the_topic(cluster: Cluster, tmp_path: Path) -> None:
    async with relayed(cluster, tmp_path, 500) as carried:
        await relay_rounds(carried, 1)
