"""Fixed keys, signers and well-formed OV1 things for tests and vectors."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.signing import SigningKey

from offline import codec, journal, signing, sync, wire
from offline.model import (
    NO_PREV,
    Algorithm,
    Allowance,
    Beacon,
    Bundle,
    BundleEntry,
    Certificate,
    PaymentRequest,
    Policy,
    Receipt,
    Revocations,
    Risk,
    Void,
    VoidReason,
    Voucher,
)
from offline.payer import PayerFacts
from offline.verdicts import Verdict
from offline.verify import Challenge, ChallengeState, TerminalFacts

NOW = 1_790_000_000
DAY = 86_400
AID = bytes(range(16))
PAYEE = bytes.fromhex("a1a2a3a4a5a6a7a8")
TERMINAL = bytes.fromhex("0000002a")
NONCE = bytes.fromhex("1122334455667788")
SERVER_NONCE = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
KID = b"\x00\x01"
ROOT_KID = b"\x00\x63"
EPOCH = bytes.fromhex("e0e1e2e3e4e5e6e7")


@dataclass(frozen=True)
class Signer:
    """A key from a 32-byte seed: an Ed25519 seed or a P-256 scalar."""

    alg: Algorithm
    seed: bytes

    @property
    def public(self) -> bytes:
        if self.alg is Algorithm.ED25519:
            return bytes(SigningKey(self.seed).verify_key)
        key = ec.derive_private_key(int.from_bytes(self.seed), ec.SECP256R1())
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def sign(self, message: bytes) -> bytes:
        if self.alg is Algorithm.ED25519:
            return SigningKey(self.seed).sign(message).signature
        key = ec.derive_private_key(int.from_bytes(self.seed), ec.SECP256R1())
        der = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        return r.to_bytes(32) + s.to_bytes(32)


RISK = Risk(
    soft_sum=800_000, hard_sum=1_000_000, allowance_sum=200_000, void_each=50_000, soft_age_s=2 * DAY,
    hard_age_s=3 * DAY, online_in=50, clock_behind_s=300, clock_ahead_s=DAY + DAY // 2,
    request_ttl_s=180,
)  # fmt: skip


def ed25519(name: str) -> Signer:
    return Signer(Algorithm.ED25519, sha256(f"hundi ov1 test ed25519 {name}".encode()).digest())


def p256(name: str) -> Signer:
    return Signer(Algorithm.P256, sha256(f"hundi ov1 test p256 {name}".encode()).digest())


ROOT, ISSUER, TERM, DEVICE = (ed25519(name) for name in ("root", "issuer", "terminal", "device"))
P256_DEVICE, P256_TERM, P256_ISSUER = (p256(name) for name in ("device", "terminal", "issuer"))
SIGNERS = {
    "root": ROOT, "issuer": ISSUER, "terminal": TERM, "device": DEVICE,
    "p256_device": P256_DEVICE, "p256_terminal": P256_TERM, "p256_issuer": P256_ISSUER,
}  # fmt: skip


def allowance(device: Signer = DEVICE, **changes: Any) -> Allowance:
    given = {
        "aid": AID, "device_key": device.public, "ccy": "INR", "cap_total": 200_000,
        "cap_each": 50_000, "max_count": 20, "not_before": NOW - 60, "spend_until": NOW + DAY,
        "settle_until": NOW + 4 * DAY, "flags": int(device.alg),
    }  # fmt: skip
    return Allowance(**{**given, **changes})


def voucher(**changes: Any) -> Voucher:
    given = {
        "counter": 1, "amount": 12_345, "cum": changes.get("amount", 12_345), "payee": PAYEE,
        "terminal": TERMINAL, "nonce": NONCE, "ts": NOW, "prev": NO_PREV,
    }  # fmt: skip
    return Voucher(**{**given, **changes})


def signed_voucher(
    a: Allowance | None = None,
    v: Voucher | None = None,
    *,
    device: Signer = DEVICE,
    issuer: Signer = ISSUER,
    kid: bytes = KID,
) -> wire.SignedVoucher:
    a_raw = codec.allowance_bytes(a or allowance(device))
    v_raw = codec.voucher_bytes(v or voucher())
    return wire.SignedVoucher.of(
        kid, a_raw, issuer.sign(signing.allowance_message(kid, a_raw)), v_raw,
        device.sign(signing.voucher_message(a_raw, v_raw)),
    )  # fmt: skip


def entry(signer: Signer = ISSUER, **changes: Any) -> BundleEntry:
    given = {
        "kid": KID, "alg": signer.alg, "key": signer.public, "usages": "ABCLY",
        "not_before": NOW - 30 * DAY, "not_after": NOW + 30 * DAY,
    }  # fmt: skip
    return BundleEntry(**{**given, **changes})


def bundle(*entries: BundleEntry, **changes: Any) -> Bundle:
    policy = Policy(ccy="INR", cap_each=50_000, cap_total=200_000, life_s=5 * DAY, risk=RISK)
    given = {
        "version": 7, "root_kid": ROOT_KID, "entries": entries or (entry(),), "policies": (policy,),
    }  # fmt: skip
    return Bundle(**{**given, **changes})


def signed_bundle(b: Bundle | None = None, root: Signer = ROOT) -> wire.SignedBundle:
    raw = codec.bundle_bytes(b or bundle())
    return wire.SignedBundle.of(ROOT_KID, raw, root.sign(signing.bundle_message(ROOT_KID, raw)))


def certificate(term: Signer = TERM, **changes: Any) -> Certificate:
    given = {
        "terminal": TERMINAL, "payee": PAYEE, "terminal_key": term.public, "name": "चाय घर",
        "mcc": 5814, "not_after": NOW + DAY,
    }  # fmt: skip
    return Certificate(**{**given, **changes})


def request(**changes: Any) -> PaymentRequest:
    return PaymentRequest(**{"amount": 12_345, "ccy": "INR", "nonce": NONCE, "ts": NOW, **changes})


def _certified(
    kind: Any, message: Any, body: bytes, cert: Certificate | None, term: Signer, issuer: Signer
) -> Any:
    raw = codec.certificate_bytes(cert or certificate(term))
    sig = issuer.sign(signing.certificate_message(KID, raw))
    return kind.of(KID, raw, sig, body, term.sign(message(raw, body)))


def signed_request(
    req: PaymentRequest | None = None,
    cert: Certificate | None = None,
    *,
    term: Signer = TERM,
    issuer: Signer = ISSUER,
) -> wire.SignedRequest:
    body = codec.request_bytes(req or request())
    return _certified(
        wire.SignedRequest, signing.request_message, body, cert, term, issuer
    )  # fmt: skip


def receipt(v: wire.SignedVoucher | None = None, **changes: Any) -> Receipt:
    v = v or signed_voucher()
    given = {
        "aid": v.allowance.aid, "counter": v.voucher.counter, "h": v.h, "seq": 9,
        "head": b"headhead", "ts": NOW,
    }  # fmt: skip
    return Receipt(**{**given, **changes})


def signed_receipt(
    body: Receipt | None = None,
    cert: Certificate | None = None,
    *,
    term: Signer = TERM,
    issuer: Signer = ISSUER,
) -> wire.SignedReceipt:
    raw = codec.receipt_bytes(body or receipt())
    return _certified(wire.SignedReceipt, signing.receipt_message, raw, cert, term, issuer)


def void(v: wire.SignedVoucher | None = None, **changes: Any) -> Void:
    v = v or signed_voucher()
    given = {
        "aid": v.allowance.aid, "counter": v.voucher.counter, "h": v.h, "seq": 10,
        "reason": VoidReason.REFUSED, "ts": NOW,
    }  # fmt: skip
    return Void(**{**given, **changes})


def signed_void(
    body: Void | None = None,
    cert: Certificate | None = None,
    *,
    term: Signer = TERM,
    issuer: Signer = ISSUER,
) -> wire.SignedVoid:
    raw = codec.void_bytes(body or void())
    return _certified(wire.SignedVoid, signing.void_message, raw, cert, term, issuer)


def signed_revocations(
    epoch: int = 3, base_epoch: int = 1, aids: Iterable[bytes] = (AID,), issuer: Signer = ISSUER
) -> wire.SignedRevocations:
    raw = codec.revocations_bytes(Revocations(epoch=epoch, base_epoch=base_epoch, aids=tuple(aids)))
    return wire.SignedRevocations.of(KID, raw, issuer.sign(signing.revocations_message(KID, raw)))


def signed_beacon(
    terminal: bytes = TERMINAL, nonce: bytes = NONCE, ts: int = NOW, issuer: Signer = ISSUER
) -> wire.SignedBeacon:
    return wire.SignedBeacon(
        kid=KID,
        beacon=Beacon(terminal=terminal, nonce=nonce, ts=ts),
        sig=issuer.sign(signing.beacon_message(KID, terminal, nonce, ts)),
    )


def facts(**changes: Any) -> TerminalFacts:
    given = {
        "payee": PAYEE, "terminal": TERMINAL, "bundle": bundle(), "now_s": NOW,
        "challenge": Challenge(state=ChallengeState.OPEN, amount=12_345, ccy="INR"),
    }  # fmt: skip
    return TerminalFacts(**{**given, **changes})


def payer_facts(**changes: Any) -> PayerFacts:
    return PayerFacts(**{"bundle": bundle(), "now_s": NOW, "allowance": allowance(), **changes})


def rows() -> list[journal.Row]:
    return [
        journal.Accept(signed=signed_voucher(), accepted_at=NOW),
        journal.Close(nonce=b"nonceone", reason=journal.CloseReason.EXPIRED, closed_at=NOW),
        journal.VoidRow(nonce=NONCE, signed=signed_void()),
        journal.Apply(epoch=3),
        journal.NewEpoch(new_epoch=EPOCH, old_epoch=b"oldepoch", old_seq=4, old_chain=bytes(32)),
    ]


def sync_body(**changes: Any) -> sync.SyncBody:
    header = sync.Header(
        epoch=EPOCH, acked_seq=0, head_seq=5, head=b"h" * 32, applied=3, beacon_nonce=NONCE
    )
    batch = tuple(
        sync.SeqRow(seq=seq, row=journal.row_bytes(row)) for seq, row in enumerate(rows(), 1)
    )
    return sync.SyncBody(**{"header": header, "rows": batch, **changes})


def sync_request(body: sync.SyncBody | None = None, term: Signer = TERM) -> sync.SyncRequest:
    raw = sync.body_bytes(body or sync_body())
    sig = term.sign(signing.sync_request_message(TERMINAL, SERVER_NONCE, raw))
    return sync.SyncRequest.of(TERMINAL, SERVER_NONCE, raw, sig)


def sync_answer(**changes: Any) -> sync.SyncAnswer:
    given = {
        "epoch": EPOCH, "verdict": Verdict.ACCEPTED,
        "items": (
            sync.ItemResult(seq=1, row_hash=b"r" * 32, result=Verdict.ACCEPTED),
            sync.ItemResult(seq=2, row_hash=b"s" * 32, result=Verdict.DUPLICATE),
        ),
        "acked_seq": 2, "acked_head": b"s" * 32, "revocations": signed_revocations().to_bytes(),
        "bundle_version": 7, "beacon": signed_beacon().to_bytes(), "next_nonce": SERVER_NONCE,
        "server_time": NOW,
    }  # fmt: skip
    return sync.SyncAnswer(**{**given, **changes})


def signed_answer(
    answer: sync.SyncAnswer | None = None,
    request: sync.SyncRequest | None = None,
    issuer: Signer = ISSUER,
) -> sync.SignedAnswer:
    raw = sync.answer_bytes(answer or sync_answer())
    body = (request or sync_request()).body_raw
    message = signing.sync_answer_message(KID, TERMINAL, SERVER_NONCE, body, raw)
    return sync.SignedAnswer.of(KID, raw, issuer.sign(message))
