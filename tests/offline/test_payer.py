from dataclasses import replace
from typing import Any

import pytest

from offline import payer, wire
from offline.armour import to_text
from offline.codec import bundle_bytes
from offline.model import VoidReason
from offline.signing import sha256
from offline.trust import (
    check_beacon,
    check_bundle,
    check_certificate,
    check_revocations,
    decode_bundle,
)
from offline.verdicts import Verdict
from offline.wire import SignedRequest
from tests.offline import kit

STRANGER = kit.ed25519("stranger")
VOUCHER = kit.signed_voucher()


@pytest.mark.parametrize("term", [kit.TERM, kit.P256_TERM], ids=["ed25519", "p256"])
def test_a_good_request(term: kit.Signer):
    signed = payer.decode_request(kit.signed_request(term=term).to_text())
    assert isinstance(signed, SignedRequest)
    judged = payer.check_request(signed, kit.payer_facts())
    assert (judged.verdict, judged.stale) == (Verdict.ACCEPTED, False)
    assert signed.req.amount == 12_345
    assert payer.request_key(signed) == (kit.TERMINAL, sha256(signed.body_raw))


def other_body() -> SignedRequest:
    return replace(
        kit.signed_request(), body_raw=kit.signed_request(kit.request(amount=1)).body_raw
    )


@pytest.mark.parametrize(
    ("signed", "changes", "verdict"),
    [
        (kit.signed_request(), {"bundle": kit.bundle(kit.entry(kid=b"\x09\x09"))}, "ISSUER_KEY_UNKNOWN"),
        (kit.signed_request(), {"bundle": kit.bundle(kit.entry(usages="AB"))}, "ISSUER_KEY_UNKNOWN"),
        (kit.signed_request(), {"now_s": kit.NOW + 31 * kit.DAY}, "ISSUER_KEY_EXPIRED"),
        (kit.signed_request(issuer=STRANGER), {}, "CERTIFICATE_SIGNATURE"),
        (kit.signed_request(), {"now_s": kit.NOW + kit.DAY + 1}, "CERTIFICATE_EXPIRED"),
        (kit.signed_request(None, kit.certificate(), term=STRANGER), {}, "REQUEST_SIGNATURE"),
        (other_body(), {}, "REQUEST_SIGNATURE"),
        (kit.signed_request(kit.request(ccy="USD")), {}, "CURRENCY_MISMATCH"),
        (kit.signed_request(), {"allowance": kit.allowance(not_before=kit.NOW + 1)}, "NOT_YET_VALID"),
        (kit.signed_request(), {"allowance": kit.allowance(spend_until=kit.NOW - 1)}, "ALLOWANCE_EXPIRED"),
        (kit.signed_request(kit.request(amount=50_001)), {}, "OVER_VOUCHER_LIMIT"),
        (kit.signed_request(), {"counter": 20}, "COUNTER_RANGE"),
        (kit.signed_request(), {"counter": 19, "cum": 187_655}, "ACCEPTED"),
        (kit.signed_request(), {"cum": 187_656}, "OVER_ALLOWANCE_CAP"),
        (kit.signed_request(kit.request(amount=2**50)), {"allowance": None}, "ACCEPTED"),
    ],
)  # fmt: skip
def test_request_verdicts(signed: SignedRequest, changes: dict[str, Any], verdict: str):
    assert payer.check_request(signed, kit.payer_facts(**changes)).verdict is Verdict[verdict]


@pytest.mark.parametrize(("ts", "stale"), [(-181, True), (-180, False), (180, False), (181, True)])
def test_an_old_request_is_a_warning_only(ts: int, stale: bool):
    signed = kit.signed_request(kit.request(ts=kit.NOW + ts))
    judged = payer.check_request(signed, kit.payer_facts())
    assert (judged.verdict, judged.stale) == (Verdict.ACCEPTED, stale)


FORMS = {
    "request": (kit.signed_request(), payer.decode_request),
    "receipt": (kit.signed_receipt(), payer.decode_receipt),
    "void": (kit.signed_void(), payer.decode_void),
}


def accepted(signed: Any) -> bool:
    bundle = kit.bundle()
    match signed:
        case payer.SignedRequest():
            verdict = payer.check_request(signed, kit.payer_facts()).verdict
        case payer.SignedReceipt():
            verdict = payer.check_receipt(signed, bundle, VOUCHER)
        case _:
            verdict = payer.check_void(signed, bundle, VOUCHER)
    return verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_bit_is_accepted(form: str):
    good, decode = FORMS[form]
    assert accepted(decode(good.to_text()))
    data = good.to_bytes()
    for at in range(len(data) * 8):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        signed = decode(to_text(good.PREFIX, bytes(changed)))
        assert isinstance(signed, Verdict) or not accepted(signed)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["", "OV1V:", "OV1R:", "OV1P:", "OV1X:", "OV1X:0", "nothing"])
def test_other_texts_are_malformed(form: str, text: str):
    assert FORMS[form][1](text) is Verdict.MALFORMED


