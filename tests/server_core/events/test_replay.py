"""`hundi events`: lag, replay and tail, as an operator calls them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from devices.clock import SystemClock
from server_core.db.work import Database
from server_core.events import cloudevents
from server_core.events.kafka import KafkaBus
from server_core.events.relay import Relay
from tests.server_core.events.mock_kafka import MockKafka, first_seen, mock_kafka
from tests.server_core.events.test_redis import Server
from tests.server_core.events.test_relay import emit

CELLS = (0,)  # the programs open cell 0
HUNDI = str(Path(sys.executable).with_name("hundi"))
TOPIC = "hundi.events"
THIRD = UUID(int=3)


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as cluster:
        cluster.make_topic(TOPIC)
        yield cluster


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return os.environ | {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}


async def hundi(env: dict[str, str], *words: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        HUNDI, "events", *words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, said.decode(), complained.decode()


async def carry(db: Database, kafka: MockKafka, page: int) -> None:
    db.clock = SystemClock()
    one = Relay(db, KafkaBus(kafka.address, TOPIC, cell=db.cell, clock=db.clock), page=page)
    await one.tick()
    await one.close()


async def test_lag_names_every_cursor(db: Database, kafka: MockKafka, env: dict[str, str]) -> None:
    await emit(db, 30)
    await carry(db, kafka, 20)
    code, said, _ = await hundi(env, "lag")
    lines = said.splitlines()
    assert (code, lines[0]) == (0, "the log ends at 30")
    assert lines[1].startswith("relay.kafka: at 20, 10 behind, oldest ")


@pytest.mark.parametrize("name", [str(THIRD), cloudevents.subject("payment", THIRD)])
async def test_replay_prints_cloudevents(db: Database, env: dict[str, str], name: str) -> None:
    await emit(db, 30)
    code, said, _ = await hundi(env, "replay", "--aggregate", name, "--from", "4")
    told = [cloudevents.from_structured(line.encode()) for line in said.splitlines()]
    assert code == 0
    assert [one.sequence for one in told] == [4, 5, 6]
    assert {one.aggregate_id for one in told} == {THIRD}
    assert json.loads(said.splitlines()[0])["specversion"] == "1.0"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--aggregate", "pay_x", "--from", "1"), "id.unknown"),
        (("--aggregate", str(UUID(int=99)), "--from", "1"), "events.none"),
        (("--aggregate", str(THIRD), "--from", "7"), "events.none"),
        (("--aggregate", str(THIRD), "--from", "1", "--to", "redis"), "settings.relay"),
    ],
)
async def test_what_cannot_be_replayed(
    db: Database, env: dict[str, str], words: tuple[str, ...], says: str
) -> None:
    await emit(db, 30)
    code, _, complained = await hundi(env, "replay", *words)
    assert code == 1
    assert complained.endswith(f"({says})\n")


async def test_replay_to_kafka_repeats_what_was_sent_and_nothing_before_its_time(
    db: Database, kafka: MockKafka, env: dict[str, str]
) -> None:
    await emit(db, 30)
    await carry(db, kafka, 20)
    env |= {"HUNDI_KAFKA_BOOTSTRAP": kafka.address}
    words = ("replay", "--aggregate", str(THIRD), "--from", "2", "--to", "kafka")
    code, said, complained = await hundi(env, *words)
    assert (code, said) == (0, "sent 3 again to kafka; 2 are still to come by the relay\n"), (
        complained
    )
    await carry(db, kafka, 20)
    got = await asyncio.to_thread(kafka.records, TOPIC)
    mine = [one.sequence for one in got if one.aggregate_id == THIRD]
    assert mine == [1, 2, 3, 4, 2, 3, 4, 5, 6]
    assert first_seen(got)[str(THIRD)] == [1, 2, 3, 4, 5, 6]


async def test_replay_to_redis(db: Database, env: dict[str, str], tmp_path: Path) -> None:
    server = Server(tmp_path, append=False)
    try:
        await emit(db, 30)
        words = ("replay", "--aggregate", str(THIRD), "--from", "1", "--to", "redis")
        code, said, _ = await hundi(env | {"HUNDI_REDIS_URL": server.url}, *words)
        assert (code, said) == (0, "sent 0 again to redis; 6 are still to come by the relay\n")
        assert server.events() == []
    finally:
        server.kill()


async def test_tail_prints_what_is_committed_until_it_is_stopped(
    db: Database, env: dict[str, str]
) -> None:
    await emit(db, 3)
    child = await asyncio.create_subprocess_exec(
        HUNDI, "events", "tail", "--after", "1", env=env, stdout=subprocess.PIPE
    )
    assert child.stdout is not None

    async def next_one() -> int:
        line = await asyncio.wait_for(child.stdout.readline(), 30)
        return cloudevents.from_structured(line).seq

    assert [await next_one(), await next_one()] == [2, 3]
    await emit(db, 1)
    assert await next_one() == 4
    child.send_signal(signal.SIGINT)
    await asyncio.wait_for(child.wait(), 30)
