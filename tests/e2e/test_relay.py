"""`hundi work --relay kafka` as a real process: killed at any instant, nothing is lost or reordered."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import httpx
import pytest

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.db.work import Database, Emitted
from server_core.events import cursors, store
from tests.e2e.test_programs import free_port
from tests.server_core.events.mock_kafka import MockKafka, first_seen, mock_kafka
from tests.server_core.events.test_redis import Server

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOPIC = "hundi.events"
AGGREGATES = 40
ROUNDS = 6


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as cluster:
        cluster.make_topic(TOPIC)
        yield cluster


@pytest.fixture
def live(db: Database) -> Database:
    db.clock = SystemClock()
    return db


@pytest.fixture
def env(kafka: MockKafka, database_url: str, tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "HUNDI_HOME": str(tmp_path),
        "HUNDI_DATABASE_URL": database_url,
        "HUNDI_KAFKA_BOOTSTRAP": kafka.address,
    }


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """A test that fails leaves no program behind it."""
    yield
    while Program.started:
        child = Program.started.pop().child
        child.kill()
        child.communicate()


class Program:
    """A child process of one test."""

    started: ClassVar[list["Program"]] = []

    def __init__(self, env: dict[str, str], *words: str) -> None:
        self.started.append(self)
        self.said = ""
        self.child = subprocess.Popen(
            words, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def end(self, number: int) -> tuple[int, str]:
        if self in self.started:
            self.child.send_signal(number)
            _, self.said = self.child.communicate(timeout=30)
            self.started.remove(self)
        return self.child.returncode, self.said

    def alive(self) -> bool:
        return self.child.poll() is None


def relay(env: dict[str, str]) -> Program:
    return Program(env, str(BIN / "hundi"), "work", "--relay", "kafka")


async def emit(db: Database, n: int, name: str = "payment.made") -> None:
    async with db.work() as work:
        work.emit(
            *(
                Emitted(
                    aggregate_type="payment",
                    aggregate_id=UUID(int=1 + i % AGGREGATES),
                    type=name,
                    payload={"n": str(i)},
                )
                for i in range(n)
            )
        )


@asynccontextmanager
async def load(db: Database) -> AsyncIterator[None]:
    """Events without a pause, for as long as it lasts."""

    async def write() -> None:
        while True:
            await emit(db, 100)
            await db.clock.sleep(0.05)

    task = asyncio.create_task(write())
    yield
    task.cancel()
    await asyncio.wait([task])


async def position(db: Database) -> int:
    async with db.reader() as reader:
        return (await cursors.positions(reader)).get("relay.kafka", 0)


async def head(db: Database) -> int:
    async with db.reader() as reader:
        return await store.head(reader)


async def until(holds: Callable[[], object], one: Program) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            assert one.alive(), one.end(signal.SIGKILL)
            await SystemClock().sleep(0.02)


async def moved(db: Database, one: Program) -> None:
    before = await position(db)

    async def further() -> bool:
        return await position(db) > before

    await until(further, one)


async def caught_up(db: Database, one: Program) -> None:
    async def all_sent() -> bool:
        return await position(db) == await head(db)

    await until(all_sent, one)


async def check(db: Database, kafka: MockKafka) -> int:
    """Nothing lost, order kept; how many repeats there are."""
    async with db.reader() as reader:
        assert await store.gap(reader) is None
        due = await store.after(reader, 0, 10**6)
    got = await asyncio.to_thread(kafka.records, TOPIC)
    assert {one.id for one in got} == {one.id for one in due}
    told = first_seen(got)
    assert len(told) == len({one.aggregate_id for one in due})
    for aggregate, sequences in told.items():
        assert sequences == list(range(1, len(sequences) + 1)), aggregate
    return len(got) - len(due)


async def test_killed_between_send_and_mark_it_is_sent_again(
    live: Database, kafka: MockKafka, env: dict[str, str]
) -> None:
    """A broker that has stored the page but not answered yet: the kill falls just there."""
    await emit(live, 1000)
    first = relay(env)

    async def begun() -> bool:
        return await position(live) > 0

    await until(begun, first)
    await caught_up(live, first)
    kafka.stall(8000, 1)
    await emit(live, 1000)

    async def stored() -> bool:
        return await asyncio.to_thread(kafka.count, TOPIC) > 1000

    await until(stored, first)
    first.end(signal.SIGKILL)
    assert await position(live) == 1000
    second = relay(env)
    await caught_up(live, second)
    assert second.end(signal.SIGTERM)[0] == 0
    assert await check(live, kafka) > 0


async def test_killed_at_random_under_load_nothing_is_lost_or_reordered(
    live: Database, kafka: MockKafka, env: dict[str, str]
) -> None:
    chance = SeededEntropy("relay")
    kafka.slow(20)
    async with load(live):
        for _ in range(ROUNDS):
            one = relay(env)
            await moved(live, one)
            await live.clock.sleep(0.4 * chance.unit())
            one.end(signal.SIGKILL)
        pair = [relay(env), relay(env)]  # two at once, one of them killed
        await moved(live, pair[0])
        pair.pop(chance.below(2)).end(signal.SIGKILL)
        await moved(live, pair[0])
    await caught_up(live, pair[0])
    assert pair[0].end(signal.SIGTERM)[0] == 0
    assert await check(live, kafka) > 0, "no kill fell between send and mark: nothing was shown"


async def test_a_consumer_with_an_inbox_has_each_effect_once(
    live: Database, kafka: MockKafka, env: dict[str, str]
) -> None:
    """docs/examples/consume_events.py, killed on its way, with every event delivered twice."""
    for _ in range(4):
        await emit(live, 500, "payment.succeeded")
    carrier = relay(env)
    consumers = []

    async def effects() -> list[UUID]:
        async with live.reader() as reader:
            found = await store.of_type(reader, "receipt.due", 0, 10**6)
        return [one.causation for one in found]

    async def some() -> bool:
        return len(await effects()) >= 500

    async def all_of_them() -> bool:
        return len(await effects()) >= 2000 and await settled()

    async def settled() -> bool:
        return await position(live) == await head(live)

    def consumer() -> Program:
        return Program(env, sys.executable, "docs/examples/consume_events.py")

    consumers.append(consumer())
    await until(some, consumers[0])
    consumers[0].end(signal.SIGKILL)
    async with live.work() as work:  # as after a relay that was killed: the same page once more
        await cursors.hold(work, "relay.kafka")
        await cursors.move(work, "relay.kafka", 0)
    await caught_up(live, carrier)
    last = consumer()
    await until(all_of_them, last)
    carrier.end(signal.SIGTERM)
    last.end(signal.SIGTERM)
    async with live.reader() as reader:
        due = [one.id for one in await store.of_type(reader, "payment.succeeded", 0, 10**6)]
    told = await effects()
    assert len(due) == 2000
    assert sorted(told, key=lambda one: one.int) == sorted(due, key=lambda one: one.int)
    assert kafka.count(TOPIC) >= 4000


async def test_both_relays_in_one_worker_and_the_lag_over_http(
    live: Database, kafka: MockKafka, env: dict[str, str], tmp_path: Path
) -> None:
    redis = Server(tmp_path, append=False)
    port = free_port()
    env |= {"HUNDI_REDIS_URL": redis.url, "HUNDI_PORT": str(port)}
    await emit(live, 300)
    carrier = Program(env, str(BIN / "hundi"), "work", "--relay", "kafka", "--relay", "redis")
    server = Program(env, str(BIN / "hundi"), "serve", "--no-workers")

    async def both() -> bool:
        async with live.reader() as reader:
            found = await cursors.positions(reader)
        return [found.get(f"relay.{one}") for one in ("kafka", "redis")] == [300, 300]

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient() as client:
                said.append(await client.get(f"http://127.0.0.1:{port}/metrics"))
        except httpx.TransportError:
            return False
        return True

    said: list[httpx.Response] = []
    try:
        await until(both, carrier)
        await until(answers, server)
        assert (await asyncio.to_thread(kafka.count, TOPIC)) == len(redis.events()) == 300
    finally:
        ends = [one.end(signal.SIGTERM) for one in (carrier, server)]
        redis.kill()
    assert [code for code, _ in ends] == [0, 0]
    assert '"event": "relay.up"' in ends[0][1]
    assert said[0].headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'hundi_event_lag{cell="cell0",consumer="relay.kafka"} 0.0' in said[0].text.splitlines()
    assert 'hundi_event_head{cell="cell0"} 300.0' in said[0].text.splitlines()


def test_a_relay_without_an_address_says_so(tmp_path: Path, database_url: str) -> None:
    env = os.environ | {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    done = subprocess.run(
        [str(BIN / "hundi"), "work", "--relay", "redis"],
        env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "hundi: redis has no address: set HUNDI_REDIS_URL (settings.relay)\n"
