"""The terminal's sync: signed batches out, signed answers in, applied only where they fit its own chain."""

from dataclasses import dataclass, field
from typing import Final

from edge_agent import ussd
from edge_agent.archive import rows_from
from edge_agent.errors import AgentError, VerdictError
from edge_agent.server import Server
from edge_agent.store.terminal_rows import JournalRow
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal
from edge_agent.terminal_rules import answered, next_batch
from edge_agent.trust import refresh_bundle
from offline.journal import Accept, Apply, VoidRow, read_row
from offline.model import NONCE_SIZE
from offline.signing import sync_request_message
from offline.sync import (
    MAX_ROWS,
    Header,
    SignedAnswer,
    SyncAnswer,
    SyncBody,
    SyncRequest,
    body_bytes,
    check_sync_answer,
)
from offline.trust import check_beacon, check_revocations
from offline.verdicts import Refused, Verdict
from offline.wire import SignedBeacon, SignedRevocations, SignedVoucher

_ROUNDS_MAX: Final = 400
_GOOD: Final = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})


@dataclass(slots=True, kw_only=True)
class Synced:
    """What one sync came to, for the shop's eyes."""

    rounds: int = 0
    sent: int = 0
    settled_count: int = 0
    settled: int = 0
    refused: list[tuple[int, Verdict, int]] = field(default_factory=list)
    revoked_to: int | None = None
    forked: bool = False
    bundle_version: int | None = None
    left: int = 0


async def sync(terminal: Terminal, server: Server) -> Synced:
    """Send everything unacked and apply the answers; safe to break off anywhere and to run again.

    After a lost answer the same rows go out again under a new nonce: nothing here moved, and the
    server answers what it answered before.
    """
    terminal.close_open(due_only=True)
    done = Synced()
    nonce: bytes | None = None
    after: int | None = None
    while done.rounds < _ROUNDS_MAX:
        done.rounds += 1
        request = _request(terminal, nonce or await server.nonce(), after)
        signed = await _exchange(terminal, server, request)
        answer = signed.answer
        trouble = await _newer_bundle(terminal, server, answer, done)
        before = terminal.store.state()
        _apply(terminal, request, answer, done)
        if trouble is not None:
            raise trouble
        nonce = answer.next_nonce
        state = terminal.store.state()
        done.left = state.head_seq - state.acked_seq
        after = next_batch(
            request,
            answer,
            acked_before=before.acked_seq,
            acked=state.acked_seq,
            head=state.head_seq,
            forked=done.forked,
        )
        if after is None:
            break
    await ussd.refresh(terminal, server)
    return done


async def _newer_bundle(
    terminal: Terminal, server: Server, answer: SyncAnswer, done: Synced
) -> AgentError | VerdictError | None:
    """Take a newer bundle over; a failure is kept until the answer itself has been applied."""
    if answer.bundle_version <= terminal.bundle.version:
        return None
    try:
        await refresh_bundle(terminal, server)
    except (AgentError, VerdictError) as e:
        return e
    done.bundle_version = terminal.bundle.version
    return None


def _request(terminal: Terminal, server_nonce: bytes, after: int | None) -> SyncRequest:
    state = terminal.store.state()
    start = (state.acked_seq if after is None else min(after, state.head_seq)) + 1
    rows = rows_from(terminal.store, state.epoch, start, MAX_ROWS)
    body = body_bytes(
        SyncBody(
            header=Header(
                epoch=state.epoch,
                acked_seq=state.acked_seq,
                head_seq=state.head_seq,
                head=state.head,
                applied=state.applied,
                beacon_nonce=terminal.entropy.bytes(NONCE_SIZE),
            ),
            rows=tuple(rows),
        )
    )
    me = terminal.me.terminal
    signature = terminal.keys.sign_plain(sync_request_message(me, server_nonce, body))
    return SyncRequest.of(me, server_nonce, body, signature)


