"""A terminal's sync: is it its one history, what is new in it, and the signed answer."""

import asyncio
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from devices.entropy import Entropy
from offline.codec import revocations_bytes
from offline.journal import (
    GENESIS,
    Accept,
    Apply,
    NewEpoch,
    VoidRow,
    chain,
    decode_row,
)
from offline.model import Beacon, Revocations
from offline.payer import check_void_signature
from offline.signing import beacon_message, revocations_message, sync_answer_message
from offline.sync import (
    ItemResult,
    SignedAnswer,
    SyncAnswer,
    SyncRequest,
    answer_bytes,
    check_sync_request,
)
from offline.verdicts import Refused, Verdict
from offline.verify import check_for_settlement
from offline.wire import SignedBeacon, SignedRevocations
from server_core.db.work import Database, Work
from server_core.errors import denied, invalid
from server_core.terminals import service as terminals
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys
from server_core.vouchers import journals, rules
from server_core.vouchers.model import Claimed, Journal
from server_core.vouchers.settling import Read, settle

MAX_REVOKED: Final = 1_000
"""Revocations in one answer; the next one goes on where it ended."""


class Taken(Struct, frozen=True, kw_only=True):
    """What one sync comes to: the batch's verdict, an item a row, and the journal as it stands."""

    verdict: Verdict
    journal: Journal
    items: list[ItemResult] = field(default_factory=list)


async def sync(db: Database, keys: Keys, entropy: Entropy, data: bytes) -> bytes:
    """The signed answer to a signed request; raises only when it is not a terminal's at all.

    Raises vouchers.sync, terminals.unknown, vouchers.sync_signature, trust.nonce_used.
    """
    try:
        request = await asyncio.to_thread(SyncRequest.from_bytes, data)
    except Refused as error:
        raise invalid("vouchers.sync", f"not a sync request: {error.verdict}") from error
    async with db.reader() as reader:
        await trust.check_nonce(reader, keys, request.server_nonce)
        terminal = await terminals.get(reader, request.terminal)
    rows = await asyncio.to_thread(_read, request, terminal, keys)

    async def do(work: Work) -> bytes:
        await trust.use_nonce(work, keys, request.server_nonce)
        journal = await journals.lock_journal(work, terminal.id)
        # Locked by the journal: another sync may have quarantined it since it was read.
        current = await terminals.get(work, terminal.id)
        taken = await _take(work, journal, request, current, rows)
        if taken.verdict is Verdict.ACCEPTED:
            await terminals.synced(work, current)
        return await _answer(work, keys, entropy, request, taken)

    return await db.transact(do)


def _read(request: SyncRequest, terminal: Terminal, keys: Keys) -> list[Read]:
    """Everything that needs no state: the terminal's signature, strict rows, vouchers' signatures."""
    if check_sync_request(request, terminal.key) is not Verdict.ACCEPTED:
        raise denied("vouchers.sync_signature", "this request is not signed by its terminal")
    bundle = keys.bundle.bundle
    rows = []
    for one in request.body.rows:
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
            case NewEpoch() if one.seq != 1 or row.new_epoch != request.body.header.epoch:
                content = Verdict.MALFORMED
            case _:
                pass
        rows.append(Read(seq=one.seq, raw=one.row, row=row, content=content))
    return rows


async def _take(
    work: Work, journal: Journal, request: SyncRequest, terminal: Terminal, rows: list[Read]
) -> Taken:
    header = request.body.header
    if header.applied < journal.told:
        return Taken(verdict=Verdict.REVOCATION_NOT_APPLIED, journal=journal)
    begun = await _epoch(work, journal, request, rows)
    if begun is Verdict.JOURNAL_FORK:
        return await _forked(work, journal, request, terminal, rows, [])
    drains = terminal.state is not TerminalState.ACTIVE and bool(rows)
    if isinstance(begun, Verdict):
        if drains:
            return await _forked(work, journal, request, terminal, rows, [])
        return Taken(verdict=begun, journal=journal)
    if begun.epoch != journal.epoch and await journals.knows_epoch(work, terminal.id, header.epoch):
        return await _left_behind(work, journal, request, terminal, rows)
    if rows and rows[0].seq > begun.acked_seq + 1:
        # A fork cannot be told from a gap here; one that is found out already drains all the same.
        if drains:
            return await _forked(work, journal, request, terminal, rows, [])
        return Taken(verdict=Verdict.JOURNAL_GAP, journal=begun)
    again, fresh = await _resent(work, begun, terminal, rows)
    if again is None or not await _as_claimed(work, begun, request, terminal, fresh):
        return await _forked(work, begun, request, terminal, rows, [])
    return await _go_on(work, begun, request, terminal, again, fresh)


