"""What a terminal may do, over values: requests, returns, the server's answers, a restore. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.errors import AgentError, VerdictError
from edge_agent.store.terminal_rows import (
    JournalRow,
    RedeemedRow,
    RequestRow,
    SyncState,
    Totals,
)
from offline.journal import GENESIS, Close, CloseReason, NewEpoch, Row, read_row
from offline.model import Policy, Risk
from offline.sync import SyncAnswer, SyncRequest
from offline.verdicts import RETRYABLE, Verdict
from offline.verify import Challenge, ChallengeState

VOIDED: Final = "voided"
"""Why a request is closed that a void answered; the journal's VOID row says it, no CLOSE row does."""


def check_ask(
    amount: int,
    *,
    state: SyncState,
    totals: Totals,
    policy: Policy,
    not_after: int,
    now_s: int,
    clock_trusted: bool,
) -> bool:
    """Whether going online soon would be wise; raises the verdict if no request may be shown.

    All that is asked of clock, sync and floor limit is asked here, and never of a voucher.
    """
    if state.quarantined:
        raise VerdictError(Verdict.JOURNAL_FORK)
    if state.must_sync:
        raise VerdictError(Verdict.SYNC_OVERDUE, "restored: one sync comes first")
    if not clock_trusted:
        raise VerdictError(Verdict.CLOCK_UNTRUSTED)
    since = None if state.last_sync_s is None else now_s - state.last_sync_s
    risk = policy.risk
    if since is None or since > risk.hard_age_s:
        raise VerdictError(Verdict.SYNC_OVERDUE)
    if now_s > not_after:
        raise VerdictError(Verdict.CERTIFICATE_EXPIRED)
    if amount > policy.cap_each:
        raise VerdictError(Verdict.OVER_VOUCHER_LIMIT)
    exposure = totals.unsettled + totals.open_amount + amount
    if exposure > risk.hard_sum:
        raise VerdictError(Verdict.FLOOR_LIMIT)
    return exposure > risk.soft_sum or since > risk.soft_age_s


def challenge(row: RequestRow | None, *, due: bool) -> Challenge:
    """What a request here is to a voucher that names its nonce; `due`: its time is over."""
    if row is None:
        return Challenge(state=ChallengeState.UNKNOWN)
    if row.state == "open":
        state = ChallengeState.EXPIRED if due else ChallengeState.OPEN
    elif row.state == "paid" or row.reason in {CloseReason.PAID_ONLINE, VOIDED}:
        state = ChallengeState.USED
    else:
        state = ChallengeState.EXPIRED
    return Challenge(state=state, amount=row.amount, ccy=row.ccy)


def shows_paid(row: RedeemedRow | None, nonce: bytes, screen: bytes | None) -> bool:
    """Whether a code that was accepted before pays the request that is on the screen now."""
    return row is not None and row.nonce == screen and screen == nonce


