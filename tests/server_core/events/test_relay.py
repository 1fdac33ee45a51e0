"""The relay: whole pages, in order, at least once, and never past a hole."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from devices.clock import ManualClock, SystemClock
from server_core.db.work import Database, Emitted
from server_core.events import cursors, relay, store
from server_core.events.bus import unsent
from server_core.events.kafka import KafkaBus
from server_core.events.model import Event
from server_core.events.relay import Relay, State
from tests.server_core.events.mock_kafka import MockKafka, first_seen, mock_kafka

TOPIC = "hundi.events"


class Memory:
    """A bus whose faults a test chooses."""

    name = "memory"

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.away = False
        self.takes: int | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.asked = asyncio.Event()
        self.gave_up = False

    async def ready(self) -> None:
        if self.away:
            raise unsent(self.name, "away")

    async def publish(self, events: list[Event]) -> None:
        self.asked.set()
        await self.hold.wait()
        self.got += events[: self.takes]
        if self.away or self.takes is not None or self.gave_up:
            raise unsent(self.name, "away")

    def give_up(self) -> None:
        self.gave_up = True
        self.hold.set()

    async def close(self) -> None: ...


@pytest.fixture
def bus() -> Memory:
    return Memory()


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as cluster:
        cluster.make_topic(TOPIC)
        yield cluster


async def emit(db: Database, n: int, aggregates: int = 5) -> None:
    async with db.work() as work:
        work.emit(
            *(
                Emitted(
                    aggregate_type="payment",
                    aggregate_id=UUID(int=1 + i % aggregates),
                    type="payment.made",
                    payload={"n": str(i)},
                )
                for i in range(n)
            )
        )


async def position(db: Database, name: str = "relay.memory") -> int:
    async with db.reader() as reader:
        return (await cursors.positions(reader)).get(name, 0)


def numbers(bus: Memory) -> list[int]:
    return [one.seq for one in bus.got]


async def owner(database_url: str, cell: str, sql: str) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"search_path": cell})
    try:
        await connection.execute("SET session_replication_role = replica;" + sql)
    finally:
        await connection.close()


async def test_pages_in_order_and_the_cursor_after_them(db: Database, bus: Memory) -> None:
    await emit(db, 25)
    one = Relay(db, bus, page=10)
    assert [await one.tick() for _ in range(4)] == [10, 10, 5, 0]
    assert numbers(bus) == list(range(1, 26))
    assert await position(db) == 25
    assert one.state is State.UP


async def test_a_failed_page_is_sent_again_from_its_beginning(db: Database, bus: Memory) -> None:
    await emit(db, 8)
    bus.takes = 3
    one = Relay(db, bus)
    assert await one.tick() == 0
    assert await position(db) == 0
    bus.takes = None
    db.clock.advance(1000)
    assert await one.tick() == 8
    assert numbers(bus) == [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_page_too_heavy_for_the_deadline_shrinks_and_grows_again(
    db: Database, bus: Memory
) -> None:
    assert isinstance(db.clock, ManualClock)
    await emit(db, 1000)
    one = Relay(db, bus, page=400)
    publish, sizes = bus.publish, []

    async def narrow(events: list[Event]) -> None:
        sizes.append(len(events))
        if len(events) > 150:
            raise unsent(bus.name, "no answer in time")
        await publish(events)

    bus.publish = narrow
    while await position(db) < 1000:
        await one.tick()
        db.clock.advance(10_000)
    assert sizes[:5] == [400, 200, 100, 200, 100]
    assert numbers(bus) == list(range(1, 1001))


async def test_a_bus_that_is_away_is_tried_later_and_later_and_named_once(
    db: Database, bus: Memory
) -> None:
    assert isinstance(db.clock, ManualClock)
    await emit(db, 1)
    bus.away = True
    tries = []
    with capture_logs() as logs:
        one = Relay(db, bus)
        ready, bus.ready = bus.ready, lambda: (tries.append(db.clock.monotonic_ms()), ready())[1]
        for _ in range(100):
            await one.tick()
            db.clock.advance(500)
        bus.away = False
        db.clock.advance(10_000)
        assert await one.tick() == 1
    waits = [later - sooner for sooner, later in pairwise(tries)]
    assert waits[:5] == [500, 1000, 2000, 4000, 8000]
    assert set(waits[5:]) <= {10_000, *range(10_000, 15_000, 500)}
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("relay.down", "warning"), ("relay.up", "info"),
    ]  # fmt: skip


async def test_no_transaction_is_open_while_the_bus_is_away(db: Database, bus: Memory) -> None:
    bus.away = True
    one = Relay(db, bus)
    await one.tick()
    async with db.reader() as reader:
        assert await cursors.positions(reader) == {}, "not even the cursor was asked for"


async def test_two_relays_take_turns(db: Database, bus: Memory) -> None:
    await emit(db, 4)
    bus.hold.clear()
    first = asyncio.create_task(Relay(db, bus).tick())
    await asyncio.wait_for(bus.asked.wait(), 5)
    assert await Relay(db, bus).tick() == 0
    bus.hold.set()
    assert await first == 4
    assert numbers(bus) == [1, 2, 3, 4]


async def test_a_relay_that_lost_its_database_marks_nothing_and_another_goes_on(
    db: Database, database_url: str, bus: Memory
) -> None:
    """The zombie: it still sends, while the one that took its place does too."""
    await emit(db, 4)
    bus.hold.clear()
    zombie = asyncio.create_task(Relay(db, bus).tick())
    await asyncio.wait_for(bus.asked.wait(), 5)
    await owner(
        database_url,
        db.cell,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction'",
    )
    other = Memory()
    async with asyncio.timeout(10):
        while not await Relay(db, other).tick():
            await SystemClock().sleep(0.01)
    bus.hold.set()
    assert await zombie == 0
    assert numbers(bus) == numbers(other) == [1, 2, 3, 4]
    assert await position(db) == 4


async def test_a_page_under_way_may_end_when_the_program_stops(db: Database, bus: Memory) -> None:
    await emit(db, 4)
    bus.hold.clear()
    task = asyncio.create_task(Relay(db, bus).tick())
    await asyncio.wait_for(bus.asked.wait(), 5)
    task.cancel()
    bus.hold.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await position(db) == 4


async def test_a_page_that_fails_oddly_does_not_stand_for_the_stop(
    db: Database, bus: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_: object) -> None:
        bus.asked.set()
        await bus.hold.wait()
        raise RuntimeError("a bug of the bus")

    monkeypatch.setattr(bus, "publish", breaks)
    await emit(db, 4)
    bus.hold.clear()
    task = asyncio.create_task(Relay(db, bus).tick())
    await asyncio.wait_for(bus.asked.wait(), 5)
    task.cancel()
    bus.hold.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_page_that_does_not_end_is_given_up_when_the_program_stops(
    db: Database, bus: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "STOP_S", 0.05)
    await emit(db, 4)
    bus.hold.clear()
    task = asyncio.create_task(Relay(db, bus).tick())
    await asyncio.wait_for(bus.asked.wait(), 5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert bus.gave_up
    assert await position(db) == 0


@pytest.mark.parametrize(
    ("sql", "says", "carried"),
    [
        ("DELETE FROM event WHERE seq = 12", "event 12 is missing: the next one is 13", 10),
        ("DELETE FROM event WHERE seq = 11", "event 11 is missing: the next one is 12", 10),
        ("DELETE FROM event WHERE seq = 25", "event 25 is missing: the log's head is 25", 20),
        ("UPDATE event_head SET seq = 7; DELETE FROM event WHERE seq > 7", "the log ends at 7", 10),
    ],
)
async def test_a_hole_stops_it_loudly_and_stays_as_lag(
    db: Database, database_url: str, bus: Memory, sql: str, says: str, carried: int
) -> None:
    assert isinstance(db.clock, ManualClock)
    await emit(db, 25)
    one = Relay(db, bus, page=10)
    await one.tick()
    await owner(database_url, db.cell, sql)
    with capture_logs() as logs:
        for _ in range(5):
            await one.tick()
            db.clock.advance(20_000)
    assert [(log["event"], log["log_level"]) for log in logs] == [("relay.halted", "error")]
    assert says in logs[0]["why"]
    assert numbers(bus) == list(range(1, carried + 1))
    assert await position(db) == carried


@pytest.mark.parametrize(
    ("at", "head", "seqs", "page", "whole"),
    [
        (0, 0, [], 5, True),
        (0, 3, [1, 2, 3], 5, True),
        (0, 9, [1, 2, 3], 3, True),
        (2, 3, [3, 4, 5], 5, True),  # committed after the head was read
        (2, 2, [], 5, True),
        (0, 1, [], 5, False),
        (0, 3, [1, 3], 5, False),
        (0, 3, [2, 3], 5, False),
        (0, 3, [1, 2], 5, False),
        (4, 3, [], 5, False),
    ],
)
def test_what_is_missing(at: int, head: int, seqs: list[int], page: int, *, whole: bool) -> None:
    assert (relay.missing(at, head, seqs, page) is None) is whole


async def test_five_thousand_events_over_kafka_once_each_by_two_relays(
    db: Database, kafka: MockKafka
) -> None:
    db.clock = SystemClock()
    for _ in range(5):
        await emit(db, 1000, aggregates=100)
    buses = [KafkaBus(kafka.address, TOPIC, cell=db.cell, clock=db.clock) for _ in range(2)]
    relays = [Relay(db, bus, page=250) for bus in buses]

    async def run(one: Relay) -> int:
        carried = 0
        while await position(db, "relay.kafka") < 5000:
            carried += await one.tick()
        return carried

    carried = await asyncio.wait_for(asyncio.gather(*map(run, relays)), 60)
    for bus in buses:
        await bus.close()
    got = kafka.records(TOPIC)
    assert sum(carried) == 5000
    assert sorted(one.seq for one in got) == list(range(1, 5001))
    assert list(first_seen(got).values()) == [list(range(1, 51))] * 100
    async with db.reader() as reader:
        assert sorted(got, key=lambda one: one.seq) == await store.after(reader, 0, 5000)


async def test_a_broker_goes_down_under_the_relay_and_comes_back(
    db: Database, kafka: MockKafka
) -> None:
    db.clock = SystemClock()
    bus = KafkaBus(kafka.address, TOPIC, cell=db.cell, clock=db.clock, deadline_ms=500)
    one = Relay(db, bus, page=100)
    await emit(db, 300)
    assert await one.tick() == 100
    kafka.down()
    with capture_logs() as logs:
        assert await one.tick() == 0
        await db.clock.sleep(0.6)
        assert await one.tick() == 0
        kafka.up()
        async with asyncio.timeout(30):
            while await position(db, "relay.kafka") < 300:
                await one.tick()
                await db.clock.sleep(0.05)
    await one.close()
    assert [log["event"] for log in logs] == ["relay.down", "relay.up"]
    told = first_seen(kafka.records(TOPIC))
    assert list(told.values()) == [list(range(1, 61))] * 5
