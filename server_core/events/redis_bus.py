"""The bus to Redis: one bounded stream a cell, for programs that follow live and read the state first.

Each entry has one field, `event`: a structured CloudEvent. The newest KEEP entries stay; it is no
copy of the log. What reads it by `follow` has the same subscriptions as in the server's process.
"""

import asyncio
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devices.clock import Clock
from server_core.errors import DomainError
from server_core.events import cloudevents
from server_core.events.bus import InProcessBus, unsent
from server_core.events.model import Event

KEEP: Final = 100_000
TIMEOUT_S: Final = 5
_CHUNK: Final = 500  # entries in one transaction: Redis serves nobody else meanwhile
_BLOCK_MS: Final = 2_000
_AGAIN_S: Final = 0.5
_GONE: Final = (RedisError, OSError, TimeoutError)
_log = structlog.get_logger("hundi.events")


def stream_of(cell: str) -> str:
    """The key of a cell's stream: `hundi:cell0:events`."""
    return f"hundi:{cell}:events"


def connect(url: str) -> Any:
    """A client of redis://, rediss:// or unix://; it connects when it is first used.

    Every use of it stands in `asyncio.timeout`: its own time-out for a send is `asyncio.wait_for`,
    which in Python 3.11 may lose a cancellation.
    """
    return Redis.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_S,
        retry=None,  # the relay repeats, and the follower connects again, by themselves
        single_connection_client=False,
    )


class RedisBus:
    """Appends to the stream; a failed page is sent again, so that entries may repeat in runs."""

    name = "redis"

    __slots__ = ("_cell", "_client")

    def __init__(self, url: str, *, cell: str) -> None:
        self._client, self._cell = connect(url), cell

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.ping()
        except _GONE as error:
            raise unsent(self.name, str(error)) from error

    async def publish(self, events: list[Event]) -> None:
        """Chunk by chunk, each all or nothing (MULTI), each after the one before it is there."""
        key = stream_of(self._cell)
        try:
            for start in range(0, len(events), _CHUNK):
                async with (
                    asyncio.timeout(TIMEOUT_S),
                    self._client.pipeline(transaction=True) as pipeline,
                ):
                    for event in events[start : start + _CHUNK]:
                        said = cloudevents.structured(event, self._cell)
                        pipeline.xadd(key, {"event": said}, maxlen=KEEP, approximate=True)
                    await pipeline.execute()
        except _GONE as error:
            raise unsent(self.name, str(error)) from error

    def give_up(self) -> None:
        """Nothing to hurry: every wait of the client ends after TIMEOUT_S."""

    async def close(self) -> None:
        await self._client.aclose()


async def follow(url: str, cell: str, bus: InProcessBus, *, clock: Clock) -> None:
    """Give `bus` every event that is appended from now on, once, until cancelled.

    A lost connection is opened again at the place where it broke. Where the stream itself does
    not go on there (it was trimmed, or Redis came back empty), subscriptions are cut: their
    readers subscribe again and read the state.
    """
    client, key = connect(url), stream_of(cell)
    place: str | None = None
    last_seq = 0
    try:
        while True:
            try:
                if place is None:
                    place, last_seq = await _end(client, key)
                for entry, fields in await _read(client, key, place):
                    place = entry.decode()
                    event = _event(fields)
                    if event is None:  # not ours: what came with it, nobody knows
                        bus.cut()
                        continue
                    if last_seq and event.seq > last_seq + 1:
                        bus.cut()
                    if event.seq > last_seq:
                        await bus.publish([event])
                        last_seq = event.seq
            except _GONE as error:
                _log.warning("redis.lost", error=str(error))
                await clock.sleep(_AGAIN_S)
    finally:
        await client.aclose()


async def _end(client: Any, key: str) -> tuple[str, int]:
    """The place and the number of the newest entry; of an empty stream its beginning."""
    async with asyncio.timeout(TIMEOUT_S):
        newest = await client.xrevrange(key, count=1)
    for entry, fields in newest:
        event = _event(fields)
        return entry.decode(), 0 if event is None else event.seq
    return "0-0", 0


def _event(fields: dict[bytes, bytes]) -> Event | None:
    """The entry's event; None of one that Hundi did not write."""
    try:
        return cloudevents.from_structured(fields[b"event"])
    except (DomainError, KeyError) as error:
        _log.error("redis.foreign", error=str(error))
        return None


async def _read(client: Any, key: str, place: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries after `place`, waiting a while for the first."""
    async with asyncio.timeout(TIMEOUT_S):
        found = await client.xread({key: place}, count=_CHUNK, block=_BLOCK_MS)
    entries: list[tuple[bytes, dict[bytes, bytes]]] = found[0][1] if found else []
    return entries
