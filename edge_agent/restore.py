"""The restore command: after a copy of the file was put back, go on as a new history that nobody mistakes."""

from dataclasses import dataclass

from edge_agent.terminal import Terminal
from edge_agent.terminal_rules import restored
from offline.journal import EPOCH_SIZE, GENESIS, CloseReason, VoidRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did: requests closed, rows carried into the new epoch."""

    closed: int
    carried: int
    epoch: bytes


def restore(terminal: Terminal) -> Restored:
    """Start a new epoch in one commit; nothing is accepted before one sync."""
    store = terminal.store
    with terminal.work() as work:
        old = work.state
        unacked = store.journal(old.epoch, old.acked_seq + 1, old.head_seq)
        acked_chain = store.chain_at(old.epoch, old.acked_seq) or GENESIS
        open_nonces = [row.nonce for row in store.open_requests()]
        epoch = terminal.entropy.bytes(EPOCH_SIZE)
        work.state, rows = restored(old, unacked, acked_chain, open_nonces, epoch, work.now_s)
        for nonce in open_nonces:
            work.close_request(nonce, str(CloseReason.RESTORED))
        for row, carried in rows:
            seq, _ = work.append(row)
            if carried is not None:
                table = "voided" if isinstance(row, VoidRow) else "redeemed"
                work.move_row(table, old.epoch, carried.seq, seq)
    return Restored(
        closed=len(open_nonces),
        carried=sum(carried is not None for _, carried in rows),
        epoch=epoch,
    )
