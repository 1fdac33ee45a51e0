"""Events a second by the relay: from the log to librdkafka's mock cluster, beside its two halves."""

import asyncio
import json
from time import perf_counter

import asyncpg
import uvloop

from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from devices.clock import SystemClock
from server_core.db.work import Database
from server_core.events import store
from server_core.events.kafka import KafkaBus
from server_core.events.relay import PAGE, Relay
from tests.server_core.events.mock_kafka import mock_kafka

EVENTS = 200_000
AGGREGATES = 20_000
TOPIC = "hundi.events"
PAYLOAD = {
    "state": "succeeded", "purpose": "payment", "amount": "15000", "currency": "INR",
    "payee": "0199c0de-0000-7000-8000-0000000000aa", "payer": "0199c0de-0000-7000-8000-0000000000ab",
    "attempt": "1", "method": "book", "outcome": "succeeded", "code": "",
}  # fmt: skip


async def fill(url: str) -> None:
    """A log of EVENTS as payments write it, in bulk: what is measured is the way out."""
    owner = await asyncpg.connect(url, server_settings={"search_path": "cell0"})
    try:
        await owner.execute(
            "INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version,"
            " payload, actor, correlation, causation, recorded_at)"
            " SELECT h.seq + n, gen_random_uuid(), 'payment', a, 1 + (n - 1) / $2::int,"
            " 'payment.succeeded', 1, $3::jsonb, '{}', a, NULL, 1790000000000 + n"
            " FROM event_head h, generate_series(1, $1::bigint) n, LATERAL"
            " (SELECT md5(h.seq::text || (n % $2::int)::text)::uuid AS a) s ORDER BY n",
            EVENTS,
            AGGREGATES,
            json.dumps(PAYLOAD),
        )
        await owner.execute("UPDATE event_head SET seq = (SELECT max(seq) FROM event)")
        await owner.execute("ANALYZE event")
    finally:
        await owner.close()


async def reading(db: Database) -> float:
    """Events a second that the log gives page by page, decoded: the relay's upper bound."""
    at, began = 0, perf_counter()
    while True:
        async with db.reader() as reader:
            page = await store.after(reader, at, PAGE)
        if not page:
            return at / (perf_counter() - began)
        at = page[-1].seq


async def sending(db: Database, bus: KafkaBus) -> float:
    """Events a second that the bus takes, confirmed, from memory."""
    async with db.reader() as reader:
        pages = [await store.after(reader, at, PAGE) for at in range(0, EVENTS, PAGE)]
    began = perf_counter()
    for page in pages:
        await bus.publish(page)
    return EVENTS / (perf_counter() - began)


async def relaying(db: Database, bus: KafkaBus) -> tuple[float, list[float]]:
    """Events a second from the log to confirmed and marked; each page's time in ms."""
    relay, carried, pages = Relay(db, bus), 0, []
    began = perf_counter()
    while carried < EVENTS:
        page = perf_counter()
        carried += await relay.tick()
        pages.append((perf_counter() - page) * 1000)
    return carried / (perf_counter() - began), pages


async def measure(url: str) -> list[Figure]:
    await fill(url)
    async with database(url) as db:
        rate_read = await reading(db)
        with mock_kafka() as kafka:
            kafka.make_topic(TOPIC, 12)
            bus = KafkaBus(kafka.address, TOPIC, cell=db.cell, clock=SystemClock())
            await bus.ready()
            rate, pages = await relaying(db, bus)
            stored = await asyncio.to_thread(kafka.count, TOPIC)
            await bus.close()
        with mock_kafka() as kafka:
            kafka.make_topic(TOPIC, 12)
            bus = KafkaBus(kafka.address, TOPIC, cell=db.cell, clock=SystemClock())
            await bus.ready()
            rate_send = await sending(db, bus)
            await bus.close()
    if stored != EVENTS:
        raise RuntimeError(f"{stored} of {EVENTS} arrived")
    bound = 1 / (1 / rate_read + 1 / rate_send)
    return [
        Figure(
            name="relay to Kafka's mock cluster, confirmed and marked",
            value=rate, unit="events/s", baseline=bound, ratio=rate / bound, n=EVENTS,
            goal="≥ 20,000 events/s", holds=rate >= 20_000,
        ),
        Figure(name="  reading the log alone", value=rate_read, unit="events/s", n=EVENTS),
        Figure(name="  sending from memory alone", value=rate_send, unit="events/s", n=EVENTS),
        Figure(
            name=f"  a page of {PAGE:,}, p95", value=percentile(pages, 0.95), unit="ms",
            n=len(pages),
        ),
    ]  # fmt: skip


async def main() -> bool:
    async with cluster() as url:
        return report("relay", await measure(url))


if __name__ == "__main__":
    uvloop.run(main())
