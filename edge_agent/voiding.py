"""Giving a voucher back: a signed void, durable before it is shown, and only for what may be voided."""

from dataclasses import dataclass

from edge_agent.errors import VerdictError
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal
from edge_agent.terminal_rules import VOIDED, check_return
from offline.codec import void_bytes
from offline.journal import VoidRow
from offline.model import Void, VoidReason
from offline.signing import void_message
from offline.verdicts import Verdict
from offline.verify import decode, judge, may_void
from offline.wire import SignedVoid, SignedVoucher


@dataclass(frozen=True, slots=True, kw_only=True)
class Voided:
    """A void, durable and ready to be shown to the payer."""

    text: str
    reason: VoidReason
    amount: int
    ccy: str
    repeated: bool


def void(terminal: Terminal, text: str, *, give_back: bool = False) -> Voided:
    """Void a scanned voucher: one refused here, or, with `give_back`, one accepted here and unacked."""
    signed = decode(text)
    if isinstance(signed, Verdict):
        raise VerdictError(signed)
    given = terminal.store.voided(signed.h)
    if given is not None:
        return Voided(
            text=given.text,
            reason=VoidReason(given.reason),
            amount=given.amount,
            ccy=given.ccy,
            repeated=True,
        )
    accepted = terminal.store.redeemed(signed.h)
    with terminal.work() as work:
        if accepted is not None:
            check_return(accepted, work.state, terminal.risk, give_back=give_back)
            return _sign(terminal, work, signed, VoidReason.RETURNED)
        facts = terminal.facts(signed, work.now_s)
        if not may_void(signed, facts):
            # The verdict says why; one that would be accepted is not refused, so it may be voided.
            raise VerdictError(
                judge(signed, facts).verdict, "a cancellation is not signed for this"
            )
        return _sign(terminal, work, signed, VoidReason.REFUSED)


def _sign(terminal: Terminal, work: Work, signed: SignedVoucher, reason: VoidReason) -> Voided:
    """VOID row, voided row and the closed request in the caller's one commit."""
    a, v, me = signed.allowance, signed.voucher, terminal.me
    seq = work.state.head_seq + 1
    body = void_bytes(
        Void(aid=a.aid, counter=v.counter, h=signed.h, seq=seq, reason=reason, ts=work.now_s)
    )
    signature = terminal.keys.sign_plain(void_message(me.cert, body))
    void_ = SignedVoid.of(me.kid, me.cert, me.sig_cert, body, signature)
    work.append(VoidRow(nonce=v.nonce, signed=void_))
    text = void_.to_text()
    work.run(
        "INSERT INTO voided VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            signed.h,
            a.aid,
            v.counter,
            v.amount,
            a.ccy,
            v.cum,
            v.prev,
            v.nonce,
            str(reason),
            signed.to_bytes(),
            text,
            work.state.epoch,
            seq,
            work.now_s,
        ),
    )
    if reason is VoidReason.RETURNED:
        work.exactly_one(
            "UPDATE redeemed SET returned = 1 WHERE h = ? AND returned = 0", (signed.h,)
        )
    else:
        work.run(
            "UPDATE open_request SET state = 'closed', reason = ? WHERE nonce = ? AND state = 'open'",
            (VOIDED, v.nonce),
        )
    return Voided(text=text, reason=reason, amount=v.amount, ccy=a.ccy, repeated=False)