def check_return(
    row: RedeemedRow, state: SyncState, risk: Risk | None, *, give_back: bool
) -> None:  # fmt: skip
    """Whether a sale may be undone by a void: meant, unknown to the server, and small enough."""
    if not give_back:
        raise AgentError(
            "edge.void_accepted",
            "this voucher was accepted here: to give it back say so (--return)",
        )
    unacked = row.epoch == state.epoch and row.seq > state.acked_seq
    if not unacked or row.result is not None:
        raise AgentError(
            "edge.void_settled", "the server has this sale already: make an ordinary refund online"
        )
    if risk is None or row.amount > risk.void_each:
        raise AgentError("edge.void_limit", "above what this shop gives back offline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an answer says of this journal: final results of own rows, and where it stands.

    `forked`: the server holds another history, and this terminal is quarantined.
    """

    results: tuple[tuple[JournalRow, Verdict], ...]
    acked_seq: int
    forked: bool


def answered(
    state: SyncState,
    sent: Iterable[JournalRow],
    answer: SyncAnswer,
    own_chain: Callable[[int], bytes | None],
) -> Answered:
    """Take a result only where row and hash are this chain's own; acked never goes down.

    It goes up only over rows whose results came with it: an answer that was lost must be given again,
    or the terminal would never hear what became of its sales. A server that has more of this epoch than
    we do shows that this file was put back. `sent` are the request's rows as they stand here; `own_chain` gives the chain hash at a row.
    """
    own = {row.seq: row for row in sent}
    results = tuple(
        (own[item.seq], item.result)
        for item in answer.items
        if item.seq in own and own[item.seq].chain == item.row_hash and item.result not in RETRYABLE
    )
    heard = {row.seq for row, _ in results}
    acked_seq, forked = state.acked_seq, False
    if answer.verdict is Verdict.JOURNAL_FORK or answer.acked_seq > state.head_seq:
        # More rows than we have: this file is an older copy, and the next row would be a second history.
        forked = True
    elif state.acked_seq < answer.acked_seq <= state.head_seq:
        if own_chain(answer.acked_seq) != answer.acked_head:
            forked = True
        while acked_seq < answer.acked_seq and acked_seq + 1 in heard and not forked:
            acked_seq += 1
    return Answered(results=results, acked_seq=acked_seq, forked=forked)


def next_batch(
    request: SyncRequest,
    answer: SyncAnswer,
    *,
    acked_before: int,
    acked: int,
    head: int,
    forked: bool,
) -> int | None:
    """Give the row after which the next batch starts, or None when there is no more to say."""
    rows = request.body.rows
    if answer.verdict is Verdict.REVOCATION_NOT_APPLIED:
        if head > request.body.header.head_seq:
            return acked
        raise _stuck(answer.verdict)
    if answer.verdict is Verdict.JOURNAL_GAP:
        first = rows[0].seq if rows else acked + 1
        # A server that was itself put back to an older state asks for rows it had acked.
        if answer.acked_seq + 1 < first:
            return answer.acked_seq
        raise _stuck(answer.verdict)
    if forked:
        # Each voucher is still judged: drain to the end though nothing will be acked.
        return rows[-1].seq if rows and rows[-1].seq < head else None
    if acked >= head:
        return None
    if acked > acked_before or head > request.body.header.head_seq:
        return acked
    if rows and rows[-1].seq <= answer.acked_seq:
        # Resent rows that we had acked before: go on from where the server is now.
        return rows[-1].seq
    raise _stuck(answer.verdict)


def _stuck(verdict: Verdict) -> AgentError:
    return AgentError("edge.sync_stuck", f"the server takes nothing further ({verdict})")


def restored(
    state: SyncState,
    unacked: Sequence[JournalRow],
    acked_chain: bytes,
    open_nonces: Iterable[bytes],
    new_epoch: bytes,
    now_s: int,
) -> tuple[SyncState, list[tuple[Row, JournalRow | None]]]:
    """The state that a restore begins with, and its rows in order, each with the row it carries over.

    The lost history may have put other rows after the last acked one, so nothing is appended to the
    old epoch and none of its unacked rows is sent under it: EPOCH names the last acked row, which the
    server knows, and the unacked rows follow it in their order. A voucher that the lost history had
    already sent is a DUPLICATE by its h.
    """
    named = replace(_last_known(state, unacked, acked_chain), new_epoch=new_epoch)
    rows: list[tuple[Row, JournalRow | None]] = [(named, None)]
    for old in unacked:
        row = read_row(old.row)
        # Restored twice without a sync between: the newer EPOCH row names the same acked row.
        if not isinstance(row, NewEpoch):
            rows.append((row, old))
    rows += [
        (Close(nonce=nonce, reason=CloseReason.RESTORED, closed_at=now_s), None)
        for nonce in open_nonces
    ]
    begun = replace(
        state,
        epoch=new_epoch,
        head_seq=0,
        head=GENESIS,
        acked_seq=0,
        must_sync=True,
        quarantined=False,
        screen_nonce=None,
    )
    return begun, rows


def _last_known(state: SyncState, unacked: Sequence[JournalRow], acked_chain: bytes) -> NewEpoch:
    """Name the last row that the server surely knows; a restore before any sync names the same again."""
    first = read_row(unacked[0].row) if unacked else None
    if isinstance(first, NewEpoch):
        return first
    return NewEpoch(
        new_epoch=state.epoch,
        old_epoch=state.epoch,
        old_seq=state.acked_seq,
        old_chain=acked_chain,
    )