async def _epoch(
    work: Work, journal: Journal, request: SyncRequest, rows: list[Read]
) -> Journal | Verdict:
    """The journal in the request's epoch, JOURNAL_GAP when we lack what it begins at, or a FORK.

    A known epoch that a restore left behind comes back as a journal of that epoch, to be resent only.
    """
    header = request.body.header
    if journal.epoch == header.epoch:
        return journal
    begun = replace(journal, epoch=header.epoch, acked_seq=0, acked_head=GENESIS)
    if journal.epoch is not None and await journals.knows_epoch(
        work, journal.terminal, header.epoch
    ):
        return begun
    first = rows[0].row if rows and rows[0].seq == 1 else None
    if not isinstance(first, NewEpoch):
        return begun if journal.epoch is None else Verdict.JOURNAL_GAP
    if first.new_epoch != header.epoch:
        return Verdict.JOURNAL_GAP
    if first.old_seq == 0:
        heard = journal.epoch is None or await journals.knows_epoch(
            work, journal.terminal, first.old_epoch
        )
        if heard and first.old_chain != GENESIS:
            return Verdict.JOURNAL_FORK
        return begun if heard else Verdict.JOURNAL_GAP
    known = await journals.journal_rows(
        work, journal.terminal, first.old_epoch, first.old_seq, first.old_seq
    )
    if first.old_seq not in known:
        return Verdict.JOURNAL_GAP
    return begun if known[first.old_seq][0] == first.old_chain else Verdict.JOURNAL_FORK


async def _left_behind(
    work: Work, journal: Journal, request: SyncRequest, terminal: Terminal, rows: list[Read]
) -> Taken:
    """An epoch that a restore left behind takes only resends; anything else is a second history."""
    old = replace(journal, epoch=request.body.header.epoch)
    again = await _matched(work, old, terminal, rows)
    if again is None:
        return await _forked(work, journal, request, terminal, rows, [])
    return Taken(verdict=Verdict.ACCEPTED, journal=journal, items=again)


async def _resent(
    work: Work, journal: Journal, terminal: Terminal, rows: list[Read]
) -> tuple[list[ItemResult] | None, list[Read]]:
    """Rows that we have, answered as they were; None when another row stands there. And the rest."""
    known = [one for one in rows if one.seq <= journal.acked_seq]
    return await _matched(work, journal, terminal, known), rows[len(known) :]


async def _matched(
    work: Work, journal: Journal, terminal: Terminal, rows: list[Read]
) -> list[ItemResult] | None:
    """The stored results of rows whose chain hashes equal the stored ones, else None."""
    if not rows:
        return []
    epoch = journal.epoch or b""
    stored = await journals.journal_rows(work, terminal.id, epoch, rows[0].seq - 1, rows[-1].seq)
    items = []
    previous = stored[rows[0].seq - 1][0] if rows[0].seq - 1 in stored else GENESIS
    for one in rows:
        previous = chain(terminal.id, epoch, one.seq, previous, one.raw)
        link, result = stored.get(one.seq, (b"", ""))
        if link != previous:
            return None
        items.append(ItemResult(seq=one.seq, row_hash=previous, result=Verdict(result)))
    return items


async def _as_claimed(
    work: Work, journal: Journal, request: SyncRequest, terminal: Terminal, fresh: list[Read]
) -> bool:
    """Whether the signed headers, this one and the earlier, speak of the journal that came."""
    header, epoch = request.body.header, journal.epoch or b""
    last = fresh[-1].seq if fresh else journal.acked_seq
    claims = [
        *await journals.claims(work, terminal.id, epoch, journal.acked_seq),
        Claimed(applied=header.applied, first=header.head_seq, last=header.head_seq),
    ]
    applies = [(one.seq, one.row.epoch) for one in fresh if isinstance(one.row, Apply)]
    if not rules.claims_hold(journal.applied, journal.acked_seq, applies, last, claims):
        return False
    if header.head_seq == last:
        head = _links(terminal, journal, fresh)[-1] if fresh else journal.acked_head
        return head == header.head
    if header.head_seq < journal.acked_seq:
        # Behind what we have: a copy put back without the command, or an answer that was lost.
        known = await journals.journal_rows(
            work, terminal.id, epoch, header.head_seq, header.head_seq
        )
        stored = known[header.head_seq][0] if header.head_seq in known else GENESIS
        return stored == header.head
    return True


