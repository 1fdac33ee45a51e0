"""One commit of a terminal: journal rows chain on, and the clock's floor is persisted with them."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from edge_agent.clock_floor import ClockFloor
from edge_agent.errors import AgentError
from edge_agent.store.terminal_rows import SyncState
from offline.journal import Row, chain, row_bytes
from offline.model import Revocations

_SAVE_STATE: Final = """UPDATE sync_state SET epoch = ?, head_seq = ?, head = ?, acked_seq = ?, applied = ?,
    must_sync = ?, quarantined = ?, last_sync_s = ?, screen_nonce = ?, floor_ms = ?, floor_boot = ?,
    floor_monotonic_ms = ?"""


class Work:
    """One commit of the terminal: journal rows chain on, and the floor is persisted with them."""

    __slots__ = ("_connection", "_floor", "_terminal", "now_s", "state")

    def __init__(
        self, connection: sqlite3.Connection, terminal: bytes, floor: ClockFloor, state: SyncState
    ) -> None:
        self._connection = connection
        self._terminal = terminal
        self._floor = floor
        self.now_s = floor.now_s()
        self.state = state

    def run(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def exactly_one(self, sql: str, values: Sequence[object]) -> None:
        """Run a change that must meet exactly one row; anything else undoes the whole commit."""
        changed = self._connection.execute(sql, values).rowcount
        if changed != 1:
            raise AgentError("edge.store_contradiction", f"{changed} rows changed where one must")

    def next_chain(self, row: Row) -> tuple[int, bytes, bytes]:
        """Give the seq, chain hash and bytes that `row` would have if appended now."""
        data = row_bytes(row)
        seq = self.state.head_seq + 1
        return seq, chain(self._terminal, self.state.epoch, seq, self.state.head, data), data

    def append(self, row: Row) -> tuple[int, bytes]:
        """Append a journal row; give its seq and chain hash."""
        seq, head, data = self.next_chain(row)
        self._connection.execute(
            "INSERT INTO journal (epoch, seq, row, chain, written_at_s) VALUES (?, ?, ?, ?, ?)",
            (self.state.epoch, seq, data, head, self.now_s),
        )
        self.state.head_seq, self.state.head = seq, head
        return seq, head

    def close_request(self, nonce: bytes, reason: str) -> None:
        self.exactly_one(
            "UPDATE open_request SET state = 'closed', reason = ? WHERE nonce = ? AND state = 'open'",
            (reason, nonce),
        )

    def move_row(self, table: str, old_epoch: bytes, old_seq: int, seq: int) -> None:
        """Let a sale or a void point at its row in the new epoch."""
        sql = {
            "redeemed": "UPDATE redeemed SET epoch = ?, seq = ? WHERE epoch = ? AND seq = ?",
            "voided": "UPDATE voided SET epoch = ?, seq = ? WHERE epoch = ? AND seq = ?",
        }[table]
        self._connection.execute(sql, (self.state.epoch, seq, old_epoch, old_seq))

    def revoke(self, delta: Revocations) -> None:
        self._connection.executemany(
            "INSERT INTO revoked (aid, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(aid, delta.epoch) for aid in delta.aids],
        )
        self.state.applied = delta.epoch

    def save_state(self) -> None:
        s, mark = self.state, self._floor.mark()
        self._connection.execute(
            _SAVE_STATE,
            (
                s.epoch,
                s.head_seq,
                s.head,
                s.acked_seq,
                s.applied,
                int(s.must_sync),
                int(s.quarantined),
                s.last_sync_s,
                s.screen_nonce,
                mark.floor_ms,
                mark.boot,
                mark.monotonic_ms,
            ),
        )
