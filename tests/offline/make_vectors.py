"""Writes the committed test vectors of OV1: `python -m tests.offline.make_vectors`; always the same bytes."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cbor2

from offline import codec, journal, signing
from offline.armour import to_text
from offline.model import Algorithm
from offline.verify import link_of
from tests.offline import hostile, kit
from tests.offline.hostile import plain

FOLDER = Path(__file__).parents[2] / "offline" / "vectors"


def keys() -> list[dict[str, Any]]:
    return [
        {"name": name, "alg": int(s.alg), "seed": s.seed.hex(), "public": s.public.hex()}
        for name, s in kit.SIGNERS.items()
    ]


def enrolment_keys() -> list[dict[str, Any]]:
    mixed = hostile.crypto_core_ed25519_add(kit.DEVICE.public, hostile.TORSION)
    p256 = kit.P256_DEVICE.public
    table = [
        ("Ed25519", kit.DEVICE.public, True),
        ("P-256", p256, True),
        ("identity", hostile.IDENTITY, False),
        ("identity, not canonical", hostile.NON_CANONICAL_IDENTITY, False),
        ("order 8", hostile.TORSION, False),
        ("mixed order", mixed, False),
        ("zero", bytes(32), False),
        ("P-256 off the curve", b"\x02" + bytes(31) + b"\x01", False),
        ("P-256 with form 04", b"\x04" + p256[1:], False),
        ("33 zeros", bytes(33), False),
        ("31 bytes", kit.DEVICE.public[:31], False),
        ("empty", b"", False),
    ]
    return [{"why": why, "key": key.hex(), "ok": ok} for why, key, ok in table]


def bodies_valid() -> list[dict[str, Any]]:
    p256 = kit.allowance(kit.P256_DEVICE)
    out = [
        {"body": kind, "fields": plain(asdict(read(data))), "hex": data.hex()}
        for kind, (data, read) in hostile.BODIES.items()
    ]
    for kind, value, data in [
        ("allowance", p256, codec.allowance_bytes(p256)),
        ("certificate", kit.certificate(kit.P256_TERM), codec.certificate_bytes(kit.certificate(kit.P256_TERM))),
        ("voucher", (v := kit.voucher(counter=65_535, amount=2**31, cum=2**53 - 1)), codec.voucher_bytes(v)),
    ]:  # fmt: skip
        out.append({"body": kind, "fields": plain(asdict(value)), "hex": data.hex()})
    return out


def bodies_invalid() -> list[dict[str, str]]:
    every = [*hostile.for_every_body(), *hostile.number_forms(), *hostile.field_rules()]
    return [case for case in every if case["verdict"] != "OV_ACCEPTED"]


def wires() -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    p = kit.P256_DEVICE
    p_bundle = kit.bundle(kit.entry(kit.P256_ISSUER))
    for name, signed, trust in [
        ("Ed25519 device", kit.signed_voucher(), kit.bundle()),
        ("P-256 device", kit.signed_voucher(device=p), kit.bundle()),
        ("P-256 device and issuer", kit.signed_voucher(device=p, issuer=kit.P256_ISSUER), p_bundle),
    ]:
        out.append({
            "form": "voucher", "why": name, "text": signed.to_text(), "hex": signed.to_bytes().hex(),
            "message_a": signing.allowance_message(signed.kid, signed.allowance_raw).hex(),
            "message_v": signing.voucher_message(signed.allowance_raw, signed.voucher_raw).hex(),
            "h": signed.h.hex(), "bundle": codec.bundle_bytes(trust).hex(),
        })  # fmt: skip
    for form, make, message in [
        ("request", kit.signed_request, signing.request_message),
        ("receipt", kit.signed_receipt, signing.receipt_message),
        ("void", kit.signed_void, signing.void_message),
    ]:
        for name, term in (("Ed25519 terminal", kit.TERM), ("P-256 terminal", kit.P256_TERM)):
            signed = make(term=term)
            out.append({
                "form": form, "why": name, "text": signed.to_text(), "hex": signed.to_bytes().hex(),
                "message_cert": signing.certificate_message(signed.kid, signed.cert_raw).hex(),
                "message": message(signed.cert_raw, signed.body_raw).hex(),
            })  # fmt: skip
    s, answer = kit.sync_request(), kit.signed_answer()
    r, b, trust = kit.signed_revocations(), kit.signed_beacon(), kit.signed_bundle()
    for form, signed, message in [
        ("bundle", trust, signing.bundle_message(trust.root_kid, trust.bundle_raw)),
        ("revocations", r, signing.revocations_message(r.kid, r.list_raw)),
        ("beacon", b, signing.beacon_message(b.kid, b.beacon.terminal, b.beacon.nonce, b.beacon.ts)),
        ("sync_request", s, signing.sync_request_message(s.terminal, s.server_nonce, s.body_raw)),
        ("sync_answer", answer, signing.sync_answer_message(
            kit.KID, s.terminal, s.server_nonce, s.body_raw, answer.answer_raw)),
    ]:  # fmt: skip
        out.append({
            "form": form, "why": "Ed25519", "hex": signed.to_bytes().hex(), "message": message.hex(),
        })  # fmt: skip
    return out


def messages() -> list[dict[str, str]]:
    """The two kinds that travel as JSON fields, and the names that are hashes."""
    signed = kit.signed_voucher()
    surrender = signing.surrender_message(signed.allowance_raw, 1, 12_345, signed.h)
    enrol = signing.enrolment_message("terminal", kit.SERVER_NONCE, kit.TERM.public, b"PAIR-CODE")
    cache_key = signing.allowance_cache_key(signed.kid, signed.allowance_raw, signed.sig_a)
    return [
        {"kind": "Z", "message": surrender.hex(), "sig": kit.DEVICE.sign(surrender).hex()},
        {"kind": "E", "message": enrol.hex(), "sig": kit.TERM.sign(enrol).hex()},
        {"kind": "allowance_cache_key", "hash": cache_key.hex()},
        {"kind": "h", "hash": signed.h.hex()},
    ]


def texts() -> list[dict[str, str]]:
    """What a camera may read, for step 1."""
    good = kit.signed_voucher()
    text = good.to_text()
    kid, a, sig_a, v, sig_v = good.kid, good.allowance_raw, good.sig_a, good.voucher_raw, good.sig_v

    def wire(*items: Any) -> str:
        return to_text("OV1V:", cbor2.dumps(list(items), canonical=True))

    bad, odd, later = hostile.MALFORMED, hostile.NON_CANONICAL, hostile.UNSUPPORTED
    long_v = hostile.with_parts("voucher", amount=b"\x18\x01")
    table = [
        ("good", text, "OV_ACCEPTED"),
        ("empty", "", bad),
        ("prefix only", "OV1V:", bad),
        ("no prefix", text[5:], bad),
        ("prefix of a request", "OV1R:" + text[5:], bad),
        ("prefix in lower case", "ov1v:" + text[5:], bad),
        ("a line end behind", text + "\n", bad),
        ("a space before", " " + text, bad),
        ("a letter outside base45", text[:20] + "a" + text[21:], bad),
        ("three letters above 65535", "OV1V::::", bad),
        ("one letter left over", text[:6], bad),
        ("1,201 characters", "OV1V:" + "0" * 1_196, bad),
        ("not Latin", "OV1V:\u0663\u0664\u0665", bad),
        ("outer version 2", wire(2, kid, a, sig_a, v, sig_v), later),
        ("kid of 1 byte", wire(1, b"\x01", a, sig_a, v, sig_v), bad),
        ("kid as an integer", wire(1, 1, a, sig_a, v, sig_v), bad),
        ("sigA of 63 bytes", wire(1, kid, a, sig_a[:63], v, sig_v), bad),
        ("sigV of 65 bytes", wire(1, kid, a, sig_a, v, sig_v + b"\x00"), bad),
        ("sigV null", wire(1, kid, a, sig_a, v, None), bad),
        ("V as an array", wire(1, kid, a, sig_a, cbor2.loads(v), sig_v), bad),
        ("seven items", wire(1, kid, a, sig_a, v, sig_v, b""), bad),
        ("five items", wire(1, kid, a, sig_a, v), bad),
        ("V written long", wire(1, kid, a, sig_a, long_v, sig_v), odd),
        ("A with a byte after its end", wire(1, kid, a + b"\x00", sig_a, v, sig_v), odd),
        ("A of version 2", wire(1, kid, hostile.with_parts("allowance", version=b"\x02"), sig_a, v, sig_v), later),
        ("A with algorithm 2", wire(1, kid, hostile.with_parts("allowance", flags=b"\x02"), sig_a, v, sig_v), later),
    ]  # fmt: skip
    return [{"why": why, "text": given, "verdict": verdict} for why, given, verdict in table]


def chain() -> list[dict[str, Any]]:
    out, previous = [], journal.GENESIS
    for seq, row in enumerate(kit.rows(), 1):
        data = journal.row_bytes(row)
        previous = journal.chain(kit.TERMINAL, kit.EPOCH, seq, previous, data)
        out.append({"seq": seq, "row": data.hex(), "chain": previous.hex()})
    return out


def judgements() -> list[dict[str, Any]]:
    """One voucher text, the facts that differ from `context`, the verdict; in the order of the steps."""
    a, v, sv = kit.allowance, kit.voucher, kit.signed_voucher
    day, first = kit.DAY, kit.signed_voucher(None, kit.voucher(amount=100))
    stranger = kit.ed25519("stranger")
    second = v(counter=2, cum=12_445, prev=first.h[:8])
    stored = [plain(asdict(link_of(first)))]
    flipped_v = replace(sv(), sig_v=bytes([sv().sig_v[0] ^ 1]) + sv().sig_v[1:])
    identity_r = replace(
        sv(),
        sig_v=hostile.ed25519_with(
            hostile.IDENTITY, 0, kit.DEVICE,
            signing.voucher_message(sv().allowance_raw, sv().voucher_raw),
        ),
    )  # fmt: skip
    small_key = a(device_key=hostile.IDENTITY)
    small = replace(sv(small_key), sig_v=hostile.IDENTITY + bytes(32))
    table: list[tuple[str, Any, dict[str, Any], str]] = [
        ("good", sv(), {}, "OV_ACCEPTED"),
        ("good, P-256", sv(device=kit.P256_DEVICE), {}, "OV_ACCEPTED"),
        ("last second of the allowance", sv(), {"now_s": kit.NOW + day}, "OV_ACCEPTED"),
        ("first second of the allowance", sv(), {"now_s": kit.NOW - 60}, "OV_ACCEPTED"),
        ("second of a chain", sv(None, second), {"stored": stored}, "OV_ACCEPTED"),
        ("allowance remembered", replace(sv(), sig_a=bytes(64)), {"allowance_verified": True}, "OV_ACCEPTED"),
        ("voided here", sv(), {"voided": True}, "OV_VOIDED"),
        ("redeemed here", sv(), {"redeemed": True}, "OV_ALREADY_ACCEPTED"),
        ("unknown kid", sv(kid=b"\x00\x09"), {}, "OV_ISSUER_KEY_UNKNOWN"),
        ("key not for allowances", sv(), {"usages": "BC"}, "OV_ISSUER_KEY_UNKNOWN"),
        ("key past its end", sv(), {"now_s": kit.NOW + 31 * day}, "OV_ISSUER_KEY_EXPIRED"),
        ("key before its beginning", sv(), {"now_s": kit.NOW - 31 * day}, "OV_ISSUER_KEY_EXPIRED"),
        ("another payee", sv(None, v(payee=bytes(8))), {}, "OV_PAYEE_MISMATCH"),
        ("another terminal", sv(None, v(terminal=bytes(4))), {}, "OV_PAYEE_MISMATCH"),
        ("nonce unknown", sv(), {"challenge": "UNKNOWN"}, "OV_CHALLENGE_UNKNOWN"),
        ("nonce used", sv(), {"challenge": "USED"}, "OV_CHALLENGE_USED"),
        ("nonce run out", sv(), {"challenge": "EXPIRED"}, "OV_CHALLENGE_EXPIRED"),
        ("another amount", sv(None, v(amount=12_344)), {}, "OV_AMOUNT_MISMATCH"),
        ("another currency", sv(a(ccy="USD")), {}, "OV_CURRENCY_MISMATCH"),
        ("allowance not begun", sv(), {"now_s": kit.NOW - 61}, "OV_NOT_YET_VALID"),
        ("allowance run out", sv(), {"now_s": kit.NOW + day + 1}, "OV_ALLOWANCE_EXPIRED"),
        ("cap_each above policy", sv(a(cap_each=50_001)), {}, "OV_POLICY_EXCEEDED"),
        ("cap_total above policy", sv(a(cap_total=200_001)), {}, "OV_POLICY_EXCEEDED"),
        ("life above policy", sv(a(settle_until=kit.NOW + 6 * day)), {}, "OV_POLICY_EXCEEDED"),
        ("currency without policy", sv(a(ccy="USD")), {"ccy": "USD"}, "OV_POLICY_EXCEEDED"),
        ("over the voucher limit", sv(a(cap_each=12_344)), {}, "OV_OVER_VOUCHER_LIMIT"),
        ("counter above max_count", sv(None, v(counter=21, cum=20_000)), {}, "OV_COUNTER_RANGE"),
        ("cum above cap_total", sv(None, v(counter=9, cum=200_001)), {}, "OV_OVER_ALLOWANCE_CAP"),
        ("cum below amount", sv(None, v(counter=2, cum=12_344)), {}, "OV_CUMULATIVE_INCONSISTENT"),
        ("counter 1, cum above amount", sv(None, v(cum=12_346)), {}, "OV_CUMULATIVE_INCONSISTENT"),
        ("revoked", sv(), {"revoked": True}, "OV_REVOKED"),
        ("issuer's signature by a stranger", sv(issuer=stranger), {}, "OV_ALLOWANCE_SIGNATURE"),
        ("voucher signed by a stranger", sv(a(), device=stranger), {}, "OV_VOUCHER_SIGNATURE"),
        ("a bit of sigV flipped", flipped_v, {}, "OV_VOUCHER_SIGNATURE"),
        ("sigV with R = identity", identity_r, {}, "OV_VOUCHER_SIGNATURE"),
        ("device key = identity", small, {}, "OV_VOUCHER_SIGNATURE"),
        ("same counter, other h", sv(), {"stored": stored}, "OV_DOUBLE_SPEND_LOCAL"),
        ("cum broken against a stored one", sv(None, v(counter=2, cum=12_400, prev=first.h[:8])),
         {"stored": stored}, "OV_CUMULATIVE_INCONSISTENT"),
        ("prev broken", sv(None, v(counter=2, cum=12_445)), {"stored": stored}, "OV_CUMULATIVE_INCONSISTENT"),
        ("exposure reached", sv(), {"allowance_exposure": 10, "exposure_limit": 12_354}, "OV_ALLOWANCE_EXPOSURE"),
        ("exposure just inside", sv(), {"allowance_exposure": 9, "exposure_limit": 12_354}, "OV_ACCEPTED"),
    ]  # fmt: skip
    return [
        {"why": why, "text": signed.to_text(), "facts": changes, "verdict": verdict}
        for why, signed, changes, verdict in table
    ]


def context() -> dict[str, Any]:
    """Keys and facts that the other files are read with."""
    return {
        "now_s": kit.NOW, "payee": kit.PAYEE.hex(), "terminal": kit.TERMINAL.hex(),
        "nonce": kit.NONCE.hex(), "server_nonce": kit.SERVER_NONCE.hex(), "epoch": kit.EPOCH.hex(),
        "amount": 12_345, "ccy": "INR", "challenge": "OPEN",
        "bundle": codec.bundle_bytes(kit.bundle()).hex(),
        "algorithms": {alg.name: int(alg) for alg in Algorithm}, "keys": keys(),
    }  # fmt: skip


def generate() -> dict[str, str]:
    """File name to contents."""
    files = {
        "context": context(), "enrolment_keys": enrolment_keys(), "bodies_valid": bodies_valid(),
        "bodies_invalid": bodies_invalid(), "wires": wires(), "messages": messages(),
        "texts": texts(), "signatures": hostile.signatures(), "judgements": judgements(),
        "rule9": hostile.rule9(), "chain": chain(),
    }  # fmt: skip
    return {
        f"{name}.json": json.dumps(value, indent=1, ensure_ascii=True) + "\n"
        for name, value in files.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, contents in generate().items():
        (FOLDER / file).write_text(contents)