async def _go_on(
    work: Work,
    journal: Journal,
    request: SyncRequest,
    terminal: Terminal,
    again: list[ItemResult],
    fresh: list[Read],
) -> Taken:
    """Judge, settle and acknowledge the new rows."""
    header, epoch = request.body.header, journal.epoch or b""
    await journals.claim_head(work, terminal.id, epoch, header.applied, header.head_seq)
    verdicts = await settle(work, terminal, fresh, journal.applied)
    made = [
        ItemResult(seq=one.seq, row_hash=link, result=verdict)
        for one, link, verdict in zip(
            fresh, _links(terminal, journal, fresh), verdicts, strict=True
        )
    ]
    if made:
        await journals.insert_journal_rows(
            work, terminal.id, epoch, [(one.seq, one.row_hash, str(one.result)) for one in made]
        )
        journal = replace(journal, acked_seq=made[-1].seq, acked_head=made[-1].row_hash)
    applies = [one.row.epoch for one in fresh if isinstance(one.row, Apply)]
    journal = replace(journal, applied=max([journal.applied, *applies]))
    await journals.save_journal(work, journal)
    return Taken(verdict=Verdict.ACCEPTED, journal=journal, items=[*again, *made])


async def _forked(
    work: Work,
    journal: Journal,
    request: SyncRequest,
    terminal: Terminal,
    rows: list[Read],
    items: list[ItemResult],
) -> Taken:
    """Another history: quarantine, acknowledge nothing, but judge each voucher by its h.

    Results carry the chain as far as we can follow it: the terminal applies those that are its own.
    """
    await terminals.quarantine(work, terminal)
    taken = [one for one in rows if isinstance(one.row, Accept | Apply)]
    results = await settle(work, terminal, taken, journal.applied)
    judged = {one.seq: result for one, result in zip(taken, results, strict=True)}
    epoch, previous = request.body.header.epoch, GENESIS
    if rows and rows[0].seq > 1:
        before = rows[0].seq - 1
        known = await journals.journal_rows(work, terminal.id, epoch, before, before)
        previous = known[before][0] if before in known else GENESIS
    for one in rows:
        previous = chain(terminal.id, epoch, one.seq, previous, one.raw)
        result = judged[one.seq] if isinstance(one.row, Accept) else Verdict.JOURNAL_FORK
        items.append(ItemResult(seq=one.seq, row_hash=previous, result=result))
    return Taken(verdict=Verdict.JOURNAL_FORK, journal=journal, items=items)


def _links(terminal: Terminal, journal: Journal, fresh: list[Read]) -> list[bytes]:
    links, previous = [], journal.acked_head
    for one in fresh:
        previous = chain(terminal.id, journal.epoch or b"", one.seq, previous, one.raw)
        links.append(previous)
    return links


async def _answer(
    work: Work, keys: Keys, entropy: Entropy, request: SyncRequest, taken: Taken
) -> bytes:
    header = request.body.header
    now_s = work.now_ms // 1000
    beacon = Beacon(terminal=request.terminal, nonce=header.beacon_nonce, ts=now_s)
    revocations, told = await _delta(work, keys, header.applied)
    current = await journals.lock_journal(work, request.terminal)
    if told > current.told:
        await journals.save_journal(work, replace(current, told=told))
    same = taken.journal.epoch == header.epoch
    raw = answer_bytes(
        SyncAnswer(
            epoch=header.epoch,
            verdict=taken.verdict,
            items=tuple(taken.items),
            acked_seq=taken.journal.acked_seq if same else 0,
            acked_head=taken.journal.acked_head if same else GENESIS,
            revocations=revocations,
            bundle_version=keys.bundle.bundle.version,
            beacon=SignedBeacon(
                kid=keys.kid,
                beacon=beacon,
                sig=keys.sign(beacon_message(keys.kid, beacon.terminal, beacon.nonce, beacon.ts)),
            ).to_bytes(),
            next_nonce=keys.new_nonce(work.now_ms, entropy),
            server_time=now_s,
        )
    )
    message = sync_answer_message(
        keys.kid, request.terminal, request.server_nonce, request.body_raw, raw
    )
    return SignedAnswer.of(keys.kid, raw, keys.sign(message)).to_bytes()


async def _delta(work: Work, keys: Keys, applied: int) -> tuple[bytes, int]:
    """What was revoked after `applied`, signed (L), and the epoch that it leads to (0: nowhere)."""
    rows = await journals.revoked_after(work, applied, MAX_REVOKED)
    if not rows:
        return b"", 0
    epoch = rows[-1][0]
    raw = revocations_bytes(
        Revocations(epoch=epoch, base_epoch=applied, aids=tuple(sorted(aid for _, aid in rows)))
    )
    sig = keys.sign(revocations_message(keys.kid, raw))
    return SignedRevocations.of(keys.kid, raw, sig).to_bytes(), epoch
