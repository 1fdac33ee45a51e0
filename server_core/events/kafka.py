"""The bus to Kafka: CloudEvents in binary mode, keyed by aggregate, with an idempotent producer.

What keeps the order: one producer session writes each partition's events as a run without a hole,
from the first one that the relay gave it. So nothing may fail alone: no message has a timeout of
its own (`message.timeout.ms` 0), a refused one stops the session (`enable.gapless.guarantee`), and
after any failure everything that still waits is purged and the session is thrown away. Whatever is
in the topic then is a beginning of what was given, and the next session begins at or before it.

librdkafka's producer blocks nobody but the thread that flushes it, so a page is sent in a thread of
its own. Its asyncio producer was measured and not taken: it has no headers in a batch.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devices.clock import Clock
from server_core.events import cloudevents
from server_core.events.bus import unsent
from server_core.events.model import Event

PARTITIONS: Final = 12
"""Of a topic that we make. More cannot be added later without moving keys: see docs/events.md."""
DEADLINE_MS: Final = 10_000
"""A page's time to be taken; the relay holds its transaction open as long."""
_PROBE_S: Final = 3
_FULL_S: Final = 0.05
_FLUSH_S: Final = 0.25
_OPTIONS: Final = {
    "client.id": "hundi-relay",
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "acks": "all",
    "message.timeout.ms": 0,
    "partitioner": "murmur2_random",  # as Java's clients: other producers' keys meet ours
    "linger.ms": 5,
    "queue.buffering.max.kbytes": 64 * 1024,
    "compression.type": "lz4",
    "reconnect.backoff.max.ms": 1000,
    "log_level": 0,
}
_SILENT: Final = logging.getLogger("hundi.kafka")
"""librdkafka's own lines: dropped. The relay says once that the broker is away, and why."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


_FAILED: Final = (KafkaException, BufferError, SystemError)
"""The binding raises a fatal error of the session from whatever call comes next; when that one is
serving a delivery report, Python makes a SystemError of it."""


class KafkaBus:
    """One producer at a time; made when first asked, and anew after every failure."""

    name = "kafka"

    __slots__ = (
        "_bootstrap", "_cell", "_clock", "_deadline_ms", "_given_up", "_producer", "_reason",
        "_topic",
    )  # fmt: skip

    def __init__(
        self, bootstrap: str, topic: str, *, cell: str, clock: Clock, deadline_ms: int = DEADLINE_MS
    ) -> None:
        self._bootstrap, self._topic, self._cell, self._clock = bootstrap, topic, cell, clock
        self._deadline_ms = deadline_ms
        self._producer: Any = None
        self._reason = ""
        self._given_up = False

    async def ready(self) -> None:
        await asyncio.to_thread(self._connect)

    async def publish(self, events: list[Event]) -> None:
        await asyncio.to_thread(self._send, events)

    def give_up(self) -> None:
        """Only told: the sending thread purges, since a purge between two of its records is a hole."""
        self._given_up = True

    async def close(self) -> None:
        await asyncio.to_thread(self._discard)

    def _connect(self) -> None:
        """Reach the cluster and its topic; make the topic when it is missing."""
        producer = self._producer or Producer(
            _OPTIONS | {"bootstrap.servers": self._bootstrap, "error_cb": self._heard},
            logger=_SILENT,
        )
        self._producer = producer
        try:
            if self._topic not in producer.list_topics(timeout=_PROBE_S).topics:
                self._make_topic(producer)
        except KafkaException as error:
            raise unsent(self.name, self._reason or _text(error)) from error

    def _make_topic(self, producer: Any) -> None:
        """By the administrator's request; a broker that refuses it may make one when asked for it.

        Replication and retention are the broker's defaults: they are the cluster's to decide.
        """
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        asked = admin.create_topics(
            [NewTopic(self._topic, num_partitions=PARTITIONS, replication_factor=-1)],
            request_timeout=_PROBE_S,
        )
        try:
            asked[self._topic].result(_PROBE_S)
        except (KafkaException, TimeoutError) as error:
            found = producer.list_topics(self._topic, timeout=_PROBE_S).topics[self._topic]
            if found.error is not None:
                why = f"no topic {self._topic}: {found.error.str()}, {error}"
                raise unsent(self.name, why) from error

    def _send(self, events: list[Event]) -> None:
        """Hand the page over and wait for every delivery report; all or events.unsent."""
        if self._producer is None:
            self._connect()
        producer, sent = self._producer, _Reports()
        until = self._clock.monotonic_ms() + self._deadline_ms
        try:
            for event in events:
                self._hand_over(producer, event, sent.told, until)
            while len(producer) and sent.failed is None and not self._over(until):
                producer.flush(_FLUSH_S)
        except _FAILED as error:
            sent.failed = _text(error)
        if sent.delivered != len(events):
            self._discard()
            why = sent.failed or self._reason or "no answer in time"
            raise unsent(self.name, f"{sent.delivered} of {len(events)} confirmed; {why}")
        self._reason = ""

    def _hand_over(self, producer: Any, event: Event, told: Any, until: int) -> None:
        """Queue one; while the queue is full serve reports until there is room. BufferError late."""
        key, headers, value = cloudevents.binary(event, self._cell)
        while True:
            try:
                producer.produce(
                    self._topic, key=key, value=value, headers=headers,
                    timestamp=event.recorded_at, on_delivery=told,
                )  # fmt: skip
            except BufferError:
                if self._over(until):
                    raise
                producer.poll(_FULL_S)
            else:
                return

    def _over(self, until: int) -> bool:
        return self._given_up or self._clock.monotonic_ms() >= until

    def _discard(self) -> None:
        """Throw the session away with all that waits in it: nothing of it may be sent later."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(*_FAILED):
                producer.purge()
                producer.flush(1)

    def _heard(self, error: Any) -> None:
        self._reason = error.str()


class _Reports:
    """Counts one page's delivery reports."""

    __slots__ = ("delivered", "failed")

    def __init__(self) -> None:
        self.delivered = 0
        self.failed: str | None = None

    def told(self, error: Any, _: Any) -> None:
        if error is None:
            self.delivered += 1
        elif self.failed is None:
            self.failed = error.str()


def _text(error: BaseException) -> str:
    first = error.args[0] if error.args else error
    return first.str() if hasattr(first, "str") else str(first)
