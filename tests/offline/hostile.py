"""Byte-level ways to be wrong: hand-made CBOR and signatures that a lax implementation accepts."""

from dataclasses import asdict
from hashlib import sha512
from typing import Any

import cbor2
from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp

from offline import codec
from offline.verify import Link
from tests.offline import kit

L = 2**252 + 27742317777372353535851937790883648493
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
IDENTITY = bytes([1]) + bytes(31)
TORSION = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
NON_CANONICAL_IDENTITY = (2**255 - 19 + 1).to_bytes(32, "little")

BODIES = {
    "allowance": (codec.allowance_bytes(kit.allowance()), codec.read_allowance),
    "voucher": (codec.voucher_bytes(kit.voucher()), codec.read_voucher),
    "certificate": (codec.certificate_bytes(kit.certificate()), codec.read_certificate),
    "request": (codec.request_bytes(kit.request()), codec.read_request),
    "receipt": (codec.receipt_bytes(kit.receipt()), codec.read_receipt),
    "void": (codec.void_bytes(kit.void()), codec.read_void),
    "bundle": (codec.bundle_bytes(kit.bundle()), codec.read_bundle),
    "revocations": (
        kit.signed_revocations(aids=(kit.AID, b"z" * 16)).list_raw,
        codec.read_revocations,
    ),
}
"""Of each body one good form and its reader."""

NAMES = {
    "allowance": (
        "version aid device_key ccy cap_total cap_each max_count not_before spend_until"
        " settle_until flags"
    ),
    "voucher": "version counter amount cum payee terminal nonce ts prev",
    "certificate": "version terminal payee terminal_key name mcc not_after",
    "request": "version amount ccy nonce ts",
    "receipt": "version aid counter h seq head ts",
    "void": "version aid counter h seq reason ts",
    "bundle": "version bundle_version root_kid entries policies",
    "revocations": "version epoch base_epoch aids",
}

MALFORMED, NON_CANONICAL = "OV_MALFORMED", "OV_NON_CANONICAL"
UNSUPPORTED = "OV_UNSUPPORTED_VERSION"


