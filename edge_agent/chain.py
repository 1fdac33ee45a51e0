"""Whether a terminal's journal is still one chain: every hash computed anew from the row before it."""

from edge_agent.store.archive_store import ArchiveStore
from edge_agent.store.terminal_store import TerminalStore
from offline.journal import GENESIS, chain


def broken_at(store: TerminalStore) -> int | None:
    """Walk the chain of this epoch from where the archive ends; give the first row that does not follow."""
    terminal, state = store.must_me().terminal, store.state()
    gone = ArchiveStore(store.db).last_of(state.epoch)
    previous, seq = (gone.chain, gone.last_seq) if gone is not None else (GENESIS, 0)
    while seq < state.head_seq:
        rows = store.journal(state.epoch, seq + 1, 500)
        if not rows:
            return seq + 1
        for row in rows:
            seq += 1
            if row.seq != seq or row.chain != chain(terminal, state.epoch, seq, previous, row.row):
                return seq
            previous = row.chain
    return None if previous == state.head else state.head_seq
