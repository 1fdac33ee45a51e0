"""The bus to Kafka, over TCP to librdkafka's mock cluster."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest

from devices.clock import SystemClock
from server_core.errors import DomainError
from server_core.events import kafka as kafka_bus
from server_core.events.kafka import PARTITIONS, KafkaBus
from server_core.events.model import Event
from server_core.settings import Settings
from tests.server_core.events.mock_kafka import MockKafka, first_seen, mock_kafka

TOPIC = "hundi.events"
OUT_OF_ORDER, TOO_LARGE, LEADER_GONE = 45, 10, 6


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as cluster:
        cluster.make_topic(TOPIC)
        yield cluster


def bus_to(kafka: MockKafka, topic: str = TOPIC, deadline_ms: int = 10_000) -> KafkaBus:
    return KafkaBus(
        kafka.address, topic, cell="cell0", clock=SystemClock(), deadline_ms=deadline_ms
    )


def some(n: int, aggregates: int = 7, start: int = 1, **changes: object) -> list[Event]:
    return [
        Event(
            seq=seq, id=UUID(int=seq), aggregate_type="payment",
            aggregate_id=UUID(int=1000 + seq % aggregates), sequence=(seq - 1) // aggregates + 1,
            type="payment.made", version=1, payload=dict(changes) or {"n": str(seq)},
            recorded_at=1_790_000_000_000 + seq, correlation=None, causation=None,
        )
        for seq in range(start, start + n)
    ]  # fmt: skip


async def test_events_arrive_whole_and_in_order(kafka: MockKafka) -> None:
    bus = bus_to(kafka)
    await bus.ready()
    await bus.publish(some(500))
    await bus.publish(some(500, start=501))
    await bus.close()
    got = kafka.records(TOPIC)
    assert sorted(got, key=lambda one: one.seq) == some(1000)
    assert all(told == list(range(1, len(told) + 1)) for told in first_seen(got).values())


async def test_one_aggregate_has_one_partition_of_many(kafka: MockKafka) -> None:
    bus = bus_to(kafka)
    await bus.publish(some(200, aggregates=50))
    await bus.close()
    runs = [one.aggregate_id for one in kafka.records(TOPIC)]
    assert len(set(runs)) == 50
    assert runs != sorted(runs, key=lambda one: one.int), "several partitions were used"


async def test_a_topic_that_is_missing_is_made(kafka: MockKafka) -> None:
    """The mock knows no CreateTopics: what is seen here is that its refusal is survived."""
    bus = bus_to(kafka, "made.anew")
    await bus.ready()
    await bus.publish(some(3))
    await bus.close()
    assert len(kafka.records("made.anew")) == 3
    assert PARTITIONS == 12


async def test_a_broker_that_is_away_is_unsent_and_later_sent_by_a_new_session(
    kafka: MockKafka,
) -> None:
    bus = bus_to(kafka, deadline_ms=3000)
    await bus.publish(some(10))
    kafka.down()
    with pytest.raises(DomainError, match=r"events\.unsent.* of 5 confirmed"):
        await bus.publish(some(5, start=11))
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.ready()
    kafka.up()
    await bus.ready()
    await bus.publish(some(5, start=11))
    await bus.close()
    assert {one.seq for one in kafka.records(TOPIC)} == set(range(1, 16))


async def test_a_broker_that_was_never_there() -> None:
    bus = KafkaBus("127.0.0.1:9", TOPIC, cell="cell0", clock=SystemClock(), deadline_ms=200)
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.ready()
    await bus.close()


async def test_what_a_broker_may_refuse_for_a_while_is_tried_again(kafka: MockKafka) -> None:
    bus = bus_to(kafka)
    await bus.ready()
    kafka.refuse(LEADER_GONE, 2)
    await bus.publish(some(100))
    await bus.close()
    assert len(kafka.records(TOPIC)) == 100


async def test_a_refused_batch_stops_the_session_and_leaves_no_hole(kafka: MockKafka) -> None:
    bus = bus_to(kafka)
    await bus.ready()
    kafka.refuse(TOO_LARGE, 1)
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await bus.publish(some(400))
    await bus.publish(some(400))
    await bus.close()
    got = kafka.records(TOPIC)
    assert {one.seq for one in got} == set(range(1, 401))
    assert all(told == list(range(1, len(told) + 1)) for told in first_seen(got).values())


async def test_an_event_that_kafka_will_not_carry_is_unsent_and_nothing_after_it(
    kafka: MockKafka,
) -> None:
    bus = bus_to(kafka)
    with pytest.raises(DomainError, match=r"too large"):
        await bus.publish([*some(1), *some(1, start=2, big="x" * 2_000_000), *some(1, start=3)])
    await bus.close()
    assert {one.seq for one in kafka.records(TOPIC)} <= {1}


async def test_a_full_queue_is_waited_for(
    kafka: MockKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kafka_bus._OPTIONS, "queue.buffering.max.messages", 20)
    bus = bus_to(kafka)
    await bus.publish(some(500))
    await bus.close()
    assert sorted(one.seq for one in kafka.records(TOPIC)) == list(range(1, 501))


async def test_a_queue_that_stays_full_is_unsent(
    kafka: MockKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kafka_bus._OPTIONS, "queue.buffering.max.messages", 20)
    bus = bus_to(kafka, deadline_ms=400)
    await bus.ready()
    kafka.down()
    with pytest.raises(DomainError, match=r"0 of 500 confirmed"):
        await bus.publish(some(500))
    await bus.close()


@pytest.mark.parametrize("name", ["", "a b", "..", "x" * 250])
def test_a_topic_s_name_is_checked_at_the_start(name: str) -> None:
    with pytest.raises(DomainError, match=r"settings\.topic"):
        Settings.read({"HUNDI_KAFKA_TOPIC": name})


async def test_giving_up_ends_a_send_that_waits(kafka: MockKafka) -> None:
    bus = bus_to(kafka, deadline_ms=60_000)
    await bus.ready()
    kafka.slow(30_000)
    sending = asyncio.create_task(bus.publish(some(5)))
    done, _ = await asyncio.wait([sending], timeout=0.3)
    assert not done
    bus.give_up()
    with pytest.raises(DomainError, match=r"events\.unsent"):
        await asyncio.wait_for(sending, 10)
    await bus.close()
