"""Reader and Work: the two ways to the database, and the only place that opens and commits.

A write takes a Work: handing it a Reader is a type error. One Work is one transaction with one
fixed `now_ms`; what it emits is numbered and stored by the flush just before COMMIT.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Counter

from devices.clock import Clock
from devices.entropy import Entropy
from server_core.actor import SYSTEM, Actor
from server_core.db.connect import LOST, Connector, patiently
from server_core.errors import unavailable
from server_core.ids import Ids
from server_core.telemetry import metrics, spans
from server_core.telemetry.spans import Fact, Span

APP_ROLE: Final = "hundi_app"
MAX_SKEW_MS: Final = 5_000
RETRIES: Final = 4
STATEMENT_S: Final = 60
"""How long one statement may take, and so how long a host that froze under us is believed in."""
_WHOLE_TABLE_S: Final = 6 * 3600
"""The same of a snapshot's statement, which reads every row of a grown ledger."""
_FAREWELL_S: Final = 2
"""How long a broken connection may take to be rolled back and put away: its caller waits."""
_AGAIN: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # A peer committed the same id between our read and our write: the next try sees it.
    asyncpg.UniqueViolationError,
)

T = TypeVar("T")
_log = structlog.get_logger("hundi.db")
_LOCK: Final = "hashtextextended(current_schema() || ':' || $1, 0)"
_BY_KEY: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""Every statement here reaches its rows by a key. A plan is cached, and one that was made while a
table was small would scan it for ever; `snapshot`, which reads whole tables, turns these on again."""
_WHOLE_TABLES: Final = {
    **dict.fromkeys(_BY_KEY, "on"),
    "effective_cache_size": "64MB",
    "work_mem": "64MB",
    "max_parallel_workers_per_gather": "2",
}
"""A grown ledger is read in the order in which it lies on the disk, then hashed and sorted.

Told of a large cache, the planner may walk it by an index instead, a page fetched anew for nearly
every row: 46 s for 4 million entries instead of 9. A table that is larger than this cache is walked
so only for few rows. A hash that outgrows its memory (twice work_mem in each of 3 processes) goes
to disk in parts, as quickly; a statement of the audit has two of them at once, 0.8 GB at most.
"""

Row = Any
"""An asyncpg Record: columns by name."""

Known = dict[Any, Any]
"""Rows of one database that never change, by their keys: this process reads each of them once."""


class Emitted(Struct, frozen=True, kw_only=True):
    """One fact to be stored with the change that made it true."""

    aggregate_type: str
    aggregate_id: UUID
    type: str
    payload: dict[str, Any]
    actor: Actor = SYSTEM
    correlation: UUID | None = None
    causation: UUID | None = None
    version: int = 1


class Reader:
    """Reads on one pooled connection. Each statement sees what was committed when it began."""

    __slots__ = ("_connection", "_limit_s", "known", "now_ms")

    def __init__(
        self, connection: Any, now_ms: int, known: Known | None = None, limit_s: int | None = None
    ) -> None:
        self._connection, self._limit_s = connection, limit_s
        self.known = {} if known is None else known
        self.now_ms = now_ms

    async def rows(self, sql: str, *values: object) -> list[Row]:
        found: list[Row] = await self._connection.fetch(sql, *values, timeout=self._limit_s)
        return found

    async def row(self, sql: str, *values: object) -> Row | None:
        return await self._connection.fetchrow(sql, *values, timeout=self._limit_s)

    async def value(self, sql: str, *values: object) -> Any:
        return await self._connection.fetchval(sql, *values, timeout=self._limit_s)

    async def stream(self, sql: str, *values: object) -> AsyncIterator[Row]:
        """Rows as they come, a page in memory: for whole tables, on `snapshot`'s Reader only."""
        pages = self._connection.cursor(sql, *values, prefetch=2_000, timeout=self._limit_s)
        async for row in pages:
            yield row


