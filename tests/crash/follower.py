"""A process that follows the event log from a stored cursor and writes down what it saw.

It writes a page before it moves the cursor, in one Work: killed between the two it sees the page
again, and never misses one.
"""

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import cursors, store
from tests.crash.journal import Writer

NAME = "crash.follower"
PAGE = 200


async def carry(db: Database, writer: Writer) -> int:
    async with db.work() as work:
        at = await cursors.hold(work, NAME)
        if at is None:
            return 0
        found = await store.after(work, at, PAGE)
        for event in found:
            writer.line(event.seq, event.id)
        if found:
            await cursors.move(work, NAME, found[-1].seq)
    return len(found)


async def follow(url: str, path: Path) -> None:
    writer = Writer(path)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    db = await Database.connect(
        url, clock=SystemClock(), entropy=SystemEntropy(), flush=store.flush, connections=3
    )
    try:
        while not stopping.is_set():
            try:
                carried = await carry(db, writer)
            except DomainError:
                carried = 0
            if carried == 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), 0.05)
    finally:
        await db.close()


def seen(path: Path) -> list[tuple[int, str]]:
    lines = path.read_text().split("\n")[:-1]
    return [(int(seq), one) for seq, one in (line.split(" ") for line in lines)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    asyncio.run(follow(given.url, given.path))
