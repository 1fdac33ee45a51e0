from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.model import Policy
from offline.verdicts import RETRYABLE, Verdict, operator_sentence
from offline.verify import (
    Challenge,
    ChallengeState,
    Link,
    check_for_settlement,
    conflict,
    consistent_pair,
    decode,
    decode_bytes,
    judge,
    link_of,
    may_void,
)
from offline.wire import SignedVoucher
from tests.offline import kit

STRANGER = kit.ed25519("stranger")
FIRST = kit.signed_voucher(None, kit.voucher(amount=100))
USED = Challenge(state=ChallengeState.USED, amount=12_345, ccy="INR")
UNKNOWN = Challenge(state=ChallengeState.UNKNOWN)


def outcome(text: str, **changes: Any) -> Verdict:
    signed = decode(text)
    return signed if isinstance(signed, Verdict) else judge(signed, kit.facts(**changes)).verdict


def test_the_first_failure_is_the_verdict():
    """Everything is wrong at once; mending from the front shows each verdict in the order of §3."""
    a: dict[str, Any] = {
        "not_before": kit.NOW + 10, "cap_each": 60_000, "cap_total": 300_000, "ccy": "USD",
        "max_count": 1,
    }  # fmt: skip
    v: dict[str, Any] = {"payee": bytes(8), "amount": 70_000, "cum": 400_000, "counter": 3}
    facts: dict[str, Any] = {
        "voided": True, "redeemed": True, "bundle": kit.bundle(kit.entry(kid=b"\x09\x09")),
        "challenge": UNKNOWN, "revoked": True, "exposure_limit": 0,
        "stored": [replace(link_of(FIRST), counter=3)],
    }  # fmt: skip
    signers: dict[str, Any] = {"device": STRANGER, "issuer": STRANGER}
    seen: list[str] = []

    def look() -> None:
        signed = kit.signed_voucher(kit.allowance(**a), kit.voucher(**v), **signers)
        seen.append(judge(signed, kit.facts(**facts)).verdict.value)

    def mend(where: dict[str, Any], **changes: Any) -> None:
        look()
        where.update(changes)

    mend(facts, voided=False)
    mend(facts, redeemed=False)
    mend(facts, bundle=kit.bundle(kit.entry(not_after=kit.NOW - 1)))
    mend(facts, bundle=kit.bundle())
    mend(v, payee=kit.PAYEE)
    for state in (ChallengeState.USED, ChallengeState.EXPIRED, ChallengeState.OPEN):
        mend(facts, challenge=Challenge(state=state, amount=70_001, ccy="INR"))
    mend(facts, challenge=Challenge(state=ChallengeState.OPEN, amount=70_000, ccy="INR"))
    mend(a, ccy="INR")
    mend(a, not_before=kit.NOW - 9, spend_until=kit.NOW - 1)
    mend(a, spend_until=kit.NOW)
    wide = Policy(ccy="INR", cap_each=60_000, cap_total=300_000, life_s=5 * kit.DAY, risk=kit.RISK)
    mend(facts, bundle=kit.bundle(policies=(wide,)))
    mend(v, amount=50_000)
    facts["challenge"] = Challenge(state=ChallengeState.OPEN, amount=50_000, ccy="INR")
    mend(a, max_count=20)
    mend(v, cum=49_999)
    mend(v, cum=200_000)
    mend(facts, revoked=False)
    mend(signers, issuer=kit.ISSUER)
    mend(signers, device=kit.DEVICE)
    mend(facts, stored=[replace(link_of(FIRST), cum=199_999)])
    mend(facts, stored=[link_of(FIRST)])
    mend(facts, exposure_limit=50_000)
    look()
    assert seen == [
        "OV_VOIDED", "OV_ALREADY_ACCEPTED", "OV_ISSUER_KEY_UNKNOWN", "OV_ISSUER_KEY_EXPIRED",
        "OV_PAYEE_MISMATCH", "OV_CHALLENGE_UNKNOWN", "OV_CHALLENGE_USED", "OV_CHALLENGE_EXPIRED",
        "OV_AMOUNT_MISMATCH", "OV_CURRENCY_MISMATCH", "OV_NOT_YET_VALID", "OV_ALLOWANCE_EXPIRED",
        "OV_POLICY_EXCEEDED", "OV_OVER_VOUCHER_LIMIT", "OV_COUNTER_RANGE", "OV_OVER_ALLOWANCE_CAP",
        "OV_CUMULATIVE_INCONSISTENT", "OV_REVOKED", "OV_ALLOWANCE_SIGNATURE",
        "OV_VOUCHER_SIGNATURE", "OV_DOUBLE_SPEND_LOCAL", "OV_CUMULATIVE_INCONSISTENT",
        "OV_ALLOWANCE_EXPOSURE", "OV_ACCEPTED",
    ]  # fmt: skip


