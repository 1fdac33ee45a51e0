"""Each OV1 body to its bytes and back, with every rule that its own fields can break.

API: for each body a pair `x_bytes(x) -> bytes` and `read_x(data) -> X`, both raising `Refused`:
allowance, voucher, certificate, request, receipt, void, bundle, revocations. One shape check per body serves
both directions, so nothing can be written that could not be read.

Decided here: mcc is 0..9999; algorithm values 2 and 3 and any flag above bit 1 are
OV_UNSUPPORTED_VERSION; a void's reason is `refused` or `returned`; a bundle has 1..16 entries with distinct
kids and 0..16 policies; a revocation list has at most 4,096 aids.
"""

from typing import Final

from offline.cbor import array, encode, fields, octets, positive, text, uint
from offline.fields import algorithm_of, currency, name, public_key, sized
from offline.model import (
    AID_SIZE,
    HASH_SIZE,
    KID_SIZE,
    MAX_COUNTER,
    NONCE_SIZE,
    PAYEE_SIZE,
    PREV_SIZE,
    TERMINAL_SIZE,
    Algorithm,
    Allowance,
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
from offline.verdicts import Refused, Verdict

MAX_BUNDLE_ENTRIES: Final = 16
MAX_POLICIES: Final = 16
MAX_REVOKED: Final = 4_096
USAGES: Final = "ABCLY"
KEY_SIZES: Final = {Algorithm.ED25519: 32, Algorithm.P256: 33}
_VOID_REASONS: Final = frozenset(str(reason) for reason in VoidReason)
_VERSION: Final = 1


def _allowance(f: list[object]) -> Allowance:
    flags = uint(f[10])
    key = public_key(f[2])
    if flags > 1:  # bits 2 and up are unknown, and so are algorithms 2 and 3
        raise Refused(Verdict.UNSUPPORTED_VERSION, "flags")
    cap_total, cap_each = positive(f[4]), positive(f[5])
    not_before, spend_until, settle_until = uint(f[7]), uint(f[8]), uint(f[9])
    if algorithm_of(key) != flags or cap_each > cap_total:
        raise Refused(Verdict.MALFORMED, "key length or caps")
    if not not_before <= spend_until <= settle_until:
        raise Refused(Verdict.MALFORMED, "dates out of order")
    return Allowance(
        aid=octets(f[1], AID_SIZE),
        device_key=key,
        ccy=currency(f[3]),
        cap_total=cap_total,
        cap_each=cap_each,
        max_count=uint(f[6], 1, MAX_COUNTER),
        not_before=not_before,
        spend_until=spend_until,
        settle_until=settle_until,
        flags=flags,
    )


def allowance_bytes(a: Allowance) -> bytes:
    items: list[object] = [
        _VERSION, a.aid, a.device_key, a.ccy, a.cap_total, a.cap_each, a.max_count,
        a.not_before, a.spend_until, a.settle_until,
        int(a.flags) if type(a.flags) is Algorithm else a.flags,
    ]  # fmt: skip
    _allowance(items)
    return encode(items)


def read_allowance(data: bytes) -> Allowance:
    return _allowance(fields(data, 11))


def _voucher(f: list[object]) -> Voucher:
    return Voucher(
        counter=uint(f[1], 1, MAX_COUNTER),
        amount=positive(f[2]),
        cum=positive(f[3]),
        payee=octets(f[4], PAYEE_SIZE),
        terminal=octets(f[5], TERMINAL_SIZE),
        nonce=octets(f[6], NONCE_SIZE),
        ts=uint(f[7]),
        prev=octets(f[8], PREV_SIZE),
    )


def voucher_bytes(v: Voucher) -> bytes:
    items: list[object] = [
        _VERSION, v.counter, v.amount, v.cum, v.payee, v.terminal, v.nonce, v.ts, v.prev,
    ]  # fmt: skip
    _voucher(items)
    return encode(items)


def read_voucher(data: bytes) -> Voucher:
    return _voucher(fields(data, 9))


def _certificate(f: list[object]) -> Certificate:
    return Certificate(
        terminal=octets(f[1], TERMINAL_SIZE),
        payee=octets(f[2], PAYEE_SIZE),
        terminal_key=public_key(f[3]),
        name=name(f[4]),
        mcc=uint(f[5], 0, 9_999),
        not_after=uint(f[6]),
    )


def certificate_bytes(c: Certificate) -> bytes:
    items: list[object] = [
        _VERSION, c.terminal, c.payee, c.terminal_key, c.name, c.mcc, c.not_after,
    ]  # fmt: skip
    _certificate(items)
    return encode(items)


def read_certificate(data: bytes) -> Certificate:
    return _certificate(fields(data, 7))


def _request(f: list[object]) -> PaymentRequest:
    return PaymentRequest(
        amount=positive(f[1]),
        ccy=currency(f[2]),
        nonce=octets(f[3], NONCE_SIZE),
        ts=uint(f[4]),
    )


def request_bytes(r: PaymentRequest) -> bytes:
    items: list[object] = [_VERSION, r.amount, r.ccy, r.nonce, r.ts]
    _request(items)
    return encode(items)


def read_request(data: bytes) -> PaymentRequest:
    return _request(fields(data, 5))


def _receipt(f: list[object]) -> Receipt:
    return Receipt(
        aid=octets(f[1], AID_SIZE),
        counter=uint(f[2], 1, MAX_COUNTER),
        h=octets(f[3], HASH_SIZE),
        seq=positive(f[4]),
        head=octets(f[5], PREV_SIZE),
        ts=uint(f[6]),
    )


def receipt_bytes(r: Receipt) -> bytes:
    items: list[object] = [_VERSION, r.aid, r.counter, r.h, r.seq, r.head, r.ts]
    _receipt(items)
    return encode(items)


def read_receipt(data: bytes) -> Receipt:
    return _receipt(fields(data, 7))


def _void(f: list[object]) -> Void:
    reason = text(f[5])
    if reason not in _VOID_REASONS:
        raise Refused(Verdict.MALFORMED, "void reason")
    return Void(
        aid=octets(f[1], AID_SIZE),
        counter=uint(f[2], 1, MAX_COUNTER),
        h=octets(f[3], HASH_SIZE),
        seq=positive(f[4]),
        reason=VoidReason(reason),
        ts=uint(f[6]),
    )


def void_bytes(v: Void) -> bytes:
    items: list[object] = [_VERSION, v.aid, v.counter, v.h, v.seq, str(v.reason), v.ts]
    _void(items)
    return encode(items)


def read_void(data: bytes) -> Void:
    return _void(fields(data, 7))


def _entry(value: object) -> BundleEntry:
    f = sized(value, 6)
    alg = uint(f[1])
    if alg not in KEY_SIZES:
        raise Refused(Verdict.UNSUPPORTED_VERSION, "algorithm")
    key, usages = public_key(f[2]), text(f[3])
    not_before, not_after = uint(f[4]), uint(f[5])
    if len(key) != KEY_SIZES[Algorithm(alg)] or not_before > not_after:
        raise Refused(Verdict.MALFORMED, "key length or dates")
    if list(usages) != sorted(set(usages)) or not set(usages) <= set(USAGES):
        raise Refused(Verdict.MALFORMED, "usages")
    return BundleEntry(
        kid=octets(f[0], KID_SIZE),
        alg=Algorithm(alg),
        key=key,
        usages=usages,
        not_before=not_before,
        not_after=not_after,
    )


def _risk(value: object) -> Risk:
    f = sized(value, 10)
    risk = Risk(
        soft_sum=positive(f[0]),
        hard_sum=positive(f[1]),
        allowance_sum=positive(f[2]),
        void_each=uint(f[3]),
        soft_age_s=positive(f[4]),
        hard_age_s=positive(f[5]),
        online_in=positive(f[6]),
        clock_behind_s=positive(f[7]),
        clock_ahead_s=positive(f[8]),
        request_ttl_s=positive(f[9]),
    )
    if risk.soft_sum > risk.hard_sum or risk.soft_age_s > risk.hard_age_s:
        raise Refused(Verdict.MALFORMED, "a soft limit above its hard one")
    return risk


def _policy(value: object) -> Policy:
    f = sized(value, 5)
    return Policy(
        ccy=currency(f[0]),
        cap_each=positive(f[1]),
        cap_total=positive(f[2]),
        life_s=positive(f[3]),
        risk=_risk(f[4]),
    )


def policy_items(p: Policy) -> list[object]:
    """A policy as it stands in a bundle."""
    r = p.risk
    risk = [
        r.soft_sum, r.hard_sum, r.allowance_sum, r.void_each, r.soft_age_s, r.hard_age_s,
        r.online_in, r.clock_behind_s, r.clock_ahead_s, r.request_ttl_s,
    ]  # fmt: skip
    return [p.ccy, p.cap_each, p.cap_total, p.life_s, risk]


def read_policy(value: object) -> Policy:
    """The other way; raises Refused."""
    return _policy(value)


def _bundle(f: list[object]) -> Bundle:
    entries = tuple(_entry(item) for item in array(f[3], MAX_BUNDLE_ENTRIES))
    policies = tuple(_policy(item) for item in array(f[4], MAX_POLICIES))
    names = [policy.ccy for policy in policies]
    if not entries or len({entry.kid for entry in entries}) != len(entries):
        raise Refused(Verdict.MALFORMED, "entries")
    if names != sorted(set(names)):
        raise Refused(Verdict.MALFORMED, "policies out of order")
    return Bundle(
        version=positive(f[1]),
        root_kid=octets(f[2], KID_SIZE),
        entries=entries,
        policies=policies,
    )


def bundle_bytes(b: Bundle) -> bytes:
    items: list[object] = [
        _VERSION,
        b.version,
        b.root_kid,
        [[e.kid, int(e.alg), e.key, e.usages, e.not_before, e.not_after] for e in b.entries],
        [policy_items(p) for p in b.policies],
    ]
    _bundle(items)
    return encode(items)


def read_bundle(data: bytes) -> Bundle:
    return _bundle(fields(data, 5))


def _revocations(f: list[object]) -> Revocations:
    epoch, base_epoch = uint(f[1]), uint(f[2])
    aids = tuple(octets(item, AID_SIZE) for item in array(f[3], MAX_REVOKED))
    if base_epoch > epoch or list(aids) != sorted(set(aids)):
        raise Refused(Verdict.MALFORMED, "epochs or aids out of order")
    return Revocations(epoch=epoch, base_epoch=base_epoch, aids=aids)


def revocations_bytes(r: Revocations) -> bytes:
    items: list[object] = [_VERSION, r.epoch, r.base_epoch, list(r.aids)]
    _revocations(items)
    return encode(items)


def read_revocations(data: bytes) -> Revocations:
    return _revocations(fields(data, 4))
