"""librdkafka's mock cluster in this process, reached over TCP by any client of any process.

The Python binding starts one but gives no handle to it; the library itself does. It speaks the
protocol and keeps records in memory. It does not fence zombies, hides no aborted records, and knows
no CreateTopics: see docs/events.md for what that leaves untested.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

from server_core.events import cloudevents
from server_core.events.model import Event

_PRODUCER: Final = 0
_BROKER: Final = 1
PRODUCE: Final = 0


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*.so*"))))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, *arguments in (
        ("conf_new", pointer),
        ("conf_set", number, pointer, text, text, text, ctypes.c_size_t),
        ("new", pointer, number, pointer, text, ctypes.c_size_t),
        ("destroy", None, pointer),
        ("mock_cluster_new", pointer, pointer, number),
        ("mock_cluster_destroy", None, pointer),
        ("mock_cluster_bootstraps", text, pointer),
        ("mock_topic_create", number, pointer, text, number, number),
        ("mock_broker_set_down", number, pointer, ctypes.c_int32),
        ("mock_broker_set_up", number, pointer, ctypes.c_int32),
        ("mock_broker_set_rtt", number, pointer, ctypes.c_int32, number),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class MockKafka:
    """One broker; `address` is what HUNDI_KAFKA_BOOTSTRAP takes."""

    def __init__(self, library: ctypes.CDLL, cluster: int) -> None:
        self._library, self._cluster = library, cluster
        self.address: str = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def make_topic(self, name: str, partitions: int = 4) -> None:
        self._do("topic_create", name.encode(), partitions, 1)

    def down(self) -> None:
        self._do("broker_set_down", _BROKER)

    def up(self) -> None:
        self._do("broker_set_up", _BROKER)

    def slow(self, rtt_ms: int) -> None:
        """Every answer takes this long: what was sent stays unconfirmed meanwhile."""
        self._do("broker_set_rtt", _BROKER, rtt_ms)

    def stall(self, rtt_ms: int, times: int) -> None:
        """Store what the next Produce requests bring, and answer them so much later."""
        answers = [ctypes.c_int(one) for _ in range(times) for one in (0, rtt_ms)]
        self._library.rd_kafka_mock_broker_push_request_error_rtts(
            ctypes.c_void_p(self._cluster), ctypes.c_int32(_BROKER), ctypes.c_int16(PRODUCE),
            ctypes.c_size_t(times), *answers,
        )  # fmt: skip

    def refuse(self, error: int, times: int) -> None:
        """Answer the next Produce requests with a broker's error code."""
        errors = (ctypes.c_int * times)(*([error] * times))
        self._library.rd_kafka_mock_push_request_errors_array(
            ctypes.c_void_p(self._cluster), ctypes.c_int16(PRODUCE), ctypes.c_size_t(times), errors
        )

    def count(self, topic: str) -> int:
        """How many records the topic holds, confirmed to their producer or not."""
        consumer = Consumer(
            {"bootstrap.servers": self.address, "group.id": "counter", "log_level": 0}
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            places = [TopicPartition(topic, one) for one in partitions]
            return sum(consumer.get_watermark_offsets(one, timeout=10)[1] for one in places)
        finally:
            consumer.close()

    def records(self, topic: str) -> list[Event]:
        """All that the topic holds now, partition by partition, each in its order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "reader",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            places = [TopicPartition(topic, one, 0) for one in partitions]
            due = sum(consumer.get_watermark_offsets(one, timeout=10)[1] for one in places)
            consumer.assign(places)
            found: dict[int, list[Event]] = {one: [] for one in partitions}
            while due > 0:
                batch = consumer.consume(min(5000, due), timeout=10)
                assert batch, f"{due} records did not come"
                for one in batch:
                    assert one.error() is None, one.error()
                    event = cloudevents.from_binary(one.headers(), one.value())
                    found[one.partition()].append(event)
                due -= len(batch)
            return [event for told in found.values() for event in told]
        finally:
            consumer.close()

    def _do(self, what: str, *values: object) -> None:
        failed = getattr(self._library, f"rd_kafka_mock_{what}")(self._cluster, *values)
        assert failed == 0, (what, failed)


@contextmanager
def mock_kafka() -> Iterator[MockKafka]:
    library = _library()
    said = ctypes.create_string_buffer(256)
    settings = library.rd_kafka_conf_new()
    for name, value in ((b"log_level", b"0"), (b"bootstrap.servers", b"127.0.0.1:9")):
        library.rd_kafka_conf_set(settings, name, value, said, len(said))
    handle = library.rd_kafka_new(_PRODUCER, settings, said, len(said))
    assert handle, said.value
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    try:
        yield MockKafka(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(handle)


def first_seen(events: list[Event]) -> dict[str, list[int]]:
    """What a consumer that dedupes by id sees of each aggregate: its sequences, in order."""
    seen = set()
    told: dict[str, list[int]] = {}
    for event in events:
        if event.id not in seen:
            seen.add(event.id)
            told.setdefault(str(event.aggregate_id), []).append(event.sequence)
    return told