def plain(value: Any) -> Any:
    """Dataclass fields as JSON: bytes as hex, enums as their value."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def with_parts(kind: str, **raw_parts: bytes) -> bytes:
    """The good body of `kind` with the raw CBOR of named fields replaced."""
    items = cbor2.loads(BODIES[kind][0])
    names = NAMES[kind].split()
    parts = [
        raw_parts.get(name, cbor2.dumps(item, canonical=True))
        for name, item in zip(names, items, strict=True)
    ]
    return bytes([0x80 + len(parts)]) + b"".join(parts)


def for_every_body() -> list[dict[str, str]]:
    out = []
    for kind, (good, _) in BODIES.items():
        inside = good[1:]
        for why, data, verdict in [
            ("a byte after the end", good + b"\x00", NON_CANONICAL),
            ("array of indefinite length", b"\x9f" + inside + b"\xff", NON_CANONICAL),
            ("array head longer than needed", b"\x98" + bytes([good[0] & 31]) + inside, NON_CANONICAL),
            ("version as 18 01", with_parts(kind, version=b"\x18\x01"), NON_CANONICAL),
            ("cut short", good[:-1], MALFORMED),
            ("empty", b"", MALFORMED),
            ("version 2", with_parts(kind, version=b"\x02"), UNSUPPORTED),
            ("version true", with_parts(kind, version=b"\xf5"), MALFORMED),
            ("version 1.0", with_parts(kind, version=b"\xf9\x3c\x00"), MALFORMED),
            ("one field too many", bytes([good[0] + 1]) + inside + b"\x01", MALFORMED),
            ("tagged as a whole", b"\xc1" + good, MALFORMED),
            ("a map", b"\xa1\x01\x02", MALFORMED),
        ]:  # fmt: skip
            out.append({"body": kind, "why": why, "hex": data.hex(), "verdict": verdict})
    return out


def number_forms() -> list[dict[str, str]]:
    """V.amount in every form that a number can come in."""
    forms = {
        "zero": ("00", MALFORMED),
        "minus one": ("20", MALFORMED),
        "true": ("f5", MALFORMED),
        "false": ("f4", MALFORMED),
        "null": ("f6", MALFORMED),
        "undefined": ("f7", MALFORMED),
        "simple value 0": ("e0", MALFORMED),
        "half float 1.0": ("f93c00", MALFORMED),
        "double 500.0": ("fb407f400000000000", MALFORMED),
        "infinity": ("f97c00", MALFORMED),
        "not a number": ("f97e00", MALFORMED),
        "bignum 1": ("c24101", MALFORMED),
        "negative bignum": ("c34101", MALFORMED),
        "text 1": ("6131", MALFORMED),
        "bytes 01": ("4101", MALFORMED),
        "array": ("8101", MALFORMED),
        "map with a key twice": ("a201010102", MALFORMED),
        "1 in two bytes": ("1801", NON_CANONICAL),
        "1 in nine bytes": ("1b0000000000000001", NON_CANONICAL),
        "2^31": ("1a80000000", "OV_ACCEPTED"),
        "2^53-1": ("1b001fffffffffffff", "OV_ACCEPTED"),
        "2^53": ("1b0020000000000000", MALFORMED),
        "2^53+1": ("1b0020000000000001", MALFORMED),
        "2^63": ("1b8000000000000000", MALFORMED),
        "2^64-1": ("1bffffffffffffffff", MALFORMED),
    }
    return [
        {
            "body": "voucher",
            "why": f"amount: {why}",
            "hex": with_parts("voucher", amount=bytes.fromhex(raw)).hex(),
            "verdict": verdict,
        }
        for why, (raw, verdict) in forms.items()
    ]


def _policy(ccy: str = "INR", risk: list[int] | None = None) -> list[Any]:
    return [ccy, 1, 1, 1, [1] * 10 if risk is None else risk]


def _entry(**changes: Any) -> list[Any]:
    e = kit.entry()
    given = {
        "kid": e.kid, "alg": int(e.alg), "key": e.key, "usages": e.usages,
        "not_before": e.not_before, "not_after": e.not_after,
    }  # fmt: skip
    return list({**given, **changes}.values())


def field_rules() -> list[dict[str, str]]:
    """Every semantic rule of §2's strict reading, broken one at a time."""
    now, p256 = kit.NOW, kit.P256_DEVICE.public
    broken: list[tuple[str, str, dict[str, Any], str]] = [
        ("allowance", "aid of 15 bytes", {"aid": bytes(15)}, MALFORMED),
        ("allowance", "key of 31 bytes", {"device_key": bytes(31)}, MALFORMED),
        ("allowance", "P-256 key under Ed25519 flags", {"device_key": p256}, MALFORMED),
        ("allowance", "Ed25519 key under P-256 flags", {"flags": 1}, MALFORMED),
        ("allowance", "uncompressed point form", {"device_key": b"\x04" + p256[1:], "flags": 1}, MALFORMED),
        ("allowance", "algorithm 2", {"flags": 2}, UNSUPPORTED),
        ("allowance", "unknown flag bit 2", {"flags": 4}, UNSUPPORTED),
        ("allowance", "lower-case currency", {"ccy": "inr"}, MALFORMED),
        ("allowance", "currency of two letters", {"ccy": "IN"}, MALFORMED),
        ("allowance", "currency with a Greek letter", {"ccy": "\u0399NR"}, MALFORMED),
        ("allowance", "currency as bytes", {"ccy": b"INR"}, MALFORMED),
        ("allowance", "cap_each above cap_total", {"cap_each": 200_001}, MALFORMED),
        ("allowance", "cap_each 0", {"cap_each": 0}, MALFORMED),
        ("allowance", "max_count 0", {"max_count": 0}, MALFORMED),
        ("allowance", "max_count 65536", {"max_count": 65_536}, MALFORMED),
        ("allowance", "not_before after spend_until", {"not_before": now + 2 * kit.DAY}, MALFORMED),
        ("allowance", "spend_until after settle_until", {"spend_until": now + 9 * kit.DAY}, MALFORMED),
        ("voucher", "counter 0", {"counter": 0}, MALFORMED),
        ("voucher", "counter 65536", {"counter": 65_536}, MALFORMED),
        ("voucher", "cum 0", {"cum": 0}, MALFORMED),
        ("voucher", "payee of 7 bytes", {"payee": bytes(7)}, MALFORMED),
        ("voucher", "terminal of 5 bytes", {"terminal": bytes(5)}, MALFORMED),
        ("voucher", "nonce of 9 bytes", {"nonce": bytes(9)}, MALFORMED),
        ("voucher", "nonce as text", {"nonce": "12345678"}, MALFORMED),
        ("voucher", "prev of 7 bytes", {"prev": bytes(7)}, MALFORMED),
        ("certificate", "empty name", {"name": ""}, MALFORMED),
        ("certificate", "name of 33 bytes", {"name": "a" * 33}, MALFORMED),
        ("certificate", "name not NFC", {"name": "Cafe\u0301"}, MALFORMED),
        ("certificate", "name with an override", {"name": "abc\u202edef"}, MALFORMED),
        ("certificate", "name with a control", {"name": "abc\n"}, MALFORMED),
        ("certificate", "mcc 10000", {"mcc": 10_000}, MALFORMED),
        ("certificate", "terminal key of 31 bytes", {"terminal_key": bytes(31)}, MALFORMED),
        ("request", "amount 0", {"amount": 0}, MALFORMED),
        ("request", "numeric currency", {"ccy": 356}, MALFORMED),
        ("receipt", "h of 8 bytes", {"h": bytes(8)}, MALFORMED),
        ("receipt", "seq 0", {"seq": 0}, MALFORMED),
        ("void", "unknown reason", {"reason": "because"}, MALFORMED),
        ("bundle", "no entries", {"entries": []}, MALFORMED),
        ("bundle", "a kid twice", {"entries": [_entry(), _entry()]}, MALFORMED),
        ("bundle", "algorithm 2", {"entries": [_entry(alg=2)]}, UNSUPPORTED),
        ("bundle", "key length of another algorithm", {"entries": [_entry(alg=1)]}, MALFORMED),
        ("bundle", "usages out of order", {"entries": [_entry(usages="CA")]}, MALFORMED),
        ("bundle", "unknown usage", {"entries": [_entry(usages="AQ")]}, MALFORMED),
        ("bundle", "entry ends before it begins", {"entries": [_entry(not_after=1)]}, MALFORMED),
        ("bundle", "entry of five items", {"entries": [_entry()[:5]]}, MALFORMED),
        ("bundle", "policies out of order", {"policies": [_policy("USD"), _policy("INR")]}, MALFORMED),
        ("bundle", "policy of four items", {"policies": [_policy()[:4]]}, MALFORMED),
        ("bundle", "risk of nine items", {"policies": [_policy(risk=[1] * 9)]}, MALFORMED),
        ("bundle", "a soft sum above the hard one", {"policies": [_policy(risk=[2, *[1] * 9])]}, MALFORMED),
        ("bundle", "a soft age above the hard one", {"policies": [_policy(risk=[1, 1, 1, 1, 2, *[1] * 5])]}, MALFORMED),
        ("bundle", "one request in none asks for a sync", {"policies": [_policy(risk=[*[1] * 6, 0, 1, 1, 1])]}, MALFORMED),
        ("bundle", "version 0", {"bundle_version": 0}, MALFORMED),
        ("revocations", "aids out of order", {"aids": [b"z" * 16, kit.AID]}, MALFORMED),
        ("revocations", "an aid twice", {"aids": [kit.AID, kit.AID]}, MALFORMED),
        ("revocations", "base beyond epoch", {"base_epoch": 9}, MALFORMED),
    ]  # fmt: skip
    return [
        {
            "body": kind,
            "why": why,
            "hex": with_parts(
                kind, **{name: cbor2.dumps(value, canonical=True) for name, value in change.items()}
            ).hex(),
            "verdict": verdict,
        }
        for kind, why, change, verdict in broken
    ]


