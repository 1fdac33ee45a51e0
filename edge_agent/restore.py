"""The restore command: after a copy of the file was put back, go on as a new history that nobody mistakes."""

from dataclasses import dataclass, replace

from edge_agent.store.terminal_rows import JournalRow
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal
from offline.journal import (
    EPOCH_SIZE,
    GENESIS,
    Close,
    CloseReason,
    NewEpoch,
    VoidRow,
    read_row,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did: requests closed, rows carried into the new epoch."""

    closed: int
    carried: int
    epoch: bytes


def restore(terminal: Terminal) -> Restored:
    """Start a new epoch in one commit; nothing is accepted before one sync.

    The lost history may have put other rows after the last acked one, so nothing is appended to the
    old epoch and none of its unacked rows is sent under it: EPOCH names the last acked row, which the
    server knows, and the unacked rows follow it in their order. A voucher that the lost history had
    already sent is a DUPLICATE by its h.
    """
    store = terminal.store
    with terminal.work() as work:
        state = work.state
        old_epoch, old_seq = state.epoch, state.acked_seq
        unacked = store.journal(old_epoch, old_seq + 1, state.head_seq)
        named = _last_known(work, unacked, store.chain_at(old_epoch, old_seq) or GENESIS)
        state.epoch = terminal.entropy.bytes(EPOCH_SIZE)
        state.head_seq, state.head, state.acked_seq = 0, GENESIS, 0
        work.append(replace(named, new_epoch=state.epoch))
        carried = sum(_carry(work, old_epoch, row.seq, row.row) for row in unacked)
        open_requests = store.open_requests()
        for row in open_requests:
            work.close_request(row.nonce, str(CloseReason.RESTORED))
            work.append(Close(nonce=row.nonce, reason=CloseReason.RESTORED, closed_at=work.now_s))
        state.must_sync = True
        state.quarantined = False
        state.screen_nonce = None
    return Restored(closed=len(open_requests), carried=carried, epoch=state.epoch)


def _last_known(work: Work, unacked: list[JournalRow], acked_chain: bytes) -> NewEpoch:
    """Name the last row that the server surely knows; a restore before any sync names the same again."""
    first = read_row(unacked[0].row) if unacked else None
    if isinstance(first, NewEpoch):
        return first
    state = work.state
    return NewEpoch(
        new_epoch=state.epoch,
        old_epoch=state.epoch,
        old_seq=state.acked_seq,
        old_chain=acked_chain,
    )


def _carry(work: Work, old_epoch: bytes, old_seq: int, data: bytes) -> int:
    """Append an unacked row of the old epoch to the new one, and move what points at it."""
    row = read_row(data)
    if isinstance(row, NewEpoch):
        # Restored twice without a sync between: the newer EPOCH row names the same acked row.
        return 0
    seq, _ = work.append(row)
    table = "voided" if isinstance(row, VoidRow) else "redeemed"
    work.move_row(table, old_epoch, old_seq, seq)
    return 1
