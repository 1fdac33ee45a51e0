"""One signed POST: resolved, judged and connected in one step, within one deadline, no redirects.

Resolving and connecting are one backend's act, so that the address that was judged is the address
that is dialled; the name stays in Host, in SNI and in the certificate's check.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Self

import httpcore

from devices.clock import Clock
from server_core.errors import DomainError
from server_core.webhooks import rules
from server_core.webhooks.destinations import Destination, check_addresses, check_url
from server_core.webhooks.lines import Lines
from server_core.webhooks.model import DEADLINE_S, Failure, Heard

MAX_ANSWER: Final = 64 * 1024
MAX_READ: Final = 2 * MAX_ANSWER
"""Bytes behind one message, with its heads and frames."""

_CONNECT_TRIES: Final = 4
_CONNECT_S: Final = 5.0
_RESOLVERS: Final = 256
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class _NoSuchName(httpcore.ConnectError):
    """The name does not resolve."""


class _RefusedAddress(httpcore.ConnectError):
    """The name resolves to what must not be reached."""


class _Tls(httpcore.ConnectError):
    """The connection stands, the certificate does not."""


class SystemResolver:
    """getaddrinfo on threads of its own: a name server that hangs holds up no other work.

    A name has one thread at a time, however many ask for it: a thread lives until its name server
    answers, long after who asked has gone.
    """

    __slots__ = ("_asked", "_threads")

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook-dns")
        self._asked: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        name = host, port
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.create_task(self._ask(host, port))
            task.add_done_callback(lambda done: self._answered(name, done))
        return await asyncio.shield(task)

    def _answered(self, name: tuple[str, int], done: "asyncio.Task[Sequence[str]]") -> None:
        del self._asked[name]
        if not done.cancelled():
            done.exception()  # seen, also when everybody who asked has gone

    async def _ask(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Guarded(httpcore.AsyncNetworkBackend):
    """Dials only what was judged."""

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve, self._allow_private = resolve, allow_private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise _NoSuchName(str(error)) from error
        try:
            addresses = check_addresses(found, allow_private=self._allow_private)
        except DomainError as error:
            raise _RefusedAddress(error.message) from error
        failed: Exception | None = None
        for address in addresses[:_CONNECT_TRIES]:
            try:
                stream = await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream)
        raise httpcore.ConnectError("no address answers") from failed

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that tells a refused certificate from a refused connection.

    It reads no more than MAX_READ behind one message: heads and the frames of chunks cost their
    reader far more than their sender, and no bound of the body counts them.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner, self._read = inner, 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        got = await self._inner.read(max_bytes, timeout)
        self._read += len(got)
        if self._read > MAX_READ:
            raise httpcore.ReadError("the answer is too long")
        return got

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._read = 0
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except httpcore.ConnectError as error:
            raise _Tls(str(error)) from error
        except BaseException:  # cancelled: nobody else knows of this connection yet
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class Sender:
    """Posts messages; safe for concurrent calls; cancelling one closes its connection."""

    __slots__ = ("_allow_private", "_clock", "_deadline_s", "_lines", "_resolve", "_resolver")

    def __init__(
        self,
        clock: Clock,
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._clock, self._allow_private, self._deadline_s = clock, allow_private, deadline_s
        own = SystemResolver()
        self._resolver, self._resolve = own, resolve or own
        context = tls or ssl.create_default_context()
        backend = _Guarded(self._resolve, allow_private=allow_private)
        self._lines = Lines(backend, context)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lines.aclose()
        self._resolver.close()

    async def check(self, url: str) -> None:
        """Fail early, as an endpoint is made: webhooks.url when the name is of a private address.

        A name that does not resolve yet is let be: what is sent there says so.
        """
        to = check_url(url, allow_private=self._allow_private)
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(_CONNECT_S):
                found = await self._resolve(to.host, to.port)
            check_addresses(found, allow_private=self._allow_private)

    async def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> Heard:
        """What the endpoint answered; never raises for what the other side does."""
        started_at, began = self._clock.now_ms(), self._clock.monotonic_ms()
        status: int | None = None
        retry_after: int | None = None
        failure: Failure | None = None
        try:
            to = check_url(url, allow_private=self._allow_private)
            async with asyncio.timeout(self._deadline_s):
                status, asked = await self._exchange(to, body, headers)
            retry_after = rules.retry_after(asked, self._clock.now_ms()) if asked else None
            failure = _of_status(status)
        except DomainError:
            failure = Failure.ADDRESS
        except (TimeoutError, httpcore.TimeoutException):
            failure = Failure.TIMEOUT
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            failure = _of_error(error)
        return Heard(
            started_at=started_at,
            duration_ms=self._clock.monotonic_ms() - began,
            status=status,
            failure=failure,
            retry_after_s=retry_after,
        )

    async def _exchange(
        self, to: Destination, body: bytes, headers: Sequence[tuple[str, str]]
    ) -> tuple[int, str]:
        """Status and Retry-After; the answer's body is read so far, and kept nowhere."""
        sent = [
            ("Host", to.authority),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("User-Agent", "Hundi-Webhooks/1"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            *headers,
        ]
        scheme, host = b"https" if to.secure else b"http", to.host.encode()
        url = httpcore.URL(scheme=scheme, host=host, port=to.port, target=to.target.encode())
        async with (
            self._lines.to((scheme, host, to.port)) as line,
            line.stream(
                b"POST",
                url,
                headers=[(name.encode(), value.encode()) for name, value in sent],
                content=body,
                extensions={"timeout": {"connect": _CONNECT_S}},
            ) as response,
        ):
            asked = next((v for k, v in response.headers if k.lower() == b"retry-after"), b"")
            read = 0
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > MAX_ANSWER:
                    break
            return response.status, asked.decode("latin-1")


def _of_status(status: int) -> Failure | None:
    if 200 <= status < 300:
        return None
    return Failure.REDIRECT if 300 <= status < 400 else Failure.STATUS


def _of_error(error: Exception) -> Failure:
    match error:
        case _NoSuchName():
            return Failure.DNS
        case _RefusedAddress():
            return Failure.ADDRESS
        case _Tls():
            return Failure.TLS
        case httpcore.ConnectError():
            return Failure.CONNECT
    return Failure.PROTOCOL
