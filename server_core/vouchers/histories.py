"""Is what a terminal sends its one history, and what is new in it (OV1 §4, journal rows). Pure."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec import Struct, field
from msgspec.structs import replace

from offline.journal import GENESIS, Accept, Apply, NewEpoch, VoidRow, chain, decode_row
from offline.model import Bundle
from offline.payer import check_void_signature
from offline.sync import Header, ItemResult, SyncBody
from offline.verdicts import Verdict
from offline.verify import check_for_settlement
from server_core.terminals.model import Terminal
from server_core.vouchers.model import Claimed, Journal, Read
from server_core.vouchers.rules import claims_hold


class Stored(Struct):
    """What is kept of a terminal's journal that its request may touch.

    `epochs`: those known of the ones that the request names. `rows`: (epoch, seq) to chain hash and
    result. `claims`: what headers of the request's epoch said of rows that are not acknowledged.
    """

    epochs: set[bytes] = field(default_factory=set)
    rows: dict[tuple[bytes, int], tuple[bytes, str]] = field(default_factory=dict)
    claims: list[Claimed] = field(default_factory=list)

    def link(self, epoch: bytes, seq: int) -> bytes | None:
        return self.rows[epoch, seq][0] if (epoch, seq) in self.rows else None


class Placed(Struct, frozen=True, kw_only=True):
    """Where a request stands in its terminal's journal.

    ACCEPTED: `again` are the stored results of rows that we have, `fresh` go on after `journal`; with
    `goes_on` false nothing may be added. JOURNAL_GAP, JOURNAL_FORK, REVOCATION_NOT_APPLIED: the rows add
    nothing to the journal.
    """

    verdict: Verdict
    journal: Journal
    again: Sequence[ItemResult] = ()
    fresh: Sequence[Read] = ()
    goes_on: bool = False


def read_rows(body: SyncBody, terminal: Terminal, bundle: Bundle) -> list[Read]:
    """Everything that needs no state: strict rows, the signatures of vouchers and voids."""
    rows = []
    for one in body.rows:
        row = decode_row(one.row)
        content = Verdict.ACCEPTED
        match row:
            case Verdict():
                content = row
            case Accept():
                content = check_for_settlement(row.signed, bundle)
            case VoidRow():
                content = check_void_signature(row.signed, bundle)
                signer = (row.signed.cert.terminal, row.signed.cert.payee)
                if content is Verdict.ACCEPTED and signer != (terminal.id, terminal.payee):
                    content = Verdict.OTHER_SUBJECT
            case NewEpoch() if one.seq != 1 or row.new_epoch != body.header.epoch:
                content = Verdict.MALFORMED
            case _:
                pass
        rows.append(Read(seq=one.seq, raw=one.row, row=row, content=content))
    return rows


def asked(journal: Journal, header: Header, rows: Sequence[Read]) -> list[tuple[bytes, int, int]]:
    """The stored rows that `place` may need: (epoch, first seq, last seq)."""
    wanted = []
    acked = journal.acked_seq if journal.epoch == header.epoch else 0
    if rows and (journal.epoch != header.epoch or rows[0].seq <= acked):
        wanted.append((header.epoch, rows[0].seq - 1, rows[-1].seq))
    if header.head_seq < acked:
        wanted.append((header.epoch, header.head_seq, header.head_seq))
    if rows and isinstance(first := rows[0].row, NewEpoch):
        wanted.append((first.old_epoch, first.old_seq, first.old_seq))
    return wanted


def place(
    journal: Journal, header: Header, rows: Sequence[Read], stored: Stored, *, active: bool
) -> Placed:
    """What the signed rows are to the journal as we have it; `active`: the terminal is in order.

    A fork cannot be told from a gap while rows are missing; one that is found out already is judged
    as a fork all the same, so that it can drain.
    """
    if header.applied < journal.told:
        return Placed(verdict=Verdict.REVOCATION_NOT_APPLIED, journal=journal)
    gap = Verdict.JOURNAL_GAP if active or not rows else Verdict.JOURNAL_FORK
    begun = _begin(journal, header, rows, stored)
    if isinstance(begun, Verdict):
        return Placed(verdict=gap if begun is Verdict.JOURNAL_GAP else begun, journal=journal)
    if begun.epoch != journal.epoch and header.epoch in stored.epochs:
        return _left_behind(journal, begun, rows, stored)
    if rows and rows[0].seq > begun.acked_seq + 1:
        return Placed(verdict=gap, journal=journal if gap is Verdict.JOURNAL_FORK else begun)
    known = [one for one in rows if one.seq <= begun.acked_seq]
    fresh = rows[len(known) :]
    again = _matched(begun, known, stored)
    if again is None or not _as_claimed(begun, header, fresh, stored):
        return Placed(verdict=Verdict.JOURNAL_FORK, journal=begun)
    return Placed(
        verdict=Verdict.ACCEPTED, journal=begun, again=again, fresh=fresh, goes_on=True
    )  # fmt: skip


def gone_on(journal: Journal, fresh: Sequence[Read]) -> Journal:
    """The journal with its new rows acknowledged."""
    applies = [one.row.epoch for one in fresh if isinstance(one.row, Apply)]
    moved = replace(journal, applied=max([journal.applied, *applies]))
    if not fresh:
        return moved
    return replace(moved, acked_seq=fresh[-1].seq, acked_head=links(journal, fresh)[-1])


def told(journal: Journal, epoch: int) -> Journal:
    """The journal after an answer that led the terminal to revocation `epoch`."""
    return replace(journal, told=max(journal.told, epoch))


def links(journal: Journal, fresh: Sequence[Read]) -> list[bytes]:
    """The chain hashes of rows that follow the acknowledged ones."""
    return list(_chained(journal.terminal, journal.epoch or b"", journal.acked_head, fresh))


def forked(
    journal: Journal,
    header: Header,
    rows: Sequence[Read],
    judged: dict[int, Verdict],
    stored: Stored,
) -> list[ItemResult]:
    """An item a row of another history: a voucher's verdict by its h, or JOURNAL_FORK.

    Results carry the chain as far as we can follow it: the terminal applies those that are its own.
    """
    if not rows:
        return []
    before = rows[0].seq - 1
    if (journal.epoch, journal.acked_seq) == (header.epoch, before):
        start = journal.acked_head
    else:
        start = stored.link(header.epoch, before) or GENESIS
    return [
        ItemResult(
            seq=one.seq,
            row_hash=link,
            result=judged[one.seq] if isinstance(one.row, Accept) else Verdict.JOURNAL_FORK,
        )
        for one, link in zip(
            rows, _chained(journal.terminal, header.epoch, start, rows), strict=True
        )
    ]


def _begin(
    journal: Journal, header: Header, rows: Sequence[Read], stored: Stored
) -> Journal | Verdict:
    """The journal in the request's epoch, JOURNAL_GAP when we lack what it begins at, or a FORK.

    A known epoch that a restore left behind comes back as a journal of that epoch, to be resent only.
    """
    if journal.epoch == header.epoch:
        return journal
    begun = replace(journal, epoch=header.epoch, acked_seq=0, acked_head=GENESIS)
    if journal.epoch is not None and header.epoch in stored.epochs:
        return begun
    first = rows[0].row if rows and rows[0].seq == 1 else None
    if not isinstance(first, NewEpoch):
        return begun if journal.epoch is None else Verdict.JOURNAL_GAP
    if first.new_epoch != header.epoch:
        return Verdict.JOURNAL_GAP
    if first.old_seq == 0:
        heard = journal.epoch is None or first.old_epoch in stored.epochs
        if heard and first.old_chain != GENESIS:
            return Verdict.JOURNAL_FORK
        return begun if heard else Verdict.JOURNAL_GAP
    link = stored.link(first.old_epoch, first.old_seq)
    if link is None:
        return Verdict.JOURNAL_GAP
    return begun if link == first.old_chain else Verdict.JOURNAL_FORK


def _left_behind(
    journal: Journal, old: Journal, rows: Sequence[Read], stored: Stored
) -> Placed:  # fmt: skip
    """An epoch that a restore left behind takes only resends; anything else is a second history."""
    again = _matched(old, rows, stored)
    if again is None:
        return Placed(verdict=Verdict.JOURNAL_FORK, journal=journal)
    return Placed(verdict=Verdict.ACCEPTED, journal=journal, again=again)


def _matched(journal: Journal, rows: Sequence[Read], stored: Stored) -> list[ItemResult] | None:
    """The stored results of rows whose chain hashes equal the stored ones, else None."""
    if not rows:
        return []
    epoch = journal.epoch or b""
    start = stored.link(epoch, rows[0].seq - 1) or GENESIS
    items = []
    for one, link in zip(
        rows, _chained(journal.terminal, epoch, start, rows), strict=True
    ):  # fmt: skip
        kept, result = stored.rows.get((epoch, one.seq), (b"", ""))
        if kept != link:
            return None
        items.append(ItemResult(seq=one.seq, row_hash=link, result=Verdict(result)))
    return items


def _as_claimed(journal: Journal, header: Header, fresh: Sequence[Read], stored: Stored) -> bool:
    """Whether the signed headers, this one and the earlier, speak of the journal that came."""
    last = fresh[-1].seq if fresh else journal.acked_seq
    claims = [
        *stored.claims,
        Claimed(applied=header.applied, first=header.head_seq, last=header.head_seq),
    ]
    applies = [(one.seq, one.row.epoch) for one in fresh if isinstance(one.row, Apply)]
    if not claims_hold(journal.applied, journal.acked_seq, applies, last, claims):
        return False
    if header.head_seq == last:
        head = links(journal, fresh)[-1] if fresh else journal.acked_head
        return head == header.head
    if header.head_seq < journal.acked_seq:
        # Behind what we have: a copy put back without the command, or an answer that was lost.
        return (stored.link(header.epoch, header.head_seq) or GENESIS) == header.head
    return True


def _chained(
    terminal: bytes, epoch: bytes, start: bytes, rows: Sequence[Read]
) -> Iterator[bytes]:  # fmt: skip
    found = accumulate(
        rows, lambda before, one: chain(terminal, epoch, one.seq, before, one.raw), initial=start
    )
    next(found)
    return found
