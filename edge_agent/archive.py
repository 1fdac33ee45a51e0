"""What the server has and nobody needs here any more leaves the database for chained, compressed files.

A sale leaves with its request. What is left refuses its voucher still: the request's nonce is unknown.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from devices.keystore.sealed import sync_folder, write_durably
from edge_agent.errors import AgentError
from edge_agent.segment import (
    NO_SEGMENT,
    ArchivedRow,
    Segment,
    SegmentBroken,
    digest_of,
    read_segment,
    segment_bytes,
)
from edge_agent.store.archive_store import ArchiveEntry, ArchiveStore, let_go
from edge_agent.store.terminal_rows import JournalRow
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.terminal import Terminal
from offline.journal import GENESIS, Accept, Row, read_row
from offline.sync import SeqRow

FOLDER: Final = "archive"
_DAY_S: Final = 86_400
_LEAST: Final = 100
_MOST: Final = 1_000
"""Rows of a segment: few enough that no sale waits for one, many enough that there are few files."""


def segment_path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:06}.seg"


def archive(terminal: Terminal, folder: Path, *, after_days: int) -> int:
    """Move at most one segment of acknowledged rows older than that; give how many rows left.

    The file is durable before the commit that lets its rows go. A crash between leaves a file that the
    next segment of that number replaces. Never the last acknowledged row: a restore names it.
    """
    risk = terminal.risk
    if risk is None or not terminal.floor.trusted(
        behind_s=risk.clock_behind_s, ahead_s=risk.clock_ahead_s
    ):
        # A clock that leaps forward would make yesterday's sales old.
        return 0
    now_s = terminal.floor.now_s()
    found = _ripe(terminal, now_s, now_s - after_days * _DAY_S)
    if found is None:
        return 0
    rows, archived = found
    known = ArchiveStore(terminal.store.db)
    last, before = known.last(), known.last_of(rows[0].epoch)
    segment = Segment(
        number=last.number + 1 if last is not None else 1,
        terminal=terminal.me.terminal,
        previous=last.digest if last is not None else NO_SEGMENT,
        epoch=rows[0].epoch,
        first_seq=rows[0].seq,
        previous_chain=before.chain if before is not None else GENESIS,
        rows=tuple(one for _, one in archived),
    )
    data = segment_bytes(segment)
    path = segment_path(folder, segment.number)
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700)
        sync_folder(folder)
    write_durably(path, data)
    entry = ArchiveEntry(
        number=segment.number,
        epoch=segment.epoch,
        first_seq=segment.first_seq,
        last_seq=segment.last_seq,
        chain=rows[-1].chain,
        digest=digest_of(data),
        archived_at_s=now_s,
    )
    with terminal.work() as work:
        let_go(work, entry, [(one.seq, row) for one, (row, _) in zip(rows, archived, strict=True)])
    return len(rows)


def _ripe(
    terminal: Terminal, now_s: int, before_s: int
) -> tuple[list[JournalRow], list[tuple[Row, ArchivedRow]]] | None:
    """Give the oldest rows of one epoch that may leave, if they are enough for a segment."""
    state, store = terminal.store.state(), ArchiveStore(terminal.store.db)
    for epoch in store.epochs():
        current = epoch == state.epoch
        if not current and state.acked_seq == 0:
            # The new epoch is not the server's yet: what came before it stays whole.
            continue
        gone = store.last_of(epoch)
        first = gone.last_seq + 1 if gone is not None else 1
        rows = terminal.store.journal(epoch, first, _MOST)
        archived: list[tuple[Row, ArchivedRow]] = []
        for row in rows:
            if row.written_at_s >= before_s or (current and row.seq >= state.acked_seq):
                break
            content = read_row(row.row)
            sale = store.sale(row) if isinstance(content, Accept) else None
            if isinstance(content, Accept) and not _over(content, sale, now_s):
                break
            receipt = sale[1] if sale is not None else None
            archived.append((content, _archived(row, receipt)))
        if len(archived) >= (_LEAST if current else 1):
            return rows[: len(archived)], archived
    return None


def _over(accepted: Accept, sale: tuple[str | None, str] | None, now_s: int) -> bool:
    """Whether nothing can come of a sale any more: its allowance is over and the server has judged it."""
    settled = sale is None or sale[0] is not None
    return settled and accepted.signed.allowance.settle_until < now_s


def _archived(row: JournalRow, receipt: str | None) -> ArchivedRow:
    return ArchivedRow(
        row=row.row, written_at_s=row.written_at_s, result=row.result, receipt=receipt
    )


def rows_from(store: TerminalStore, epoch: bytes, start: int, limit: int) -> list[SeqRow]:
    """Give journal rows from `start` on, out of the archive where they are: a server may ask for them again.

    Rows of one segment or of the journal, never of both: the next batch goes on. Raises AgentError
    when the segment is not what left.
    """
    entry = ArchiveStore(store.db).holding(epoch, start)
    if entry is None:
        return [SeqRow(seq=row.seq, row=row.row) for row in store.journal(epoch, start, limit)]
    try:
        segment = _read(store.db.path.parent, entry)
    except SegmentBroken as e:
        raise AgentError("edge.archive_broken", str(e)) from e
    first = start - segment.first_seq
    return [
        SeqRow(seq=seq, row=one.row)
        for seq, one in enumerate(segment.rows[first : first + limit], start)
    ]


def _read(folder: Path, entry: ArchiveEntry) -> Segment:
    path = segment_path(folder, entry.number)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise SegmentBroken(f"{path.name} is missing or cannot be read") from e
    if digest_of(data) != entry.digest:
        raise SegmentBroken(f"{path.name} was altered")
    return read_segment(data)


def segments(folder: Path, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Segment]]:
    """Read and check each segment against the database and the one before it; raise SegmentBroken."""
    previous = NO_SEGMENT
    heads: dict[bytes, tuple[int, bytes]] = {}
    for number, entry in enumerate(entries, 1):
        segment = _read(folder, entry)
        seq, head = heads.get(entry.epoch, (0, GENESIS))
        fits = (
            entry.number == segment.number == number
            and segment.previous == previous
            and (segment.epoch, segment.first_seq) == (entry.epoch, seq + 1)
            and segment.previous_chain == head
            and segment.last_seq == entry.last_seq
            and segment.chain() == entry.chain
        )
        if not fits:
            name = segment_path(folder, entry.number).name
            raise SegmentBroken(f"{name} does not follow the one before it")
        previous, heads[entry.epoch] = entry.digest, (entry.last_seq, entry.chain)
        yield entry, segment
