"""What each OV1 signature is over, and how one is checked.

API: one builder per kind, each returning the message to sign: `allowance_message` (A),
`voucher_message` (V), `certificate_message` (C), `request_message` (R), `receipt_message` (P),
`void_message` (X), `sync_request_message` (S), `sync_answer_message` (Y), `beacon_message` (B),
`revocations_message` (L), `bundle_message` (T), `surrender_message` (Z), `enrolment_message` (E);
`voucher_hash(allowance_raw, voucher_raw)` = h; `allowance_cache_key`; `sha256`;
`verify_signature(alg, key, message, sig) -> bool`; `algorithm_of(key)`; `check_public_key(key) -> bool`.

The message is one CBOR array ["OV1", kind, ...]: no key ever signs a bare nonce. Ed25519 is
cofactorless with S < L, canonical A and R, and no small-order A or R: libsodium's rules, held by the
vectors. P-256 is ECDSA with SHA-256, the key a compressed point, the signature raw r||s with either s.
"""

from functools import lru_cache
from hashlib import sha256 as _sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import BadSignatureError

from offline.cbor import encode
from offline.fields import algorithm_of as algorithm_of  # noqa: PLC0414 - offered here too
from offline.model import SIGNATURE_SIZE, Algorithm

OV1: Final = "OV1"
_ECDSA: Final = ECDSA(SHA256())


def sha256(data: bytes) -> bytes:
    return _sha256(data).digest()


def allowance_message(kid: bytes, allowance_raw: bytes) -> bytes:
    return encode([OV1, "A", kid, allowance_raw])


def voucher_message(allowance_raw: bytes, voucher_raw: bytes) -> bytes:
    return encode([OV1, "V", sha256(allowance_raw), voucher_raw])


def voucher_hash(allowance_raw: bytes, voucher_raw: bytes) -> bytes:
    """h: what dedupe, evidence, receipts and voids name. It binds A and V, not the signatures."""
    return sha256(voucher_message(allowance_raw, voucher_raw))


def certificate_message(kid: bytes, cert_raw: bytes) -> bytes:
    return encode([OV1, "C", kid, cert_raw])


def request_message(cert_raw: bytes, req_raw: bytes) -> bytes:
    return encode([OV1, "R", sha256(cert_raw), req_raw])


def receipt_message(cert_raw: bytes, receipt_raw: bytes) -> bytes:
    return encode([OV1, "P", sha256(cert_raw), receipt_raw])


def void_message(cert_raw: bytes, void_raw: bytes) -> bytes:
    return encode([OV1, "X", sha256(cert_raw), void_raw])


def sync_request_message(terminal: bytes, server_nonce: bytes, body: bytes) -> bytes:
    return encode([OV1, "S", terminal, server_nonce, sha256(body)])


def sync_answer_message(
    kid: bytes, terminal: bytes, server_nonce: bytes, request_body: bytes, answer: bytes
) -> bytes:
    return encode([OV1, "Y", kid, terminal, server_nonce, sha256(request_body), sha256(answer)])


def beacon_message(kid: bytes, terminal: bytes, nonce: bytes, ts: int) -> bytes:
    return encode([OV1, "B", kid, terminal, nonce, ts])


def revocations_message(kid: bytes, list_raw: bytes) -> bytes:
    return encode([OV1, "L", kid, list_raw])


def bundle_message(root_kid: bytes, bundle_raw: bytes) -> bytes:
    return encode([OV1, "T", root_kid, bundle_raw])


def surrender_message(allowance_raw: bytes, counter: int, cum: int, h: bytes) -> bytes:
    """Z by the device key: `counter`, `cum` and `h` of its last reserved payload (0, 0, 32 zeros: none)."""
    return encode([OV1, "Z", sha256(allowance_raw), counter, cum, h])


def enrolment_message(role: str, server_nonce: bytes, key: bytes, subject: bytes) -> bytes:
    """E by the new key: `role` is "terminal" or "payer", `subject` the pairing code or party id."""
    return encode([OV1, "E", role, server_nonce, key, subject])


def allowance_cache_key(kid: bytes, allowance_raw: bytes, sig_a: bytes) -> bytes:
    """Under which a verified allowance may be remembered, for as long as the bundle is the same."""
    return sha256(encode([kid, allowance_raw, sig_a]))


@lru_cache(maxsize=1024)
def _p256_key(key: bytes) -> EllipticCurvePublicKey | None:
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), key)
    except ValueError:
        return None


def verify_signature(alg: Algorithm, key: bytes, message: bytes, sig: bytes) -> bool:
    """Whether `sig` (64 B) over `message` is by `key`. Wrong sizes and bad keys are False."""
    if len(sig) != SIGNATURE_SIZE:
        return False
    if alg is Algorithm.ED25519:
        if len(key) != 32:
            return False
        try:
            crypto_sign_open(sig + message, key)
        except BadSignatureError:
            return False
        return True
    if len(key) != 33 or (point := _p256_key(key)) is None:
        return False
    der = encode_dss_signature(int.from_bytes(sig[:32]), int.from_bytes(sig[32:]))
    try:
        point.verify(der, message, _ECDSA)
    except InvalidSignature:
        return False
    return True


def check_public_key(key: bytes) -> bool:
    """Whether enrolment may take `key`: its length names an algorithm and the point is a sound one.

    Ed25519: canonical, in the prime-order group, so neither small nor mixed order. P-256: compressed,
    on the curve.
    """
    if len(key) == 32:
        return crypto_core_ed25519_is_valid_point(key)
    return len(key) == 33 and key[0] in {2, 3} and _p256_key(key) is not None
