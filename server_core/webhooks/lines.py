"""Connections that outlive a message: each has one user at a time, and ends with that user's failure.

httpcore's own pool loses a connection's place when its request is cancelled as it opens, and an
endpoint that answers just inside the deadline could use up every place. Here nobody but the request
holds a connection: whatever ends the request, that ends the connection, unless it is idle again.
"""

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpcore

from server_core.webhooks.model import IN_ALL, PER_ENDPOINT

_KEEP_ALIVE_S: Final = 5.0
Place = tuple[bytes, bytes, int]
"""Scheme, host, port."""


class Lines:
    """What is idle, by where it leads; at most PER_ENDPOINT to one place and IN_ALL together.

    How many are in use is bounded by who sends.
    """

    __slots__ = ("_backend", "_by_place", "_idle", "_tls")

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext) -> None:
        self._backend, self._tls = backend, tls
        self._idle: OrderedDict[httpcore.AsyncHTTPConnection, Place] = OrderedDict()
        self._by_place: dict[Place, list[httpcore.AsyncHTTPConnection]] = {}

    @asynccontextmanager
    async def to(self, place: Place) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        """A connection of one's own, opened by its first request."""
        line = await self._taken(place) or httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(*place),
            ssl_context=self._tls,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=self._backend,
        )
        try:
            yield line
        except BaseException:
            await line.aclose()
            raise
        if line.is_idle() and not line.has_expired():
            await self._keep(place, line)
        else:
            await line.aclose()

    async def aclose(self) -> None:
        """Close what is idle; what is in use ends with its user."""
        while self._idle:
            await self._end(next(iter(self._idle)))

    def __len__(self) -> int:
        return len(self._idle)

    async def _taken(self, place: Place) -> httpcore.AsyncHTTPConnection | None:
        while lines := self._by_place.get(place):
            line = lines[-1]  # the latest is the likeliest to stand
            if not line.has_expired():
                self._forget(line)
                return line
            await self._end(line)
        return None

    async def _keep(self, place: Place, line: httpcore.AsyncHTTPConnection) -> None:
        self._idle[line] = place
        lines = self._by_place.setdefault(place, [])
        lines.append(line)
        if len(lines) > PER_ENDPOINT:
            await self._end(lines[0])
        while self._idle:
            oldest = next(iter(self._idle))
            if len(self._idle) <= IN_ALL and not oldest.has_expired():
                break
            await self._end(oldest)

    async def _end(self, line: httpcore.AsyncHTTPConnection) -> None:
        self._forget(line)
        await line.aclose()

    def _forget(self, line: httpcore.AsyncHTTPConnection) -> None:
        place = self._idle.pop(line)
        lines = self._by_place[place]
        lines.remove(line)
        if not lines:
            del self._by_place[place]