class Work(Reader):
    """One transaction. Made by Database only."""

    __slots__ = ("counted", "emitted", "ids", "spans", "tracing")

    def __init__(
        self,
        connection: Any,
        now_ms: int,
        ids: Ids,
        tracing: spans.Tracing = spans.OFF,
        known: Known | None = None,
    ) -> None:
        super().__init__(connection, now_ms, known)
        self.ids, self.tracing = ids, tracing
        self.spans: list[Span] = []
        self.emitted: list[Emitted] = []
        self.counted: list[Counter] = []

    def emit(self, *events: Emitted) -> None:
        self.emitted.extend(events)

    def count(self, metric: Counter, *labels: str) -> None:
        """Count once this is committed: what is rolled back or run again was nothing."""
        self.counted.append(metrics.counter(metric, *labels))

    def span(
        self, name: str, trace: UUID, began_ms: int, ended_ms: int | None = None, **facts: Fact
    ) -> None:
        """Tell of a step once this is committed; without an end it lasts until then."""
        self.spans.append(Span(name, trace, began_ms, ended_ms, facts))

    async def execute(self, sql: str, *values: object) -> int:
        """Run a write; the number of rows it touched."""
        status: str = await self._connection.execute(sql, *values)
        return int(status.rpartition(" ")[2]) if status[-1:].isdigit() else 0

    async def lock(self, name: str) -> None:
        """Wait for the cell's advisory lock of that name, and hold it until COMMIT.

        PostgreSQL's own are one space a database, in which two cells would stop each other.
        """
        await self.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", name)

    async def try_lock(self, name: str) -> bool:
        """Take the lock that `lock` takes if it is free; False if another holds it."""
        return bool(await self.value(f"SELECT pg_try_advisory_xact_lock({_LOCK})", name))


