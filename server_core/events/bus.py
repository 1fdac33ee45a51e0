"""The bus port, and the bus inside one process: live subscribers fed from the table's tail."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from server_core.errors import DomainError, unavailable
from server_core.events.model import Event


class Bus(Protocol):
    """Where committed events go, in order, at least once.

    `publish` comes back when every one of them is there; otherwise it raises events.unsent, and
    what was given to it may be there in part: a beginning of it, never with a hole.
    """

    async def publish(self, events: list[Event]) -> None: ...


class Remote(Bus, Protocol):
    """A bus outside this process, which may be away."""

    @property
    def name(self) -> str: ...

    async def ready(self) -> None:
        """Raise events.unsent while it cannot be reached; cheap once it can."""

    def give_up(self) -> None:
        """Make a `publish` that is under way fail soon: the program is stopping."""

    async def close(self) -> None: ...


def unsent(bus: str, why: str) -> DomainError:
    return unavailable("events.unsent", f"{bus} did not take every event: {why}")


class Subscription:
    """A bounded queue of one subscriber; when it falls behind it is told to read anew."""

    __slots__ = ("_queue", "lagged")

    def __init__(self, depth: int) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(depth)
        self.lagged = False

    def offer(self, event: Event | None) -> None:
        if self._queue.full():
            self.lagged = True
            if event is None:  # the end must get through: what it pushes out is read anew
                self._queue.get_nowait()
                self._queue.put_nowait(None)
            return
        self._queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class InProcessBus:
    """Fans out to this process's subscribers by aggregate. No history: read the state first."""

    __slots__ = ("_closed", "_subscribers")

    def __init__(self) -> None:
        self._subscribers: dict[UUID, set[Subscription]] = {}
        self._closed = False

    async def publish(self, events: list[Event]) -> None:
        for event in events:
            for subscriber in self._subscribers.get(event.aggregate_id, ()):
                subscriber.offer(event)

    @contextmanager
    def subscribe(self, *aggregates: UUID, depth: int = 256) -> Iterator[Subscription]:
        subscription = Subscription(depth)
        if self._closed:
            subscription.offer(None)
        for aggregate in aggregates:
            self._subscribers.setdefault(aggregate, set()).add(subscription)
        try:
            yield subscription
        finally:
            for aggregate in aggregates:
                peers = self._subscribers[aggregate]
                peers.discard(subscription)
                if not peers:
                    del self._subscribers[aggregate]

    def close(self) -> None:
        """End every subscription, so that sockets close before the server does."""
        self._closed = True
        self.cut()

    def cut(self) -> None:
        """End the subscriptions of now: events were missed; who cares subscribes and reads anew."""
        for peers in self._subscribers.values():
            for subscriber in peers:
                subscriber.offer(None)
