"""A scan at the terminal: judge it, make it durable in one commit, and only then say "paid"."""

from dataclasses import dataclass
from typing import Final

from edge_agent.store.terminal_rows import RedeemedRow
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal
from edge_agent.terminal_rules import shows_paid
from offline.codec import receipt_bytes
from offline.journal import Accept
from offline.model import Receipt
from offline.signing import receipt_message
from offline.verdicts import Verdict
from offline.verify import Judgement, TerminalFacts, decode, judge, may_void
from offline.wire import SignedReceipt, SignedVoucher

# After these the allowance's own signature has been checked and was good.
_ALLOWANCE_GOOD: Final = frozenset(
    {
        Verdict.ACCEPTED,
        Verdict.VOUCHER_SIGNATURE,
        Verdict.DOUBLE_SPEND_LOCAL,
        Verdict.ALLOWANCE_EXPOSURE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scan came to. `paid` alone decides whether the screen may say paid.

    `earlier` is a sale that this code paid before; `receipt` and `void` are texts to show the payer.
    """

    verdict: Verdict
    paid: bool = False
    amount: int | None = None
    ccy: str | None = None
    receipt: str | None = None
    void: str | None = None
    voidable: bool = False
    earlier: RedeemedRow | None = None


def accept(terminal: Terminal, text: str) -> Scanned:
    """Judge what was scanned; paid only after redeemed row, request and journal row are durable."""
    signed = decode(text)
    if isinstance(signed, Verdict):
        return Scanned(verdict=signed)
    with terminal.work() as work:
        facts = terminal.facts(signed, work.now_s)
        judgement = judge(signed, facts)
        if judgement.verdict in _ALLOWANCE_GOOD:
            terminal.remember(signed)
        receipt = _redeem(terminal, work, signed) if judgement.verdict is Verdict.ACCEPTED else None
        screen = work.state.screen_nonce
    if receipt is not None:
        return Scanned(
            verdict=Verdict.ACCEPTED,
            paid=True,
            amount=signed.voucher.amount,
            ccy=signed.allowance.ccy,
            receipt=receipt,
        )
    return _refused(terminal, signed, facts, judgement, screen)


def _refused(
    terminal: Terminal,
    signed: SignedVoucher,
    facts: TerminalFacts,
    judgement: Judgement,
    screen: bytes | None,
) -> Scanned:
    verdict = judgement.verdict
    if judgement.evidence is not None:
        terminal.store.keep_evidence(signed, judgement.evidence, facts.now_s)
    amount, ccy = signed.voucher.amount, signed.allowance.ccy
    if verdict is Verdict.ALREADY_ACCEPTED:
        row = terminal.store.redeemed(signed.h)
        return Scanned(
            verdict=verdict,
            paid=shows_paid(row, signed.voucher.nonce, screen),
            amount=amount,
            ccy=ccy,
            receipt=row.receipt if row is not None else None,
            earlier=row,
        )
    if verdict is Verdict.VOIDED:
        given = terminal.store.voided(signed.h)
        return Scanned(verdict=verdict, amount=amount, ccy=ccy, void=given.text if given else None)
    return Scanned(verdict=verdict, amount=amount, ccy=ccy, voidable=may_void(signed, facts))


def _redeem(terminal: Terminal, work: Work, signed: SignedVoucher) -> str:
    """Write the sale and give its receipt; the commit is the caller's."""
    a, v = signed.allowance, signed.voucher
    seq, head = work.append(Accept(signed=signed, accepted_at=work.now_s))
    body = receipt_bytes(
        Receipt(aid=a.aid, counter=v.counter, h=signed.h, seq=seq, head=head[:8], ts=work.now_s)
    )
    signature = terminal.keys.sign_plain(receipt_message(terminal.me.cert, body))
    receipt = SignedReceipt.of(
        terminal.me.kid, terminal.me.cert, terminal.me.sig_cert, body, signature
    ).to_text()
    work.run(
        """INSERT INTO redeemed (aid, counter, h, nonce, amount, ccy, cum, prev, wire, receipt,
        epoch, seq, accepted_at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            a.aid,
            v.counter,
            signed.h,
            v.nonce,
            v.amount,
            a.ccy,
            v.cum,
            v.prev,
            signed.to_bytes(),
            receipt,
            work.state.epoch,
            seq,
            work.now_s,
        ),
    )
    work.exactly_one(
        "UPDATE open_request SET state = 'paid' WHERE nonce = ? AND state = 'open'", (v.nonce,)
    )
    return receipt
