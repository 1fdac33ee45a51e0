"""Keeps the sandbox's entries in SQLite, so that a restart forgets no debit."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from server_core.sandbox.model import MAX_ENTRIES, Entry, Order

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    about TEXT NOT NULL,
    body TEXT,
    code TEXT NOT NULL,
    later TEXT NOT NULL,
    asks INTEGER NOT NULL,
    debited INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    given_back INTEGER NOT NULL,
    rrn TEXT,
    taken_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_about ON entry (kind, about, taken_at_ms) WHERE about <> '';
"""
_COLUMNS: Final = "id, body, code, later, asks, debited, returns, given_back, rrn, taken_at_ms"


class Store:
    """The file, or memory without one; held by this process alone, used by the thread that opens it.

    An entry is known by its kind (`upi.txn`, `card.refund`) and id. WAL with synchronous=NORMAL:
    what was committed outlives the death of the process (not of the machine's power, which a
    sandbox may lose).
    """

    __slots__ = ("_held", "_path", "count", "most")

    def __init__(self, path: Path | None = None, *, most: int = MAX_ENTRIES) -> None:
        self._path, self.most = path, most
        self._held: sqlite3.Connection | None = None
        self.count = 0

    def open(self) -> None:
        """Raises sqlite3.OperationalError when another process holds the file."""
        held = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=1)
        try:
            held.execute("PRAGMA locking_mode = EXCLUSIVE")
            held.execute("PRAGMA journal_mode = WAL")
            held.execute("PRAGMA synchronous = NORMAL")
            held.executescript(_SCHEMA)
            self.count = held.execute("SELECT count(*) FROM entry").fetchone()[0]
        except sqlite3.Error:
            held.close()
            raise
        self._held = held

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    @property
    def is_full(self) -> bool:
        return self.count >= self.most

    def get(self, kind: str, key: str) -> Entry | None:
        found = self._open.execute(
            f"SELECT {_COLUMNS} FROM entry WHERE kind = ? AND id = ?", (kind, key)
        ).fetchone()
        return None if found is None else _entry(found)

    def under(self, kind: str, about: str, most: int = -1) -> list[Entry]:
        """What belongs to it, the first first."""
        found = self._open.execute(
            f"SELECT {_COLUMNS} FROM entry WHERE kind = ? AND about = ? AND about <> ''"
            " ORDER BY taken_at_ms, id LIMIT ?",
            (kind, about, most),
        ).fetchall()
        return [_entry(row) for row in found]

    def insert(self, kind: str, entry: Entry) -> None:
        order = entry.order
        self._open.execute(
            f"INSERT INTO entry (kind, about, {_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                kind, "" if order is None else order.about,
                entry.id, None if order is None else json.dumps(asdict(order)),
                entry.code, entry.later, entry.asks, entry.debited, entry.returns,
                entry.given_back, entry.rrn, entry.taken_at_ms,
            ),
        )  # fmt: skip
        self.count += 1

    def save(self, kind: str, entry: Entry) -> None:
        """What may change of a known one."""
        self._open.execute(
            "UPDATE entry SET code = ?, later = ?, asks = ?, debited = ?, returns = ?,"
            " given_back = ? WHERE kind = ? AND id = ?",
            (
                entry.code, entry.later, entry.asks, entry.debited, entry.returns,
                entry.given_back, kind, entry.id,
            ),
        )  # fmt: skip

    @property
    def _open(self) -> sqlite3.Connection:
        if self._held is None:
            raise AssertionError("the store is not open")
        return self._held


def _entry(row: tuple[Any, ...]) -> Entry:
    key, body, code, later, asks, debited, returns, given_back, rrn, taken_at_ms = row
    return Entry(
        id=key,
        order=None if body is None else Order(**json.loads(body)),
        code=code,
        later=later,
        asks=asks,
        debited=bool(debited),
        returns=bool(returns),
        given_back=bool(given_back),
        rrn=rrn,
        taken_at_ms=taken_at_ms,
    )
