"""What may be given back, and what never."""

from dataclasses import replace

import pytest

from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.errors import AgentError, VerdictError
from edge_agent.voiding import void
from offline.journal import VoidRow
from offline.model import VoidReason
from offline.payer import check_void, decode_void
from offline.verdicts import Verdict
from offline.wire import SignedVoucher
from tests.edge_agent.world import World, content, rows
from tests.offline import kit


def test_a_refused_voucher_may_be_voided_once_and_is_never_paid_after(world: World):
    terminal, payer = world.terminal(), world.payer()
    signed = payer.pay(ask(terminal, 500).text)
    cancel(terminal)
    assert accept(terminal, signed.to_text()).voidable
    given = void(terminal, signed.to_text())
    assert given.reason is VoidReason.REFUSED
    assert check_void(decode_void(given.text), payer.bundle, signed) is Verdict.ACCEPTED
    payer.keep(given.text)
    before = content(terminal.store.db)
    again = void(terminal, signed.to_text())
    assert (again.text, again.repeated) == (given.text, True)
    shown = accept(terminal, signed.to_text())
    assert (shown.verdict, shown.paid, shown.void) == (Verdict.VOIDED, False, given.text)
    assert content(terminal.store.db) == before
    last = rows(terminal)[-1]
    assert isinstance(last, VoidRow)
    assert last.signed.void.seq == terminal.store.state().head_seq


def test_a_void_of_an_open_sale_closes_its_request(world: World):
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 500)
    signed = payer.pay(asked.text)
    void(terminal, signed.to_text())
    assert terminal.store.request(asked.nonce).state == "closed"
    assert accept(terminal, signed.to_text()).verdict is Verdict.VOIDED


def test_nothing_foreign_or_damaged_can_be_voided(world: World):
    terminal, payer = world.terminal(), world.payer()
    other = world.terminal("other", terminal=b"T002", payee=b"PAYEE002")
    signed = payer.pay(ask(terminal, 500).text)
    flipped = SignedVoucher.of(
        signed.kid,
        signed.allowance_raw,
        signed.sig_a,
        signed.voucher_raw,
        bytes([signed.sig_v[0] ^ 1]) + signed.sig_v[1:],
    )
    for where, text, verdict in (
        (other, signed.to_text(), Verdict.PAYEE_MISMATCH),
        (terminal, flipped.to_text(), Verdict.VOUCHER_SIGNATURE),
        (terminal, "OV1V:nonsense", Verdict.MALFORMED),
    ):
        before = content(where.store.db)
        with pytest.raises(VerdictError) as refusal:
            void(where, text)
        assert refusal.value.verdict is verdict
        assert content(where.store.db) == before


def test_an_accepted_sale_is_given_back_only_by_will_within_limits_and_while_unacked(world: World):
    terminal, payer = world.terminal(risk=replace(kit.RISK, void_each=1_000)), world.payer()
    small = payer.pay(ask(terminal, 900).text)
    accept(terminal, small.to_text())
    with pytest.raises(AgentError, match="--return"):
        void(terminal, small.to_text())
    assert void(terminal, small.to_text(), give_back=True).reason is VoidReason.RETURNED
    assert terminal.store.totals().unsettled == 0
    assert accept(terminal, small.to_text()).verdict is Verdict.VOIDED
    large = payer.pay(ask(terminal, 1_100).text)
    accept(terminal, large.to_text())
    with pytest.raises(AgentError, match="gives back"):
        void(terminal, large.to_text(), give_back=True)
    late = payer.pay(ask(terminal, 300).text)
    accept(terminal, late.to_text())
    with terminal.work() as work:
        work.state.acked_seq = work.state.head_seq
    with pytest.raises(AgentError, match="refund"):
        void(terminal, late.to_text(), give_back=True)