def ed25519_challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(r + key + message).digest(), "little") % L


def ed25519_with(r: bytes, nonce_scalar: int, signer: kit.Signer, message: bytes) -> bytes:
    """R || S with S = nonce + k * a for any R: what the owner of the key can make."""
    a = int.from_bytes(sha512(signer.seed).digest()[:32], "little") & ((1 << 254) - 8) | 1 << 254
    s = (nonce_scalar + ed25519_challenge(r, signer.public, message) * a) % L
    return r + s.to_bytes(32, "little")


def signatures() -> list[dict[str, Any]]:
    """Signatures with what verify_signature must say; only two of these are sound in a lax library."""
    m, d, p = b"hundi", kit.DEVICE, kit.P256_DEVICE
    good, good_p = d.sign(m), p.sign(m)
    s_plus_l = (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little")
    other_s = (N - int.from_bytes(good_p[32:])).to_bytes(32)
    nonce = 12_345
    base_r = crypto_scalarmult_ed25519_base_noclamp(nonce.to_bytes(32, "little"))
    twisted_r = crypto_core_ed25519_add(base_r, TORSION)
    zero, n = bytes(32), N.to_bytes(32)
    table: list[tuple[str, int, bytes, bytes, bool]] = [
        ("good Ed25519", 0, d.public, good, True),
        ("good P-256", 1, p.public, good_p, True),
        ("P-256, the other s", 1, p.public, good_p[:32] + other_s, True),
        ("S + L", 0, d.public, good[:32] + s_plus_l, False),
        ("R is the identity", 0, d.public, ed25519_with(IDENTITY, 0, d, m), False),
        ("R is the identity, not canonical", 0, d.public, ed25519_with(NON_CANONICAL_IDENTITY, 0, d, m), False),
        ("R of order 8", 0, d.public, ed25519_with(TORSION, 0, d, m), False),
        ("R off by a torsion point (cofactored only)", 0, d.public, ed25519_with(twisted_r, nonce, d, m), False),
        ("A is the identity", 0, IDENTITY, IDENTITY + zero, False),
        ("A is the identity, not canonical", 0, NON_CANONICAL_IDENTITY, IDENTITY + zero, False),
        ("A is the identity, R is not", 0, IDENTITY, base_r + nonce.to_bytes(32, "little"), False),
        ("A of order 8", 0, TORSION, base_r + nonce.to_bytes(32, "little"), False),
        ("all zero", 0, d.public, bytes(64), False),
        ("63 bytes", 0, d.public, good[:63], False),
        ("65 bytes", 0, d.public, good + b"\x00", False),
        ("by another key", 0, kit.TERM.public, good, False),
        ("key of 33 bytes for Ed25519", 0, p.public, good, False),
        ("P-256 r = 0", 1, p.public, zero + good_p[32:], False),
        ("P-256 s = 0", 1, p.public, good_p[:32] + zero, False),
        ("P-256 r = n", 1, p.public, n + good_p[32:], False),
        ("P-256 s = n", 1, p.public, good_p[:32] + n, False),
        ("P-256 key off the curve", 1, b"\x02" + zero[:31] + b"\x01", good_p, False),
        ("P-256 key at infinity", 1, bytes(33), good_p, False),
        ("P-256 signature as DER", 1, p.public, b"\x30\x3e" + good_p[:62], False),
        ("key of 32 bytes for P-256", 1, d.public, good_p, False),
    ]  # fmt: skip
    return [
        {
            "why": why,
            "alg": alg,
            "key": key.hex(),
            "message": m.hex(),
            "sig": sig.hex(),
            "valid": ok,
        }
        for why, alg, key, sig, ok in table
    ]


def rule9() -> list[dict[str, Any]]:
    def link(counter: int, amount: int, cum: int, prev: bytes = bytes(8)) -> Link:
        return Link(counter=counter, amount=amount, cum=cum, prev=prev, h=bytes([counter]) * 32)

    first = link(1, 100, 100)
    table = [
        ("next, exact", first, link(2, 50, 150, b"\x01" * 8), True),
        ("next, cum short by 1", first, link(2, 50, 149, b"\x01" * 8), False),
        ("next, cum too high", first, link(2, 50, 151, b"\x01" * 8), False),
        ("next, other prev", first, link(2, 50, 150, b"\x02" * 8), False),
        ("gap of 2, the unseen one at least 1", first, link(3, 50, 151), True),
        ("gap of 2, nothing for the unseen one", first, link(3, 50, 150), False),
        ("gap of 2, much for the unseen one", first, link(3, 50, 9_999), True),
        ("gap of 5, four unseen", first, link(6, 50, 154), True),
        ("gap of 5, only three", first, link(6, 50, 153), False),
        ("gap, cum falls", link(3, 50, 500), link(9, 50, 400), False),
        ("gap, prev is not compared", first, link(3, 50, 151, b"\x09" * 8), True),
    ]
    return [
        {"why": why, "lower": plain(asdict(low)), "higher": plain(asdict(high)), "consistent": ok}
        for why, low, high, ok in table
    ]