Flush = Callable[[Work], Awaitable[None]]


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """No state is left on a connection (locks are per transaction), so none is reset."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
    )


class Database:
    """One cell: a pool bound to its schema and to the role that may not rewrite history."""

    __slots__ = ("_flush", "_ids", "_known", "_pool", "cell", "clock", "tracing")

    def __init__(
        self, pool: Any, clock: Clock, ids: Ids, flush: Flush, cell: str, tracing: spans.Tracing
    ) -> None:
        self._pool, self._ids, self._flush = pool, ids, flush
        self.clock, self.cell, self.tracing = clock, cell, tracing
        self._known: Known = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        clock: Clock,
        entropy: Entropy,
        flush: Flush,
        cell: int = 0,
        connections: int = 12,
        tracing: spans.Tracing = spans.OFF,
    ) -> Self:
        """Open the pool. Raises db.unreachable when no server answers within 10 s."""
        schema = schema_of(cell)

        async def open_pool() -> Any:
            return await asyncpg.create_pool(
                connect=Connector(url),
                min_size=2,
                max_size=connections,
                command_timeout=STATEMENT_S,
                connection_class=_Connection,
                init=_prepare,
                server_settings={
                    "search_path": schema,
                    "role": APP_ROLE,
                    "application_name": "hundi",
                    "lock_timeout": "4s",
                    **_BY_KEY,
                    "idle_in_transaction_session_timeout": "60s",
                },
            )

        pool = await patiently(open_pool, clock)
        return cls(pool, clock, Ids(clock, entropy, cell), flush, schema, tracing)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(10):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        async with self._acquire() as connection:
            yield Reader(connection, self.clock.now_ms(), self._known)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """Every statement inside sees the same instant."""
        async with (
            self._acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            for name, value in _WHOLE_TABLES.items():
                await connection.execute(f"SET LOCAL {name} = '{value}'")
            yield Reader(connection, self.clock.now_ms(), limit_s=_WHOLE_TABLE_S)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """One transaction: COMMIT at the end, ROLLBACK on any exception.

        When the answer to COMMIT is lost, what happened is unknown: db.commit_unknown says so,
        and the caller repeats with the same ids and keys, which finds out.
        """
        async with self._acquire() as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
                work = Work(connection, self.clock.now_ms(), self._ids, self.tracing, self._known)
                yield work
                if work.emitted:
                    await self._flush(work)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            try:
                if (
                    not work.emitted
                ):  # else the flush has asked: a COMMIT after an error is a ROLLBACK
                    await connection.execute("SELECT")
                await transaction.commit()
            except BaseException as error:
                _end(connection)  # it may be in its transaction still
                if isinstance(error, LOST):
                    raise unavailable(
                        "db.commit_unknown", "the answer was lost: repeat with the same key"
                    ) from error
                raise
        self._tell(work)

    def _tell(self, work: Work) -> None:
        """What is committed stays so, whatever becomes of what is told about it."""
        try:
            for one in work.emitted:
                metrics.counter(metrics.EVENTS, one.type).inc()
            for counter in work.counted:
                counter.inc()
            if self.tracing.on:
                self.tracing.tell(work.spans)
                for one in work.emitted:
                    if one.type in spans.ENDS:
                        self.tracing.root(one.aggregate_id, one.type)
        except Exception as error:  # noqa: BLE001 - the books are right, a number is not
            _log.error("work.untold", error=repr(error))

    async def check_clock(self) -> None:
        """Raises db.clock when this machine's clock is further than MAX_SKEW_MS from PostgreSQL's.

        A server that is ahead would carry its time into every account that it touches.
        """
        async with self.reader() as reader:
            ours = self.clock.now_ms()
            theirs: int = await reader.value(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            )
        if abs(ours - theirs) > MAX_SKEW_MS:
            raise unavailable(
                "db.clock",
                f"this machine's clock is {ours - theirs} ms ahead of the database's: set it",
            )

    async def transact(self, do: Callable[[Work], Awaitable[T]]) -> T:
        """Run `do` in a Work, again after a deadlock or a serialization failure (same ids)."""
        for attempt in range(RETRIES):
            try:
                async with self.work() as work:
                    return await do(work)
            except _AGAIN as error:
                if attempt == RETRIES - 1:
                    raise unavailable(
                        "db.contended", "too many at once: repeat with the same key"
                    ) from error
                await self.clock.sleep(0.005 * 2**attempt)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        try:
            connection = await self._pool.acquire(timeout=15)
        except LOST as error:
            raise unavailable("db.unreachable", "the ledger is not reachable: try again") from error
        try:
            yield connection
        except LOST as error:
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                _end(connection)  # the next one is looked for on every host
            raise unavailable("db.unreachable", "the ledger is not reachable: try again") from error
        except asyncpg.LockNotAvailableError as error:
            raise unavailable(
                "db.contended", "too many at once: repeat with the same key"
            ) from error
        finally:
            # A connection that fails while it is put back is closed by the pool; what its Work did
            # is known by then, and stays what is told.
            with suppress(*LOST):
                await self._pool.release(connection, timeout=_FAREWELL_S)

    @asynccontextmanager
    async def listen(self, channel: str, heard: Callable[[], None]) -> AsyncIterator[asyncio.Event]:
        """Call `heard` on every NOTIFY; a connection of its own for as long as it lasts.

        The event that it gives is set when the connection is lost: nothing is heard after.
        """
        lost = asyncio.Event()
        async with self._acquire() as connection:
            callback = lambda *_: heard()  # noqa: E731
            gone = lambda *_: lost.set()  # noqa: E731
            await connection.add_listener(channel, callback)
            connection.add_termination_listener(gone)
            try:
                yield lost
            finally:
                if not connection.is_closed():
                    connection.remove_termination_listener(gone)
                    await connection.remove_listener(channel, callback)


async def _roll_back(connection: Any, transaction: Any) -> None:
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await transaction.rollback()
    except BaseException as error:
        _end(connection)  # the server rolls it back; in its transaction it is of no use
        if not isinstance(error, LOST):
            raise


def _end(connection: Any) -> None:
    # One that broke may be out of the pool already, and then it is closed.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def schema_of(cell: int) -> str:
    return f"cell{cell}"


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Rows to the column arrays that `unnest` takes."""
    return [[row[i] for row in rows] for i in range(width)]
