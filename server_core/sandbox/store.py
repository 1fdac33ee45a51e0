"""Keeps the switch's transactions in SQLite, so that a restart forgets no debit."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from server_core.sandbox.model import Order, Txn

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS txn (
    txn_id TEXT PRIMARY KEY,
    body TEXT,
    code TEXT NOT NULL,
    later TEXT NOT NULL,
    asks INTEGER NOT NULL,
    debited INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    given_back INTEGER NOT NULL,
    rrn TEXT,
    taken_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""
_COLUMNS: Final = "txn_id, body, code, later, asks, debited, returns, given_back, rrn, taken_at_ms"


class Store:
    """The file, or memory without one; held by this process alone, used by one thread.

    WAL with synchronous=NORMAL: what was committed outlives the death of the process (not of the
    machine's power, which a sandbox may lose).
    """

    __slots__ = ("_connection", "count")

    def __init__(self, path: Path | None) -> None:
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_SCHEMA)
            self.count: int = self._connection.execute("SELECT count(*) FROM txn").fetchone()[0]
        except sqlite3.Error:
            self._connection.close()
            raise

    def get(self, txn_id: str) -> Txn | None:
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM txn WHERE txn_id = ?", (txn_id,)
        ).fetchone()
        return None if found is None else _txn(found)

    def insert(self, txn: Txn) -> None:
        body = None if txn.order is None else json.dumps(asdict(txn.order))
        self._connection.execute(
            f"INSERT INTO txn ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                txn.txn_id, body, txn.code, txn.later, txn.asks, txn.debited, txn.returns,
                txn.given_back, txn.rrn, txn.taken_at_ms,
            ),
        )  # fmt: skip
        self.count += 1

    def save(self, txn: Txn) -> None:
        """What may change of a known one."""
        self._connection.execute(
            "UPDATE txn SET later = ?, asks = ?, debited = ?, returns = ?, given_back = ?"
            " WHERE txn_id = ?",
            (txn.later, txn.asks, txn.debited, txn.returns, txn.given_back, txn.txn_id),
        )

    def close(self) -> None:
        self._connection.close()


def _txn(row: tuple[Any, ...]) -> Txn:
    txn_id, body, code, later, asks, debited, returns, given_back, rrn, taken_at_ms = row
    return Txn(
        txn_id=txn_id,
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
