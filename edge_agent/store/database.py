"""One SQLite file opened the only way this agent trusts: WAL, full sync, strict, one writer.

The standard library's sqlite3 and not aiosqlite: a shop's terminal does one thing at a time, a
redemption is five short statements and one commit, and handing each of them to another thread costs
more than the statements and lets two tasks interleave inside one transaction.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from edge_agent.errors import AgentError

_BUSY_MS: Final = 5_000
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA trusted_schema=OFF",
    # A log that a long reader let grow is cut back to this once it was written into the file.
    "PRAGMA journal_size_limit=4194304",
)

Migration = Sequence[str]
Values = Sequence[object] | Mapping[str, object]


class Database:
    """A connection in autocommit; what changes anything stands inside `write`."""

    __slots__ = ("_connection", "path")

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path, migrations: Sequence[Migration]) -> Self:
        """Open or make the file and bring its schema forward; a newer schema is refused."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # The file is made private before SQLite can make it readable to others.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
        except (OSError, sqlite3.Error) as e:
            raise AgentError("edge.store_failed", f"{path.name} cannot be opened: {e}") from e
        database = cls(path, connection)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            database._migrate(migrations)
        except sqlite3.Error as e:
            connection.close()
            raise AgentError("edge.store_failed", f"{path.name} cannot be used: {e}") from e
        except AgentError:
            connection.close()
            raise
        return database

    @staticmethod
    def version_of(path: Path) -> int:
        """Read a file's schema version and change nothing of it."""
        try:
            with closing(sqlite3.connect(path, timeout=_BUSY_MS / 1000)) as connection:
                return int(connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error as e:
            raise AgentError("edge.store_failed", f"{path.name} cannot be opened: {e}") from e

    def close(self) -> None:
        self._connection.close()

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run one query outside a transaction."""
        return self._connection.execute(sql, values).fetchall()

    def first(self, sql: str, values: Values = ()) -> tuple[Any, ...] | None:
        """Give the first row of one query, or None."""
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed and on the disk when the block ends, gone when it raises."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as e:
            raise _failed("the record cannot be written", e) from e
        try:
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as e:
            self._roll_back()
            raise _failed("the record was not written", e) from e
        except BaseException:
            self._roll_back()
            raise

    def settle(self) -> None:
        """Bring what the log holds onto the disk before anything of it is believed.

        A commit whose fdatasync failed was not shown as paid, but its bytes may stand in the log: after
        a crash they would be read as committed, from the cache of a disk that never took them.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as e:
            raise _failed("the disk does not take what is recorded", e) from e

    def _roll_back(self) -> None:
        # After a full disk or a broken file SQLite may have rolled back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        at = self._version()
        if at > len(migrations):
            raise AgentError("edge.schema_newer", f"{self.path.name} was written by a newer agent")
        if at == len(migrations):
            return
        with self.write() as connection:
            # Read again under the lock: another process may have migrated meanwhile.
            for number in range(self._version(), len(migrations)):
                for statement in migrations[number]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(migrations)}")

    def _version(self) -> int:
        row = self._connection.execute("PRAGMA user_version").fetchone()
        return int(row[0])


def _failed(what: str, error: sqlite3.Error) -> AgentError:
    """Name the fault: a full disk is for the shop to mend, any other for somebody who knows disks."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return AgentError("edge.disk_full", f"{what}: the disk is full. Free space, then try again")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return AgentError("edge.store_failed", f"{what}: {error} ({name})")


class HomeLock:
    """The right to be the one writer of a home; the kernel gives it back when the process dies."""

    __slots__ = ("_handle",)

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> Self:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(handle)
            raise AgentError(
                "edge.home_busy", "another process is using this home; use that one or stop it"
            ) from e
        return cls(handle)

    def release(self) -> None:
        os.close(self._handle)
