"""A scan at the terminal: paid once, and every refusal leaves the file as it was."""

from dataclasses import replace

import base45
import cbor2
import pytest

from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.chain import broken_at
from edge_agent.errors import AgentError, VerdictError
from edge_agent.terminal import Terminal
from edge_agent.voiding import void
from offline.codec import voucher_bytes
from offline.journal import Accept
from offline.model import NO_PREV, Voucher
from offline.payer import check_receipt, decode_receipt
from offline.signing import voucher_message
from offline.verdicts import Verdict
from offline.wire import SignedVoucher
from tests.edge_agent.world import BOOT, NOW_S, World, content, refused_unchanged, rows, sign
from tests.offline import kit


def test_a_sale_with_no_network_on_either_side(world: World):
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 15_050)
    offer = payer.offer(asked.text)
    assert (offer.payee_name, offer.amount, offer.ccy, offer.stale) == (
        "Asha Stores",
        15_050,
        "INR",
        False,
    )
    signed = payer.pay(asked.text)
    result = accept(terminal, signed.to_text())
    assert result.paid
    assert result.verdict is Verdict.ACCEPTED
    receipt = decode_receipt(result.receipt)
    assert check_receipt(receipt, payer.bundle, signed) is Verdict.ACCEPTED
    assert payer.keep(result.receipt).proof is None
    assert payer.store.voucher(signed.h).proof == result.receipt
    [row] = rows(terminal)
    assert isinstance(row, Accept)
    assert row.signed.h == signed.h
    assert receipt.receipt.seq == 1
    assert receipt.receipt.head == terminal.store.state().head[:8]
    assert broken_at(terminal.store) is None


def test_many_sales_chain_and_the_counters_rise(world: World):
    terminal, payer = world.terminal(), world.payer()
    for n in range(1, 8):
        signed = payer.pay(ask(terminal, 100 * n).text)
        assert signed.voucher.counter == n
        assert accept(terminal, signed.to_text()).paid
    assert broken_at(terminal.store) is None
    assert terminal.store.state().head_seq == 7
    assert terminal.store.totals().unsettled == 100 * 28


def test_the_same_voucher_twice_is_paid_only_while_its_sale_is_on_the_screen(world: World):
    terminal, payer = world.terminal(), world.payer()
    text = payer.pay(ask(terminal, 500).text).to_text()
    assert accept(terminal, text).paid
    before = content(terminal.store.db)
    again = accept(terminal, text)
    assert (again.verdict, again.paid) == (Verdict.ALREADY_ACCEPTED, True)
    assert content(terminal.store.db) == before
    ask(terminal, 700)
    before = content(terminal.store.db)
    earlier = accept(terminal, text)
    assert (earlier.verdict, earlier.paid) == (Verdict.ALREADY_ACCEPTED, False)
    assert earlier.earlier.amount == 500
    assert content(terminal.store.db) == before


def test_after_a_start_the_screen_is_empty_and_an_old_voucher_is_not_shown_as_paid(world: World):
    terminal, payer = world.terminal(), world.payer()
    text = payer.pay(ask(terminal, 500).text).to_text()
    assert accept(terminal, text).paid
    terminal.store.db.close()
    again = world.terminal()
    result = accept(again, text)
    assert (result.verdict, result.paid) == (Verdict.ALREADY_ACCEPTED, False)


def test_refusals_leave_the_file_as_it_was(world: World):
    terminal, payer = world.terminal(), world.payer()
    other = world.terminal("other", terminal=b"T002", payee=b"PAYEE002")
    asked = ask(terminal, 500)
    signed = payer.pay(asked.text)
    assert refused_unchanged(other, signed.to_text()) is Verdict.PAYEE_MISMATCH
    wire = bytearray(signed.to_bytes())
    wire[-1] ^= 1
    flipped = "OV1V:" + base45.b45encode(bytes(wire)).decode()
    assert refused_unchanged(terminal, flipped) is Verdict.VOUCHER_SIGNATURE
    raised = cbor2.loads(signed.voucher_raw)
    raised[2] = raised[3] = 50_000
    text = SignedVoucher.of(
        signed.kid,
        signed.allowance_raw,
        signed.sig_a,
        cbor2.dumps(raised, canonical=True),
        signed.sig_v,
    ).to_text()
    assert refused_unchanged(terminal, text) is Verdict.AMOUNT_MISMATCH
    for nonsense in ("", "OV1V:", "OV1V:!!", "OV1V:" + "A" * 2_000, "hello", asked.text, "OV1V:\n"):
        assert refused_unchanged(terminal, nonsense) is Verdict.MALFORMED
    assert accept(terminal, signed.to_text()).paid


def test_an_allowance_of_another_issuer_is_refused(world: World):
    terminal = world.terminal()
    stranger = World(world.folder / "elsewhere")
    stranger.issuer.key = type(stranger.issuer.key)(bytes([3]) * 32)
    keys = stranger.keys("mallory")
    allowance = stranger.issuer.allowance(keys.public_key())
    asked = ask(terminal, 500)
    body = voucher_bytes(
        Voucher(
            counter=1,
            amount=500,
            cum=500,
            payee=terminal.me.payee,
            terminal=terminal.me.terminal,
            nonce=asked.nonce,
            ts=NOW_S,
            prev=NO_PREV,
        )
    )
    sig = keys.sign(1, voucher_message(allowance.allowance_raw, body))
    signed = SignedVoucher.of(allowance.kid, allowance.allowance_raw, allowance.sig_a, body, sig)
    assert refused_unchanged(terminal, signed.to_text()) is Verdict.ALLOWANCE_SIGNATURE
    with pytest.raises(VerdictError) as refusal:
        void(terminal, signed.to_text())
    assert refusal.value.verdict is Verdict.ALLOWANCE_SIGNATURE