def test_a_receipt_must_be_about_this_voucher():
    bundle, other = kit.bundle(), kit.signed_voucher(None, kit.voucher(amount=1))
    good = kit.signed_receipt()
    assert payer.check_receipt(good, bundle, VOUCHER) is Verdict.ACCEPTED
    assert good.receipt.seq == 9
    assert payer.check_receipt(good, bundle, other) is Verdict.OTHER_SUBJECT
    elsewhere = kit.signed_receipt(None, kit.certificate(payee=bytes(8)))
    assert payer.check_receipt(elsewhere, bundle, VOUCHER) is Verdict.OTHER_SUBJECT
    forged = kit.signed_receipt(None, kit.certificate(), term=STRANGER)
    assert payer.check_receipt(forged, bundle, VOUCHER) is Verdict.SIGNATURE
    unknown = kit.signed_receipt(issuer=STRANGER)
    assert payer.check_receipt(unknown, bundle, VOUCHER) is Verdict.CERTIFICATE_SIGNATURE


def test_a_void_must_be_about_this_voucher_and_by_its_terminal():
    bundle, good = kit.bundle(), kit.signed_void()
    assert good.void.reason is VoidReason.REFUSED
    assert payer.check_void(good, bundle, VOUCHER) is Verdict.ACCEPTED
    assert payer.check_void_signature(good, bundle) is Verdict.ACCEPTED
    other = kit.signed_void(None, kit.certificate(terminal=bytes(4)))
    assert payer.check_void(other, bundle, VOUCHER) is Verdict.OTHER_SUBJECT
    forged = kit.signed_void(None, kit.certificate(), term=STRANGER)
    assert payer.check_void(forged, bundle, VOUCHER) is Verdict.SIGNATURE
    assert payer.check_void_signature(forged, bundle) is Verdict.SIGNATURE
    unknown = kit.signed_void(issuer=STRANGER)
    assert payer.check_void_signature(unknown, bundle) is Verdict.CERTIFICATE_SIGNATURE


def test_a_receipt_is_no_void():
    """The kind is inside the signed bytes: the same body under the other name is not signed."""
    void = kit.signed_void()
    receipt = kit.signed_receipt()
    mixed = replace(void, sig=receipt.sig)
    assert payer.check_void_signature(mixed, kit.bundle()) is Verdict.SIGNATURE


def test_bundle():
    signed = kit.signed_bundle()
    read = decode_bundle(signed.to_bytes())
    assert read == signed
    assert decode_bundle(b"") is Verdict.MALFORMED
    assert decode_bundle(bytes(9_000)) is Verdict.MALFORMED
    root = kit.ROOT.public
    assert check_bundle(signed, kit.ROOT_KID, root, 7) is Verdict.ACCEPTED
    assert check_bundle(signed, kit.ROOT_KID, root, 8) is Verdict.STALE
    assert check_bundle(signed, b"\x00\x00", root, 0) is Verdict.ISSUER_KEY_UNKNOWN
    assert check_bundle(signed, kit.ROOT_KID, STRANGER.public, 0) is Verdict.SIGNATURE
    wrong_root = kit.bundle(root_kid=b"\x07\x07")
    with pytest.raises(wire.Refused):
        wire.SignedBundle.of(kit.ROOT_KID, bundle_bytes(wrong_root), bytes(64))


def test_a_beacon_counts_for_one_terminal_and_one_nonce():
    bundle, signed = kit.bundle(), kit.signed_beacon()
    assert check_beacon(signed, bundle, kit.TERMINAL, kit.NONCE) is Verdict.ACCEPTED
    assert check_beacon(signed, bundle, bytes(4), kit.NONCE) is Verdict.OTHER_SUBJECT
    assert check_beacon(signed, bundle, kit.TERMINAL, bytes(8)) is Verdict.OTHER_SUBJECT
    later = replace(signed, beacon=replace(signed.beacon, ts=kit.NOW + 1))
    assert check_beacon(later, bundle, kit.TERMINAL, kit.NONCE) is Verdict.SIGNATURE
    no_usage = kit.bundle(kit.entry(usages="AC"))
    assert check_beacon(signed, no_usage, kit.TERMINAL, kit.NONCE) is Verdict.ISSUER_KEY_UNKNOWN


@pytest.mark.parametrize(
    ("at", "verdict"),
    [(0, "STALE"), (1, "ACCEPTED"), (2, "ACCEPTED"), (3, "STALE"), (4, "STALE")],
)
def test_a_delta_fits_from_its_base_up_to_its_epoch(at: int, verdict: str):
    signed = kit.signed_revocations(epoch=3, base_epoch=1)
    assert check_revocations(signed, kit.bundle(), at) is Verdict[verdict]


def test_a_delta_by_a_stranger():
    signed = kit.signed_revocations(issuer=STRANGER)
    assert check_revocations(signed, kit.bundle(), 1) is Verdict.SIGNATURE


def test_certificate_dates_of_the_key_only_where_asked():
    signed, late = kit.signed_request(), kit.NOW + 31 * kit.DAY
    parts = (signed.kid, signed.cert_raw, signed.sig_cert, kit.bundle())
    assert check_certificate(*parts) is Verdict.ACCEPTED
    assert check_certificate(*parts, late) is Verdict.ISSUER_KEY_EXPIRED
