"""A terminal's sync: judge its new journal rows in one Work, settle what is first, answer signed."""

import asyncio
from dataclasses import dataclass, field, replace

from devices.entropy import Entropy
from offline.codec import revocations_bytes
from offline.journal import (
    GENESIS,
    Accept,
    Apply,
    Close,
    NewEpoch,
    Row,
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
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.terminals import service as terminals
from server_core.terminals.model import Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys
from server_core.vouchers import rules, store, voiding
from server_core.vouchers.issuing import event
from server_core.vouchers.model import HeldVoid, Item, Journal
from server_core.vouchers.rules import Facts, Judged

MAX_REVOKED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A row as it was read and checked outside the transaction."""

    seq: int
    raw: bytes
    row: Row | Verdict
    content: Verdict


@dataclass(slots=True)
class Batch:
    """What one sync comes to."""

    verdict: Verdict = Verdict.ACCEPTED
    items: list[ItemResult] = field(default_factory=list)
    journal: Journal | None = None


async def sync(db: Database, keys: Keys, entropy: Entropy, data: bytes) -> bytes:
    """The signed answer to a signed request; raises only when it is not a terminal's at all."""
    try:
        request = SyncRequest.from_bytes(data)
    except Refused as error:
        raise invalid("vouchers.sync", f"not a sync request: {error.verdict}") from error
    async with db.reader() as reader:
        terminal = await terminals.get(reader, request.terminal)
    rows = await asyncio.to_thread(_read, request, terminal, keys)

    async def do(work: Work) -> bytes:
        await trust.use_nonce(work, keys, request.server_nonce)
        batch = await _take(work, request, terminal, rows)
        return await _answer(work, keys, entropy, request, batch)

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
        if isinstance(row, Verdict):
            content = row
        elif isinstance(row, Accept):
            content = check_for_settlement(row.signed, bundle)
        elif isinstance(row, VoidRow):
            content = check_void_signature(row.signed, bundle)
            if content is Verdict.ACCEPTED and row.signed.cert.terminal != terminal.id:
                content = Verdict.OTHER_SUBJECT
        rows.append(Read(seq=one.seq, raw=one.row, row=row, content=content))
    return rows


async def _take(work: Work, request: SyncRequest, terminal: Terminal, rows: list[Read]) -> Batch:
    journal = await store.lock_journal(work, terminal.id)
    header = request.body.header
    batch = Batch(journal=journal)
    if header.applied < journal.told:
        batch.verdict = Verdict.REVOCATION_NOT_APPLIED
        return batch
    begun = await _epoch(work, journal, request, rows)
    if begun is None:
        return await _old_epoch(work, journal, request, terminal, rows)
    journal = begun
    if rows and rows[0].seq > journal.acked_seq + 1:
        batch.verdict = Verdict.JOURNAL_GAP
        return batch
    fresh = await _resent(work, journal, terminal, rows, batch)
    forked = batch.verdict is Verdict.JOURNAL_FORK or _late_apply(journal, request, fresh)
    if forked:
        batch.verdict = Verdict.JOURNAL_FORK
        await terminals.quarantine(work, terminal)
        # What a forked journal says is not acknowledged; each voucher is still judged by its h.
        await _judge(work, terminal, [one for one in rows if isinstance(one.row, Accept)], journal)
        return batch
    links, verdicts = _chain(terminal, journal, fresh), await _judge(work, terminal, fresh, journal)
    made = [
        (one.seq, link, str(verdict))
        for one, link, verdict in zip(fresh, links, verdicts, strict=True)
    ]
    if made and journal.epoch is not None:
        await store.insert_journal_rows(work, terminal.id, journal.epoch, made)
        batch.items += [
            ItemResult(seq=seq, row_hash=link, result=Verdict(result)) for seq, link, result in made
        ]
    applies = [one.row.epoch for one in fresh if isinstance(one.row, Apply)]
    batch.journal = replace(
        journal,
        acked_seq=made[-1][0] if made else journal.acked_seq,
        acked_head=made[-1][1] if made else journal.acked_head,
        applied=max([journal.applied, *applies]),
        claimed_head=max(journal.claimed_head, header.head_seq),
        claimed_applied=max(journal.claimed_applied, header.applied),
    )
    await store.save_journal(work, batch.journal)
    return batch


async def _epoch(
    work: Work, journal: Journal, request: SyncRequest, rows: list[Read]
) -> Journal | None:
    """The journal in the request's epoch; a new one begins by an EPOCH row that we can follow."""
    header = request.body.header
    if journal.epoch == header.epoch:
        return journal
    if journal.epoch is None:
        return replace(journal, epoch=header.epoch)
    first = rows[0].row if rows and rows[0].seq == 1 else None
    if not isinstance(first, NewEpoch) or first.new_epoch != header.epoch:
        return None
    if await store.knows_epoch(work, journal.terminal, header.epoch):
        return None
    if first.old_seq:
        known = await store.journal_rows(
            work, journal.terminal, first.old_epoch, first.old_seq, first.old_seq
        )
        if known.get(first.old_seq, (b"", ""))[0] != first.old_chain:
            return None
    return replace(journal, epoch=header.epoch, acked_seq=0, acked_head=GENESIS, claimed_head=0)


async def _old_epoch(
    work: Work, journal: Journal, request: SyncRequest, terminal: Terminal, rows: list[Read]
) -> Batch:
    """An epoch that a restore left behind takes only resends."""
    epoch = request.body.header.epoch
    batch = Batch(journal=replace(journal, epoch=epoch), verdict=Verdict.JOURNAL_GAP)
    if not rows or not await store.knows_epoch(work, terminal.id, epoch):
        return batch
    known = await store.journal_rows(work, terminal.id, epoch, rows[0].seq - 1, rows[-1].seq)
    previous = known.get(rows[0].seq - 1, (GENESIS, ""))[0]
    for one in rows:
        previous = chain(terminal.id, epoch, one.seq, previous, one.raw)
        if known.get(one.seq, (b"", ""))[0] != previous:
            batch.verdict, batch.items = Verdict.JOURNAL_FORK, []
            await terminals.quarantine(work, terminal)
            await _judge(work, terminal, [r for r in rows if isinstance(r.row, Accept)], journal)
            return batch
        batch.items.append(
            ItemResult(seq=one.seq, row_hash=previous, result=Verdict(known[one.seq][1]))
        )
    batch.verdict = Verdict.ACCEPTED
    return batch


async def _resent(
    work: Work, journal: Journal, terminal: Terminal, rows: list[Read], batch: Batch
) -> list[Read]:
    """Answer rows that we have as we did; the rest is new. Another row at a known seq is a fork."""
    again = [one for one in rows if one.seq <= journal.acked_seq]
    if again and journal.epoch is not None:
        known = await store.journal_rows(
            work, terminal.id, journal.epoch, again[0].seq - 1, again[-1].seq
        )
        previous = known.get(again[0].seq - 1, (GENESIS, ""))[0]
        for one in again:
            previous = chain(terminal.id, journal.epoch, one.seq, previous, one.raw)
            stored, result = known.get(one.seq, (b"", ""))
            if stored != previous:
                batch.verdict, batch.items = Verdict.JOURNAL_FORK, []
                return []
            batch.items.append(ItemResult(seq=one.seq, row_hash=previous, result=Verdict(result)))
    return [one for one in rows if one.seq > journal.acked_seq]


def _late_apply(journal: Journal, request: SyncRequest, fresh: list[Read]) -> bool:
    """Whether an APPLY stands in rows that an earlier header claimed to cover, and was not claimed."""
    header = request.body.header
    for one in fresh:
        if not isinstance(one.row, Apply):
            continue
        if one.row.epoch > header.applied:
            return True
        if one.seq <= journal.claimed_head and one.row.epoch > journal.claimed_applied:
            return True
    return False


def _chain(terminal: Terminal, journal: Journal, fresh: list[Read]) -> list[bytes]:
    links, previous = [], journal.acked_head
    for one in fresh:
        previous = chain(terminal.id, journal.epoch or b"", one.seq, previous, one.raw)
        links.append(previous)
    return links


async def _judge(
    work: Work, terminal: Terminal, rows: list[Read], journal: Journal
) -> list[Verdict]:
    """One verdict a row, in order; settles, freezes, closes and voids in this Work."""
    items, applied = [], journal.applied
    for one in rows:
        if isinstance(one.row, Apply):
            applied = max(applied, one.row.epoch)
        if isinstance(one.row, Accept):
            items.append(Item(signed=one.row.signed, content=one.content, applied=applied))
    voids = [
        voiding.held(one.row.signed)
        for one in rows
        if isinstance(one.row, VoidRow) and one.content is Verdict.ACCEPTED
    ]
    facts = await _facts(work, terminal, items, voids)
    judged = rules.judge(items, terminal, facts, work.now_ms)
    await _store(work, judged, facts)
    await _post(work, terminal, judged, facts)
    closes = [
        (terminal.id, one.row.nonce, str(one.row.reason))
        for one in rows
        if isinstance(one.row, Close)
    ]
    if closes:
        await store.insert_closed(work, closes)
    if voids:
        await store.insert_voids(work, voids)
    await voiding.apply(work, [one.h for one in voids] + [one.h for one in judged.settled])
    verdicts = iter(judged.verdicts)
    return [next(verdicts) if isinstance(one.row, Accept) else one.content for one in rows]


async def _facts(work: Work, terminal: Terminal, items: list[Item], voids: list[HeldVoid]) -> Facts:
    """One statement a table; the allowances' locks come first."""
    aids = {one.signed.allowance.aid for one in items}
    allowances = await store.lock(work, aids | {one.aid for one in voids})
    if not items:
        return Facts(allowances=allowances)
    nonces = {one.signed.voucher.nonce for one in items}
    return Facts(
        allowances=allowances,
        seen=await store.seen(work, aids),
        settled=await store.settled(work, aids),
        used=await store.used_challenges(work, terminal.id, nonces),
        revoked=await store.revocations(work, aids),
    )


async def _store(work: Work, judged: Judged, facts: Facts) -> None:
    if judged.seen:
        await store.insert_seen(work, judged.seen)
    if judged.settled:
        await store.insert_settled(work, judged.settled)
    if judged.evidence:
        await store.insert_evidence(work, judged.evidence)
    changed = {one.aid for one in judged.settled} | judged.frozen
    if changed:
        await store.save(work, [facts.allowances[aid] for aid in sorted(changed)])
    if judged.frozen:
        await store.revoke(work, judged.frozen)


async def _post(work: Work, terminal: Terminal, judged: Judged, facts: Facts) -> None:
    """Move each settled voucher from its allowance to the merchant; the hold covers it by CHECK."""
    transfers = [
        Transfer(
            id=derived("voucher", one.aid.hex(), one.counter),
            debit=account_id(Code.OFFLINE, one.aid.hex(), facts.allowances[one.aid].currency),
            credit=account_id(Code.PAYABLE, terminal.party, facts.allowances[one.aid].currency),
            amount=one.amount,
            ledger=facts.allowances[one.aid].currency,
            code="voucher",
            reference=f"{one.aid.hex()}:{one.counter}",
        )
        for one in judged.settled
    ]
    for outcome in await ledger.post(work, transfers):
        if not outcome.ok:
            raise RuntimeError(f"a settled voucher cannot be posted: {outcome.result}")
    for one in judged.settled:
        work.emit(
            event(
                "voucher.settled",
                facts.allowances[one.aid],
                terminal.actor(),
                counter=one.counter,
                amount=str(one.amount),
                merchant=str(terminal.party),
                terminal=terminal.id.hex(),
            )
        )
    for aid in judged.frozen:
        work.emit(event("allowance.frozen", facts.allowances[aid], terminal.actor()))


async def _answer(
    work: Work, keys: Keys, entropy: Entropy, request: SyncRequest, batch: Batch
) -> bytes:
    header, journal = request.body.header, batch.journal
    if journal is None:
        raise AssertionError("a taken batch has a journal")
    now_s = work.now_ms // 1000
    beacon = Beacon(terminal=request.terminal, nonce=header.beacon_nonce, ts=now_s)
    revocations, told = await _delta(work, keys, header.applied)
    if told > journal.told:
        current = await store.lock_journal(work, request.terminal)
        await store.save_journal(work, replace(current, told=told))
    same = journal.epoch == header.epoch
    raw = answer_bytes(
        SyncAnswer(
            epoch=header.epoch,
            verdict=batch.verdict,
            items=tuple(batch.items),
            acked_seq=journal.acked_seq if same else 0,
            acked_head=journal.acked_head if same else GENESIS,
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
    """What was revoked after `applied`, signed (L), and the epoch that it leads to."""
    rows = await store.revoked_after(work, applied, MAX_REVOKED)
    if not rows:
        return b"", applied
    epoch = rows[-1][0]
    raw = revocations_bytes(
        Revocations(epoch=epoch, base_epoch=applied, aids=tuple(sorted(aid for _, aid in rows)))
    )
    sig = keys.sign(revocations_message(keys.kid, raw))
    return SignedRevocations.of(keys.kid, raw, sig).to_bytes(), epoch