def test_a_clone_of_the_payer_is_caught_at_the_terminal_that_sees_both(world: World):
    terminal, payer = world.terminal(), world.payer()
    key = world.issuer.key.__class__(bytes([5]) * 32)
    allowance = world.issuer.allowance(bytes(key.verify_key))

    def by_clone(amount: int) -> SignedVoucher:
        asked = ask(terminal, amount)
        body = voucher_bytes(
            Voucher(
                counter=1,
                amount=amount,
                cum=amount,
                payee=terminal.me.payee,
                terminal=terminal.me.terminal,
                nonce=asked.nonce,
                ts=NOW_S,
                prev=NO_PREV,
            )
        )
        return SignedVoucher.of(
            allowance.kid,
            allowance.allowance_raw,
            allowance.sig_a,
            body,
            sign(key, voucher_message(allowance.allowance_raw, body)),
        )

    first, second = by_clone(100), by_clone(200)
    assert accept(terminal, first.to_text()).paid
    caught = accept(terminal, second.to_text())
    assert (caught.verdict, caught.paid) == (Verdict.DOUBLE_SPEND_LOCAL, False)
    assert terminal.store.evidence_count() == 1
    before = content(terminal.store.db)
    assert accept(terminal, second.to_text()).verdict is Verdict.DOUBLE_SPEND_LOCAL
    assert content(terminal.store.db) == before
    assert terminal.store.totals().unsettled == 100
    assert accept(terminal, payer.pay(ask(terminal, 300).text).to_text()).paid


def test_the_exposure_to_one_payer_is_bounded(world: World):
    terminal = world.terminal(risk=replace(kit.RISK, allowance_sum=1_000))
    payer = world.payer()
    assert accept(terminal, payer.pay(ask(terminal, 800).text).to_text()).paid
    over = payer.pay(ask(terminal, 201).text)
    assert refused_unchanged(terminal, over.to_text()) is Verdict.ALLOWANCE_EXPOSURE
    assert accept(terminal, over.to_text()).voidable


def test_a_full_disk_is_not_a_sale_and_the_same_voucher_is_taken_later(world: World):
    terminal, payer = world.terminal(), world.payer()
    signed = payer.pay(ask(terminal, 500).text)
    [(pages,)] = terminal.store.db.read("PRAGMA page_count")
    terminal.store.db.read(f"PRAGMA max_page_count={pages}")
    before = ""

    def until_full() -> None:
        nonlocal before, signed
        for _ in range(200):
            before = content(terminal.store.db)
            assert accept(terminal, signed.to_text()).paid
            signed = payer.pay(ask(terminal, 1).text)

    with pytest.raises(AgentError) as full:
        until_full()
    assert full.value.code == "edge.disk_full"
    paid = [row.h for row in terminal.store.redeemed_list(300)]
    after = content(terminal.store.db)
    # Whichever of the two met the full disk, it left no half of itself.
    assert after == before or signed.h in paid
    terminal.store.db.read("PRAGMA max_page_count=100000")
    text = payer.pay(ask(terminal, 2).text).to_text()
    assert accept(terminal, text).paid
    assert broken_at(terminal.store) is None
    assert terminal.store.db.read("PRAGMA integrity_check") == [("ok",)]


def test_no_flipped_bit_anywhere_makes_a_sale(world: World):
    terminal, payer = world.terminal(), world.payer()
    signed = payer.pay(ask(terminal, 500).text)
    wire = signed.to_bytes()
    before = content(terminal.store.db)
    for at in range(len(wire) * 8):
        spoilt = bytearray(wire)
        spoilt[at // 8] ^= 1 << (at % 8)
        assert not accept(terminal, "OV1V:" + base45.b45encode(bytes(spoilt)).decode()).paid
    assert content(terminal.store.db) == before
    assert accept(terminal, signed.to_text()).paid


def test_an_altered_journal_is_noticed(world: World):
    terminal, payer = world.terminal(), world.payer()
    for amount in (100, 200, 300):
        assert accept(terminal, payer.pay(ask(terminal, amount).text).to_text()).paid
    with terminal.store.db.write() as c:
        c.execute("UPDATE journal SET row = (SELECT row FROM journal WHERE seq = 1) WHERE seq = 2")
    assert broken_at(terminal.store) == 2


def test_a_key_that_was_not_enrolled_cannot_open_the_terminal(world: World):
    terminal = world.terminal()
    with pytest.raises(AgentError) as refusal:
        Terminal.start(terminal.store, world.keys("other"), world.clock, world.entropy, BOOT)
    assert refusal.value.code == "edge.key_mismatch"


def test_a_change_that_meets_no_row_undoes_the_whole_commit(world: World):
    terminal = world.terminal()
    asked = ask(terminal, 100)
    before = content(terminal.store.db)

    def close_twice() -> None:
        with terminal.work() as work:
            work.close_request(asked.nonce, "cancelled")
            work.close_request(asked.nonce, "cancelled")

    with pytest.raises(AgentError) as refusal:
        close_twice()
    assert refusal.value.code == "edge.store_contradiction"
    assert content(terminal.store.db) == before
