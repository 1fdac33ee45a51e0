"""Whether a bundle, certificate, beacon or revocation list is the issuer's own and meant for this reader.

API, each returning ACCEPTED or why not, none raising: `check_bundle(signed, root_kid, root_key, floor)`,
`check_certificate(kid, cert_raw, sig_cert, bundle)`, `check_beacon(signed, bundle, terminal, nonce)`,
`check_revocations(signed, bundle, epoch)`, and `decode_bundle(data)` for what came over a network.

Dates of the issuer's key are asked only where the caller gives `now_s`: a beacon is what sets the clock, so
it cannot be judged by the clock.
"""

from offline.model import Bundle
from offline.signing import (
    algorithm_of,
    beacon_message,
    bundle_message,
    certificate_message,
    revocations_message,
    verify_signature,
)
from offline.verdicts import Refused, Verdict
from offline.wire import SignedBeacon, SignedBundle, SignedRevocations


def decode_bundle(data: bytes) -> SignedBundle | Verdict:
    """A bundle strictly read; its signature is `check_bundle`'s."""
    try:
        return SignedBundle.from_bytes(data)
    except Refused as refused:
        return refused.verdict


def check_bundle(signed: SignedBundle, root_kid: bytes, root_key: bytes, floor: int) -> Verdict:
    """ISSUER_KEY_UNKNOWN: another root. SIGNATURE. STALE: its version is below `floor`.

    The floor is the highest version ever taken over; it survives a restore.
    """
    if signed.root_kid != root_kid:
        return Verdict.ISSUER_KEY_UNKNOWN
    message = bundle_message(root_kid, signed.bundle_raw)
    if not verify_signature(algorithm_of(root_key), root_key, message, signed.sig):
        return Verdict.SIGNATURE
    return Verdict.STALE if signed.bundle.version < floor else Verdict.ACCEPTED


def check_issued(
    bundle: Bundle, kid: bytes, usage: str, message: bytes, sig: bytes, now_s: int | None = None
) -> Verdict:
    """ISSUER_KEY_UNKNOWN, ISSUER_KEY_EXPIRED (only with `now_s`), SIGNATURE or ACCEPTED."""
    entry = bundle.entry(kid, usage)
    if entry is None:
        return Verdict.ISSUER_KEY_UNKNOWN
    if now_s is not None and not entry.not_before <= now_s <= entry.not_after:
        return Verdict.ISSUER_KEY_EXPIRED
    if not verify_signature(entry.alg, entry.key, message, sig):
        return Verdict.SIGNATURE
    return Verdict.ACCEPTED


def check_certificate(
    kid: bytes, cert_raw: bytes, sig_cert: bytes, bundle: Bundle, now_s: int | None = None
) -> Verdict:
    """The issuer's signature over a terminal certificate; its own not_after is the caller's to ask."""
    verdict = check_issued(bundle, kid, "C", certificate_message(kid, cert_raw), sig_cert, now_s)
    return Verdict.CERTIFICATE_SIGNATURE if verdict is Verdict.SIGNATURE else verdict


def check_beacon(signed: SignedBeacon, bundle: Bundle, terminal: bytes, nonce: bytes) -> Verdict:
    """A beacon counts only for this terminal and the nonce of the request outstanding."""
    b = signed.beacon
    if b.terminal != terminal or b.nonce != nonce:
        return Verdict.OTHER_SUBJECT
    message = beacon_message(signed.kid, b.terminal, b.nonce, b.ts)
    return check_issued(bundle, signed.kid, "B", message, signed.sig)


def check_revocations(signed: SignedRevocations, bundle: Bundle, epoch: int) -> Verdict:
    """For a terminal at revocation epoch `epoch`: STALE if it leads nowhere new or skips something."""
    verdict = check_issued(
        bundle, signed.kid, "L", revocations_message(signed.kid, signed.list_raw), signed.sig
    )
    if verdict is not Verdict.ACCEPTED:
        return verdict
    delta = signed.revocations
    return Verdict.ACCEPTED if delta.base_epoch <= epoch < delta.epoch else Verdict.STALE
