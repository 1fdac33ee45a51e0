"""One way to PostgreSQL for the pool, the migrations and the command line: host by host.

A URL may name several hosts (`postgresql://u@one:5432,two:5432/db`). The driver gives all of them
one timeout and tries them in series, so that a host that accepts and never answers would eat it;
here each gets its own, and the one that answered last is tried first.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from devices.clock import Clock
from server_core.errors import unavailable

HOST_S: Final = 3
"""How long one of several hosts may take to answer."""
CONNECT_S: Final = 10
"""How long the only host may take, and how long a start waits for a server that is not yet there."""
_SILENT_S: Final = 10
_PAUSE_S: Final = 0.1

LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The protocol's state when a connection dies under it; also "none of the hosts takes writes".
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,  # too many connections while others come back, a full disk
    asyncpg.ReadOnlySQLTransactionError,  # the primary became a standby under us
    OSError,
    TimeoutError,
)
"""The server is away, is coming back, or is no longer the one that takes writes."""

T = TypeVar("T")

# While the server is away the pool tells each of its own tries, with a trace, to Python's logging;
# our programs say it once a request or a job.
logging.getLogger("asyncpg.pool").disabled = True


class Connector:
    """Opens connections to the host of `url` that takes writes; stands in for asyncpg's `connect`."""

    __slots__ = ("_good", "_urls")

    def __init__(self, url: str) -> None:
        self._urls = each_host(url)
        self._good = 0

    async def __call__(self, _url: object = None, **options: Any) -> Any:
        """Raise what the last host said when none of them will do."""
        hosts = len(self._urls)
        options["timeout"] = HOST_S if hosts > 1 else CONNECT_S
        first = self._good
        for step in range(hosts):
            place = (first + step) % hosts
            try:
                connection = await asyncpg.connect(self._urls[place], **options)
            except LOST:
                if step == hosts - 1:
                    raise
            else:
                self._good = place
                _notice_silence(connection)
                return connection
        raise AssertionError("unreachable")


async def patiently(open_it: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """What `open_it` gives, tried again while the server is away; db.unreachable after CONNECT_S."""
    until = clock.monotonic_ms() + CONNECT_S * 1000
    while True:
        try:
            return await open_it()
        except LOST as error:
            if clock.monotonic_ms() >= until:
                text = str(error) or "no answer in time"
                raise unavailable("db.unreachable", f"PostgreSQL did not answer: {text}") from error
        await clock.sleep(_PAUSE_S)


def each_host(url: str) -> list[str]:
    """One URL for each host that `url` names, in its order; `url` itself when there is only one.

    Of several hosts only the one that takes writes is of use, so that is the default.
    """
    parts = urlsplit(url)
    words = dict(parse_qsl(parts.query, keep_blank_values=True))
    user, at, listed = parts.netloc.rpartition("@")
    places: list[tuple[str, dict[str, str]]]
    if "," in listed:
        places = [(user + at + one, {}) for one in listed.split(",")]
    elif "," in words.get("host", ""):
        names = words.pop("host").split(",")
        ports = words.pop("port", "5432").split(",")
        ports *= len(names) if len(ports) == 1 else 1
        places = [
            (parts.netloc, {"host": name, "port": port})
            for name, port in zip(names, ports, strict=True)
        ]
    else:
        return [url]
    words.setdefault("target_session_attrs", "read-write")
    return [
        urlunsplit(parts._replace(netloc=netloc, query=urlencode(words | more)))
        for netloc, more in places
    ]


def _notice_silence(connection: Any) -> None:
    """Let the kernel end a connection whose host is gone: what is sent there is never confirmed.

    Without this a COMMIT under way when the host loses power would wait for the statement's
    timeout, and so would every idle connection of the pool, one after another.
    """
    found = connection._transport.get_extra_info("socket")  # noqa: SLF001 - the driver has no door
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENT_S),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _SILENT_S * 1000),
    ):
        if hasattr(socket, name):  # Linux has all of them
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