async def _exchange(terminal: Terminal, server: Server, request: SyncRequest) -> SignedAnswer:
    """Send one request; give its answer only if the issuer signed it for this very request."""
    data = await server.sync(request.to_bytes())
    try:
        signed = SignedAnswer.from_bytes(data)
    except Refused as e:
        raise VerdictError(e.verdict, "the server's answer cannot be read") from e
    verdict = check_sync_answer(signed, terminal.bundle, request)
    if verdict is Verdict.ISSUER_KEY_UNKNOWN:
        # The issuer's key may have rotated while this terminal was away; the root still vouches.
        await refresh_bundle(terminal, server)
        verdict = check_sync_answer(signed, terminal.bundle, request)
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the server's answer is not the issuer's")
    return signed


def _apply(terminal: Terminal, request: SyncRequest, answer: SyncAnswer, done: Synced) -> None:
    """Take one answer over in one commit."""
    header = request.body.header
    with terminal.work() as work:
        sent = (
            terminal.store.journal(header.epoch, request.body.rows[0].seq, len(request.body.rows))
            if request.body.rows
            else []
        )
        done.sent += len(sent)
        said = answered(
            work.state, sent, answer, lambda seq: terminal.store.chain_at(header.epoch, seq)
        )
        for row, result in said.results:
            _settle(work, row, result, done)
        work.state.acked_seq = said.acked_seq
        if said.forked:
            work.state.quarantined = done.forked = True
        _take_revocations(terminal, work, answer, done)
        _take_beacon(terminal, work, answer, header.beacon_nonce)
        if answer.verdict is Verdict.ACCEPTED:
            work.state.must_sync = False
            work.state.last_sync_s = terminal.floor.now_s()


def _settle(work: Work, row: JournalRow, result: Verdict, done: Synced) -> None:
    """Store the server's word on one row; its first final word stays."""
    if row.result is not None:
        return
    work.run(
        "UPDATE journal SET result = ? WHERE epoch = ? AND seq = ? AND result IS NULL",
        (str(result), row.epoch, row.seq),
    )
    content = read_row(row.row)
    if isinstance(content, VoidRow):
        work.run(
            "UPDATE voided SET result = ? WHERE epoch = ? AND seq = ?",
            (str(result), row.epoch, row.seq),
        )
    if isinstance(content, Accept):
        work.exactly_one(
            "UPDATE redeemed SET result = ? WHERE epoch = ? AND seq = ?",
            (str(result), row.epoch, row.seq),
        )
        _count(content.signed, row.seq, result, done)


def _count(signed: SignedVoucher, seq: int, result: Verdict, done: Synced) -> None:
    amount = signed.voucher.amount
    if result in _GOOD:
        done.settled_count += 1
        done.settled += amount
    else:
        done.refused.append((seq, result, amount))


def _take_revocations(terminal: Terminal, work: Work, answer: SyncAnswer, done: Synced) -> None:
    """Store the delta and journal APPLY in the same commit."""
    if not answer.revocations:
        return
    try:
        signed = SignedRevocations.from_bytes(answer.revocations)
    except Refused as e:
        raise VerdictError(e.verdict, "the list of stopped allowances cannot be read") from e
    verdict = check_revocations(signed, terminal.bundle, work.state.applied)
    if verdict is Verdict.STALE:
        return
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the list of stopped allowances is not the issuer's")
    work.revoke(signed.revocations)
    work.append(Apply(epoch=signed.revocations.epoch))
    done.revoked_to = signed.revocations.epoch


def _take_beacon(terminal: Terminal, work: Work, answer: SyncAnswer, nonce: bytes) -> None:
    """Let a beacon for this request's own nonce, and no other, replace the clock's floor."""
    if not answer.beacon:
        return
    try:
        signed = SignedBeacon.from_bytes(answer.beacon)
    except Refused as e:
        raise VerdictError(e.verdict, "the beacon cannot be read") from e
    verdict = check_beacon(signed, terminal.bundle, terminal.me.terminal, nonce)
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the beacon is not for this request")
    terminal.floor.replace(signed.beacon.ts)
    work.state.floor = terminal.floor.mark()
