"""The payer's side: whether a terminal's request, receipt or void is what it says.

API: `decode_request(text)`, `check_request(signed, facts) -> RequestJudgement`, `request_key(signed)` (the pair
that names a request), `decode_receipt(text)`, `check_receipt(signed, bundle, voucher)`,
`decode_void(text)`, `check_void(signed, bundle, voucher)`, `check_void_signature(signed, bundle)`. No function raises for anything in the input.

`check_request` asks, in this order: the certificate's key and signature, the certificate's date, the
request's signature, the allowance's currency and dates, then its limits. The device asks afterwards, in its
own transaction, whether (terminal, nonce) was answered before (OV_REQUEST_REUSED).
"""

from dataclasses import dataclass

from offline.model import Allowance, Bundle
from offline.signing import (
    algorithm_of,
    receipt_message,
    request_message,
    sha256,
    verify_signature,
    void_message,
)
from offline.trust import check_certificate
from offline.verdicts import Refused, Verdict
from offline.wire import SignedReceipt, SignedRequest, SignedVoid, SignedVoucher


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerFacts:
    """What a payer's device holds against a request.

    counter and cum are those of its last RESERVED payload (0 and 0 before the first). allowance None
    asks only who is asking, for showing the name before there is anything to spend.
    """

    bundle: Bundle
    now_s: int
    allowance: Allowance | None = None
    counter: int = 0
    cum: int = 0
    fresh_s: int = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestJudgement:
    """`stale`: the request's ts is further than `fresh_s` from now. A warning, never a refusal."""

    verdict: Verdict
    stale: bool = False


def decode_request(text: str) -> SignedRequest | Verdict:
    try:
        return SignedRequest.from_text(text)
    except Refused as refused:
        return refused.verdict


def decode_receipt(text: str) -> SignedReceipt | Verdict:
    try:
        return SignedReceipt.from_text(text)
    except Refused as refused:
        return refused.verdict


def decode_void(text: str) -> SignedVoid | Verdict:
    try:
        return SignedVoid.from_text(text)
    except Refused as refused:
        return refused.verdict


def request_key(signed: SignedRequest) -> tuple[bytes, bytes]:
    """(terminal, SHA-256(req)): the same pair shows the same voucher for ever."""
    return signed.cert.terminal, sha256(signed.body_raw)


def check_request(signed: SignedRequest, facts: PayerFacts) -> RequestJudgement:
    """Whether the device may offer to pay this request; the first failure is the verdict."""
    stale = abs(facts.now_s - signed.body.ts) > facts.fresh_s
    verdict = _asker(signed, facts) or _affordable(signed, facts) or Verdict.ACCEPTED
    return RequestJudgement(verdict=verdict, stale=stale)


def _asker(signed: SignedRequest, facts: PayerFacts) -> Verdict | None:
    verdict = check_certificate(
        signed.kid, signed.cert_raw, signed.sig_cert, facts.bundle, facts.now_s
    )
    if verdict is not Verdict.ACCEPTED:
        return verdict
    if facts.now_s > signed.cert.not_after:
        return Verdict.CERTIFICATE_EXPIRED
    if not _by_terminal(signed, request_message(signed.cert_raw, signed.body_raw)):
        return Verdict.REQUEST_SIGNATURE
    return None


def _affordable(signed: SignedRequest, facts: PayerFacts) -> Verdict | None:
    a, req = facts.allowance, signed.body
    if a is None:
        return None
    if req.ccy != a.ccy:
        return Verdict.CURRENCY_MISMATCH
    if facts.now_s < a.not_before:
        return Verdict.NOT_YET_VALID
    if facts.now_s > a.spend_until:
        return Verdict.ALLOWANCE_EXPIRED
    if req.amount > a.cap_each:
        return Verdict.OVER_VOUCHER_LIMIT
    if facts.counter + 1 > a.max_count:
        return Verdict.COUNTER_RANGE
    if facts.cum + req.amount > a.cap_total:
        return Verdict.OVER_ALLOWANCE_CAP
    return None


def _by_terminal(signed: SignedRequest | SignedReceipt | SignedVoid, message: bytes) -> bool:
    key = signed.cert.terminal_key
    return verify_signature(algorithm_of(key), key, message, signed.sig)


def _about(
    signed: SignedReceipt | SignedVoid, message: bytes, bundle: Bundle, voucher: SignedVoucher
) -> Verdict:
    """The certificate's and the body's signatures, and that both speak of this very voucher.

    No dates: a receipt stays true when the certificate has run out.
    """
    verdict = check_certificate(signed.kid, signed.cert_raw, signed.sig_cert, bundle)
    if verdict is not Verdict.ACCEPTED:
        return verdict
    if not _by_terminal(signed, message):
        return Verdict.SIGNATURE
    cert, body, v = signed.cert, signed.body, voucher.voucher
    same = (
        cert.terminal == v.terminal
        and cert.payee == v.payee
        and body.h == voucher.h
        and body.aid == voucher.allowance.aid
        and body.counter == v.counter
    )
    return Verdict.ACCEPTED if same else Verdict.OTHER_SUBJECT


def check_receipt(signed: SignedReceipt, bundle: Bundle, voucher: SignedVoucher) -> Verdict:
    """Whether the payee's own terminal says that `voucher` is durable there."""
    return _about(signed, receipt_message(signed.cert_raw, signed.body_raw), bundle, voucher)


def check_void(signed: SignedVoid, bundle: Bundle, voucher: SignedVoucher) -> Verdict:
    """Whether the payee's own terminal gives `voucher` back. For payer and server alike.

    The server, which may not know V yet, first asks `check_void_signature`.
    """
    return _about(signed, void_message(signed.cert_raw, signed.body_raw), bundle, voucher)


def check_void_signature(signed: SignedVoid, bundle: Bundle) -> Verdict:
    """The certificate's and the void's signatures alone: V need not be known yet."""
    verdict = check_certificate(signed.kid, signed.cert_raw, signed.sig_cert, bundle)
    if verdict is not Verdict.ACCEPTED:
        return verdict
    if not _by_terminal(signed, void_message(signed.cert_raw, signed.body_raw)):
        return Verdict.SIGNATURE
    return Verdict.ACCEPTED
