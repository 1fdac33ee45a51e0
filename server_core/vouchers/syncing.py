"""A terminal's sync: is it its one history, what is new in it, and the signed answer."""

import asyncio
from typing import Final

from msgspec import Struct, field

from devices.entropy import Entropy
from offline.codec import revocations_bytes
from offline.journal import GENESIS, Accept, Apply, NewEpoch, VoidRow
from offline.model import Beacon, Revocations
from offline.signing import beacon_message, revocations_message, sync_answer_message
from offline.sync import (
    Header,
    ItemResult,
    SignedAnswer,
    SyncAnswer,
    SyncRequest,
    answer_bytes,
    check_sync_request,
)
from offline.verdicts import Refused, Verdict
from offline.wire import SignedBeacon, SignedRevocations
from server_core.db.work import Database, Work
from server_core.errors import denied, invalid
from server_core.terminals import service as terminals
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys
from server_core.vouchers import histories, journals
from server_core.vouchers.histories import Placed, Stored
from server_core.vouchers.model import Journal, Read
from server_core.vouchers.settling import settle

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
    return histories.read_rows(request.body, terminal, keys.bundle.bundle)


async def _take(
    work: Work, journal: Journal, request: SyncRequest, terminal: Terminal, rows: list[Read]
) -> Taken:
    header = request.body.header
    stored = await _stored(work, journal, header, rows)
    active = terminal.state is TerminalState.ACTIVE
    placed = histories.place(journal, header, rows, stored, active=active)
    if placed.verdict is Verdict.JOURNAL_FORK:
        return await _forked(work, placed, header, terminal, rows, stored)
    if placed.goes_on:
        return await _go_on(work, placed, header, terminal)
    return Taken(verdict=placed.verdict, journal=placed.journal, items=[*placed.again])


async def _stored(work: Work, journal: Journal, header: Header, rows: list[Read]) -> Stored:
    """What the rules may ask; of the common request, that goes on, only the claims."""
    known = (
        await journals.known_epochs(work, journal.terminal, {header.epoch} | _named(rows))
        if journal.epoch != header.epoch
        else {header.epoch}
    )
    acked = journal.acked_seq if journal.epoch == header.epoch else 0
    stored = Stored(
        epochs=known, claims=await journals.claims(work, journal.terminal, header.epoch, acked)
    )
    for epoch, first, last in histories.asked(journal, header, rows):
        found = await journals.journal_rows(work, journal.terminal, epoch, first, last)
        stored.rows |= {(epoch, seq): row for seq, row in found.items()}
    return stored


def _named(rows: list[Read]) -> set[bytes]:
    return {one.row.old_epoch for one in rows[:1] if isinstance(one.row, NewEpoch)}


async def _go_on(work: Work, placed: Placed, header: Header, terminal: Terminal) -> Taken:
    """Judge, settle and acknowledge the new rows."""
    journal, fresh = placed.journal, placed.fresh
    await journals.claim_head(work, terminal.id, header.epoch, header.applied, header.head_seq)
    verdicts = await settle(work, terminal, fresh, journal.applied)
    made = [
        ItemResult(seq=one.seq, row_hash=link, result=verdict)
        for one, link, verdict in zip(fresh, histories.links(journal, fresh), verdicts, strict=True)
    ]
    if made:
        await journals.insert_journal_rows(
            work,
            terminal.id,
            header.epoch,
            [(one.seq, one.row_hash, str(one.result)) for one in made],
        )
    journal = histories.gone_on(journal, fresh)
    await journals.save_journal(work, journal)
    return Taken(verdict=Verdict.ACCEPTED, journal=journal, items=[*placed.again, *made])


async def _forked(
    work: Work,
    placed: Placed,
    header: Header,
    terminal: Terminal,
    rows: list[Read],
    stored: Stored,
) -> Taken:
    """Another history: quarantine, acknowledge nothing, but judge each voucher by its h.

    Its voids count as well: the payer was given them, and whoever holds one may hand it in anyway.
    """
    await terminals.quarantine(work, terminal)
    taken = [one for one in rows if isinstance(one.row, Accept | Apply | VoidRow)]
    results = await settle(work, terminal, taken, placed.journal.applied)
    judged = {one.seq: result for one, result in zip(taken, results, strict=True)}
    items = histories.forked(placed.journal, header, rows, judged, stored)
    return Taken(verdict=Verdict.JOURNAL_FORK, journal=placed.journal, items=items)


async def _answer(
    work: Work, keys: Keys, entropy: Entropy, request: SyncRequest, taken: Taken
) -> bytes:
    header = request.body.header
    now_s = work.now_ms // 1000
    beacon = Beacon(terminal=request.terminal, nonce=header.beacon_nonce, ts=now_s)
    revocations, told = await _delta(work, keys, header.applied)
    current = await journals.lock_journal(work, request.terminal)
    if told > current.told:
        await journals.save_journal(work, histories.told(current, told))
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
                sig=await keys.sign(
                    beacon_message(keys.kid, beacon.terminal, beacon.nonce, beacon.ts)
                ),
            ).to_bytes(),
            next_nonce=keys.new_nonce(work.now_ms, entropy),
            server_time=now_s,
        )
    )
    message = sync_answer_message(
        keys.kid, request.terminal, request.server_nonce, request.body_raw, raw
    )
    return SignedAnswer.of(keys.kid, raw, await keys.sign(message)).to_bytes()


async def _delta(work: Work, keys: Keys, applied: int) -> tuple[bytes, int]:
    """What was revoked after `applied`, signed (L), and the epoch that it leads to (0: nowhere)."""
    rows = await journals.revoked_after(work, applied, MAX_REVOKED)
    if not rows:
        return b"", 0
    epoch = rows[-1][0]
    raw = revocations_bytes(
        Revocations(epoch=epoch, base_epoch=applied, aids=tuple(sorted(aid for _, aid in rows)))
    )
    sig = await keys.sign(revocations_message(keys.kid, raw))
    return SignedRevocations.of(keys.kid, raw, sig).to_bytes(), epoch
