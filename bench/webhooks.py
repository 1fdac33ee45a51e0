"""Event committed to received by an endpoint: payments' events at a steady rate, a real receiver.

The receiver is a process of its own on a real socket; fan-out and delivery run as the jobs do, woken
by commits, beside what emits. The baseline is the same POSTs with no queue before them.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import time_ns
from uuid import UUID

import msgspec
import uvloop

from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from devices.keystore import fields
from server_core import workers
from server_core.actor import Actor, Role
from server_core.app import Job
from server_core.db.batch import Batch
from server_core.db.work import Database, Emitted, Work
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.webhooks import service
from server_core.webhooks.courier import Courier
from server_core.webhooks.fanning import fan_out
from server_core.webhooks.model import Draft
from server_core.webhooks.sending import Sender

RATE = 200
SECONDS = 30
ENDPOINTS = 4
OPERATOR = Actor(party=None, role=Role.OPERATOR)


async def receive() -> None:
    """The receiver: answers 200 at once, and prints of each event how long ago it was committed,
    what it is about, and when it came (Unix µs).
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                now_us = time_ns() // 1000
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                said = msgspec.json.decode(body)
                emitted = int(said["data"].get("amount", "0"))
                print(said["id"], now_us - emitted, said.get("subject", "-"), now_us, flush=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.webhooks", "receive", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout
    try:
        yield int(await child.stdout.readline()), child
    finally:
        child.kill()
        await child.wait()


async def heard(child: asyncio.subprocess.Process, count: int, waits_ms: list[float]) -> None:
    """Read what the receiver prints until `count` requests came."""
    assert child.stdout
    while len(waits_ms) < count:
        line = await child.stdout.readline()
        waits_ms.append(int(line.split()[1]) / 1000)


def event(payment: UUID, payee: UUID) -> Emitted:
    """The amount carries the moment of emission in microseconds."""
    return Emitted(
        aggregate_type="payment",
        aggregate_id=payment,
        type="payment.succeeded",
        payload={
            "state": "succeeded",
            "purpose": "payment",
            "amount": str(time_ns() // 1000),
            "currency": "INR",
            "payee": str(payee),
            "payer": None,
        },
    )


async def emit_many(work: Work, payees: Sequence[UUID]) -> list[None]:
    work.emit(*(event(work.ids.new(), payee) for payee in payees))
    return [None] * len(payees)


async def emit(db: Database, payees: Sequence[UUID], count: int, rate: float) -> None:
    """At a steady rate whatever they take, through group commit as payments are."""
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), set()
    queue: Batch[UUID, None] = Batch(db, emit_many)

    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        task = asyncio.create_task(queue.submit(payees[number % len(payees)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)
    await queue.close()


async def emit_at_once(db: Database, payees: Sequence[UUID], count: int) -> None:
    """As group commit does: fifty events a commit."""
    for _ in range(0, count, 50):
        async with db.work() as work:
            many = payees * 50
            work.emit(*(event(work.ids.new(), many[place]) for place in range(50)))


async def stage(db: Database, ring: fields.FieldKeys, port: int) -> list[UUID]:
    """Merchants, one endpoint each."""
    payees = []
    for number in range(ENDPOINTS):
        async with db.work() as work:
            shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name=f"Shop {number}")
            await service.create(
                work, ring, SystemEntropy(), OPERATOR,
                Draft(url=f"http://127.0.0.1:{port}/{number}", events=["payment.*"]),
                key=f"bench-{number}", owner=shop.id, allow_private=True,
            )  # fmt: skip
            payees.append(shop.id)
    return payees


async def plain(sender: Sender, port: int, child: asyncio.subprocess.Process) -> list[float]:
    """The same POSTs straight from memory, one after another."""
    waits: list[float] = []
    for _ in range(500):
        body = {"id": "plain", "data": {"amount": str(time_ns() // 1000)}}
        await sender.post(f"http://127.0.0.1:{port}/", msgspec.json.encode(body), [])
        await heard(child, len(waits) + 1, waits)
    return waits


async def measure(url: str) -> list[Figure]:
    clock, entropy = SystemClock(), SystemEntropy()
    home = Path(tempfile.mkdtemp(prefix="hundi-bench-keys-"))
    ring = fields.load(home, entropy=entropy, clock=clock, passphrase=None)
    async with (
        database(url) as db,
        database(url) as payments,
        receiver() as (port, child),
        Sender(clock, allow_private=True) as sender,
    ):
        baseline = percentile(await plain(sender, port, child), 0.95)
        payees = await stage(db, ring, port)
        courier = Courier(db, sender, fields=ring, entropy=entropy)

        async def fan() -> int:
            return await fan_out(db)

        jobs = [
            Job(name="webhooks.queue", period_s=1, tick=fan, follows=True),
            Job(name="webhooks.deliver", period_s=1, tick=courier.tick, follows=True),
        ]
        running = asyncio.create_task(workers.run(jobs, db))
        warm: list[float] = []
        await asyncio.gather(emit(payments, payees, RATE, RATE), heard(child, RATE, warm))
        waits: list[float] = []
        count = RATE * SECONDS
        async with asyncio.timeout(4 * SECONDS):
            await asyncio.gather(emit(payments, payees, count, RATE), heard(child, count, waits))
        p95 = percentile(waits, 0.95)
        burst: list[float] = []
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(120):
            await asyncio.gather(emit_at_once(payments, payees, 5_000), heard(child, 5_000, burst))
        drained = 5_000 / (loop.time() - began)
        running.cancel()
        await asyncio.wait([running])
        await courier.close()
    return [
        Figure(
            name=f"event to endpoint, p95, {RATE} events/s, {ENDPOINTS} endpoints",
            value=p95, unit="ms", baseline=baseline, ratio=p95 / baseline, n=count,
            goal="≤ 100 ms", holds=p95 <= 100,
        ),
        Figure(name="  p50", value=percentile(waits, 0.50), unit="ms", n=count),
        Figure(name="  p99", value=percentile(waits, 0.99), unit="ms", n=count),
        Figure(
            name="5,000 events at once, commit to the last received",
            value=drained, unit="deliveries/s", n=5_000,
        ),
    ]  # fmt: skip


async def main() -> bool:
    async with cluster() as url:
        return report("webhooks", await measure(url))


if __name__ == "__main__":
    if sys.argv[1:] == ["receive"]:
        uvloop.run(receive())
    else:
        uvloop.run(main())