@pytest.mark.parametrize("device", [kit.DEVICE, kit.P256_DEVICE], ids=["ed25519", "p256"])
def test_no_flipped_bit_is_accepted(device: kit.Signer):
    good = kit.signed_voucher(device=device)
    data, facts = good.to_bytes(), kit.facts()
    assert judge(good, facts).verdict is Verdict.ACCEPTED
    for at in range(len(data) * 8):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        signed = decode_bytes(bytes(changed))
        if not isinstance(signed, Verdict):
            assert judge(signed, facts).verdict is not Verdict.ACCEPTED
            assert check_for_settlement(signed, facts.bundle) is not Verdict.ACCEPTED
            assert not may_void(signed, facts)


@given(at=st.integers(0, 408), letter=st.characters(codec="utf-8"))
@settings(max_examples=300, deadline=None)
def test_no_changed_letter_is_accepted(at: int, letter: str):
    text = kit.signed_voucher().to_text()
    changed = text[:at] + letter + text[at + 1 :]
    assert (outcome(changed) is Verdict.ACCEPTED) == (changed == text)


@given(text=st.text(max_size=80) | st.text("0123456789ABC $%*+-./:", max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_verdict(text: str):
    assert isinstance(decode(text), Verdict)
    assert isinstance(decode("OV1V:" + text), Verdict)


@pytest.mark.parametrize("size", [1_201, 5_000, 200_000])
def test_oversized_is_refused_before_it_is_read(size: int):
    assert decode("OV1V:" + "0" * (size - 5)) is Verdict.MALFORMED
    assert decode_bytes(bytes(size)) is Verdict.MALFORMED


def test_evidence_names_both_vouchers():
    offered = kit.signed_voucher()
    judged = judge(offered, kit.facts(stored=[link_of(FIRST)]))
    assert judged.evidence is not None
    assert judged.verdict is judged.evidence.verdict is Verdict.DOUBLE_SPEND_LOCAL
    assert (judged.evidence.stored_h, judged.evidence.offered_h) == (FIRST.h, offered.h)


def test_a_double_signature_is_named_before_a_broken_sum():
    offered = Link(counter=5, amount=10, cum=90, prev=bytes(8), h=b"o" * 32)
    broken = Link(counter=4, amount=10, cum=85, prev=bytes(8), h=b"b" * 32)
    other = Link(counter=5, amount=10, cum=95, prev=bytes(8), h=b"x" * 32)
    found = conflict(offered, [broken, other])
    assert found is not None
    assert found.verdict is Verdict.DOUBLE_SPEND_LOCAL
    assert conflict(offered, [offered]) is None
    lower = conflict(broken, [offered])
    assert lower is not None
    assert lower.verdict is Verdict.CUMULATIVE_INCONSISTENT


@given(amounts=st.lists(st.integers(1, 500), min_size=2, max_size=12), data=st.data())
@settings(max_examples=100, deadline=None)
def test_an_honest_device_never_breaks_rule_9(amounts: list[int], data: st.DataObject):
    links, cum, prev = [], 0, bytes(8)
    for counter, amount in enumerate(amounts, 1):
        cum += amount
        h = counter.to_bytes(8) * 4
        links.append(Link(counter=counter, amount=amount, cum=cum, prev=prev, h=h))
        prev = h[:8]
    low, high = sorted(data.draw(st.sets(st.integers(0, len(links) - 1), min_size=2, max_size=2)))
    assert consistent_pair(links[low], links[high])
    short = links[low].cum + links[high].amount + (high - low - 1) - 1
    assert not consistent_pair(links[low], replace(links[high], cum=short))
    offered = data.draw(st.permutations(links))
    assert conflict(offered[0], offered[1:]) is None


VOIDABLE = {
    "expired challenge": {
        "challenge": Challenge(state=ChallengeState.EXPIRED, amount=12_345, ccy="INR")
    },
    "used challenge": {"challenge": USED},
    "another amount": {"challenge": Challenge(state=ChallengeState.OPEN, amount=1, ccy="INR")},
    "run out": {"now_s": kit.NOW + 2 * kit.DAY},
    "revoked": {"revoked": True},
    "double spend": {"stored": [link_of(FIRST)]},
    "exposure": {"exposure_limit": 1},
    "issuer key past its end": {"now_s": kit.NOW + 40 * kit.DAY},
}


@pytest.mark.parametrize("changes", VOIDABLE.values(), ids=VOIDABLE)
def test_a_well_signed_voucher_for_my_nonce_may_be_voided(changes: dict[str, Any]):
    signed, facts = kit.signed_voucher(), kit.facts(**changes)
    assert judge(signed, facts).verdict is not Verdict.ACCEPTED
    assert may_void(signed, facts)


def test_what_may_never_be_voided():
    good = kit.signed_voucher()
    flipped = replace(good, sig_v=bytes([good.sig_v[0] ^ 1]) + good.sig_v[1:])
    assert flipped.h == good.h
    assert not may_void(flipped, kit.facts(challenge=USED))
    assert not may_void(good, kit.facts(challenge=UNKNOWN))
    assert not may_void(good, kit.facts(payee=bytes(8)))
    assert not may_void(good, kit.facts(terminal=bytes(4)))
    assert not may_void(good, kit.facts(redeemed=True))
    assert not may_void(good, kit.facts(voided=True))
    assert not may_void(good, kit.facts(bundle=kit.bundle(kit.entry(kid=b"\x09\x09"))))
    assert not may_void(kit.signed_voucher(issuer=STRANGER), kit.facts(challenge=USED))


def test_settlement_asks_no_clock_and_no_sale():
    bundle = kit.bundle(kit.entry(not_after=kit.NOW - 20 * kit.DAY))
    other = kit.signed_voucher(None, kit.voucher(payee=b"anywhere", nonce=b"any time"))
    assert check_for_settlement(other, bundle) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("signed", "verdict"),
    [
        (kit.signed_voucher(kid=b"\x05\x05"), Verdict.ISSUER_KEY_UNKNOWN),
        (kit.signed_voucher(kit.allowance(cap_total=200_001)), Verdict.POLICY_EXCEEDED),
        (kit.signed_voucher(None, kit.voucher(amount=50_001)), Verdict.OVER_VOUCHER_LIMIT),
        (kit.signed_voucher(None, kit.voucher(cum=1)), Verdict.CUMULATIVE_INCONSISTENT),
        (kit.signed_voucher(issuer=STRANGER), Verdict.ALLOWANCE_SIGNATURE),
        (kit.signed_voucher(kit.allowance(), device=STRANGER), Verdict.VOUCHER_SIGNATURE),
    ],
)
def test_settlement_refuses_by_content(signed: SignedVoucher, verdict: Verdict):
    assert check_for_settlement(signed, kit.bundle()) is verdict


def test_lowered_maxima_refuse_no_voucher_issued_before():
    wide = kit.bundle().policies[0]
    lowered = kit.bundle(policies=(replace(wide, cap_each=1_000, cap_total=1_000),))
    assert check_for_settlement(kit.signed_voucher(), lowered) is Verdict.POLICY_EXCEEDED
    assert check_for_settlement(kit.signed_voucher(), lowered, wide) is Verdict.ACCEPTED
    dollars = replace(wide, ccy="USD")
    assert check_for_settlement(kit.signed_voucher(), lowered, dollars) is Verdict.POLICY_EXCEEDED


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_sentence(verdict: Verdict):
    sentence = operator_sentence(verdict)
    assert sentence.endswith(".")
    assert verdict == "DUPLICATE" or verdict.value == f"OV_{verdict.name}"


def test_only_a_gap_and_a_missing_list_are_sent_again():
    assert {Verdict.JOURNAL_GAP, Verdict.REVOCATION_NOT_APPLIED} == RETRYABLE
