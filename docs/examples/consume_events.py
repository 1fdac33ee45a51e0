"""A consumer of Hundi's events over Kafka: delivered at least once, each effect once.

The effect here is a receipt that somebody is to send, told in the event log: it stands for any
change in the cell's database. Settings: HUNDI_DATABASE_URL, HUNDI_KAFKA_BOOTSTRAP and
HUNDI_KAFKA_TOPIC. It ends by SIGTERM, or by kill -9: the next one goes on.
"""

import asyncio

from confluent_kafka import Consumer

from server_core.app import open_core
from server_core.db.work import Database, Emitted, Work
from server_core.events import cloudevents, inbox
from server_core.events.model import Event
from server_core.ids import derived
from server_core.settings import Settings

NAME = "receipts"


async def apply(db: Database, events: list[Event]) -> None:
    """Claim and act in one commit: what was there before a crash is not done again after it."""

    async def do(work: Work) -> None:
        new = await inbox.first_times(work, NAME, [event.id for event in events])
        for event in events:
            if event.id not in new:
                continue
            new.discard(event.id)  # the same one may come twice in a batch
            if event.type == "payment.succeeded":
                work.emit(
                    Emitted(
                        aggregate_type="receipt",
                        aggregate_id=derived("receipt", event.id),
                        type="receipt.due",
                        payload={"payment": str(event.aggregate_id)},
                        causation=event.id,
                    )
                )

    await db.transact(do)


async def main() -> None:
    settings = Settings.read()
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": NAME,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,  # an offset says "done": only after the commit below
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe([settings.kafka_topic])
    async with open_core(settings) as core:
        while True:
            messages = await asyncio.to_thread(consumer.consume, 500, 0.5)
            good = [one for one in messages if one.error() is None]
            if good:
                await apply(
                    core.db, [cloudevents.from_binary(one.headers(), one.value()) for one in good]
                )
                await asyncio.to_thread(consumer.commit, asynchronous=False)


if __name__ == "__main__":
    asyncio.run(main())
