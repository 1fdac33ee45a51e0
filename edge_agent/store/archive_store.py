"""All SQL of the archive: which rows may leave, what has left, and the one commit in which they do."""

from dataclasses import dataclass
from typing import Any, Final

from edge_agent.store.database import Database
from edge_agent.store.terminal_rows import JournalRow
from edge_agent.store.terminal_work import Work
from offline.journal import Accept, Close, Row, VoidRow

_ENTRY: Final = """SELECT number, epoch, first_seq, last_seq, chain, digest, archived_at_s
    FROM archive"""
# A request that still stands for a sale, or is open, is never let go.
_LET_REQUEST_GO: Final = """DELETE FROM open_request WHERE nonce = :nonce AND state <> 'open'
    AND NOT EXISTS (SELECT 1 FROM redeemed WHERE redeemed.nonce = :nonce)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """One segment as the database remembers it; `chain` is the journal's hash at its last row."""

    number: int
    epoch: bytes
    first_seq: int
    last_seq: int
    chain: bytes
    digest: bytes
    archived_at_s: int


class ArchiveStore:
    """Reads of the archive's table beside a terminal's others."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def entries(self) -> list[ArchiveEntry]:
        return [_entry(row) for row in self._db.read(_ENTRY + " ORDER BY number")]

    def last(self) -> ArchiveEntry | None:
        row = self._db.first(_ENTRY + " ORDER BY number DESC LIMIT 1")
        return _entry(row) if row is not None else None

    def last_of(self, epoch: bytes) -> ArchiveEntry | None:
        row = self._db.first(_ENTRY + " WHERE epoch = ? ORDER BY last_seq DESC LIMIT 1", (epoch,))
        return _entry(row) if row is not None else None

    def holding(self, epoch: bytes, seq: int) -> ArchiveEntry | None:
        """Give the segment that holds this row, if it left."""
        row = self._db.first(
            _ENTRY + " WHERE epoch = ? AND last_seq >= ? ORDER BY last_seq LIMIT 1", (epoch, seq)
        )
        return _entry(row) if row is not None else None

    def epochs(self) -> list[bytes]:
        """Give the epochs that have rows in the journal, one look-up each."""
        found: list[bytes] = []
        after = b""
        while True:
            row = self._db.first(
                "SELECT epoch FROM journal WHERE epoch > ? ORDER BY epoch LIMIT 1", (after,)
            )
            if row is None:
                return found
            after = row[0]
            found.append(after)

    def sale(self, row: JournalRow) -> tuple[str | None, str] | None:
        """Give result and receipt of the sale that this row stands for, if it still does."""
        found = self._db.first(
            "SELECT result, receipt FROM redeemed WHERE epoch = ? AND seq = ?", (row.epoch, row.seq)
        )
        return (found[0], found[1]) if found is not None else None


def let_go(work: Work, entry: ArchiveEntry, rows: list[tuple[int, Row]]) -> None:
    """Note the segment and delete what it holds, with the requests that only those rows needed."""
    work.run(
        "INSERT INTO archive VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            entry.number,
            entry.epoch,
            entry.first_seq,
            entry.last_seq,
            entry.chain,
            entry.digest,
            entry.archived_at_s,
        ),
    )
    work.run(
        "DELETE FROM journal WHERE epoch = ? AND seq BETWEEN ? AND ?",
        (entry.epoch, entry.first_seq, entry.last_seq),
    )
    for seq, row in rows:
        match row:
            case Accept():
                work.run("DELETE FROM redeemed WHERE epoch = ? AND seq = ?", (entry.epoch, seq))
                work.run(_LET_REQUEST_GO, {"nonce": row.signed.voucher.nonce})
            case VoidRow():
                work.run("DELETE FROM voided WHERE epoch = ? AND seq = ?", (entry.epoch, seq))
                work.run(_LET_REQUEST_GO, {"nonce": row.nonce})
            case Close():
                work.run(_LET_REQUEST_GO, {"nonce": row.nonce})
            case _:
                continue


def _entry(row: tuple[Any, ...]) -> ArchiveEntry:
    return ArchiveEntry(**dict(zip(ArchiveEntry.__slots__, row, strict=True)))
