from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import codec
from offline.cbor import MAX_UINT, decode_strict, encode
from offline.model import (
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
from tests.offline import hostile, kit

UINT = st.integers(0, MAX_UINT)
POSITIVE = st.integers(1, MAX_UINT)
COUNTER = st.integers(1, 65_535)
CCY = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
ED_KEY = st.binary(min_size=32, max_size=32)
P_KEY = st.builds(lambda head, x: head + x, st.sampled_from([b"\x02", b"\x03"]), ED_KEY)


def octets(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@st.composite
def allowances(draw: Any) -> Allowance:
    key = draw(ED_KEY | P_KEY)
    each, total = sorted(draw(st.tuples(POSITIVE, POSITIVE)))
    dates = sorted(draw(st.tuples(UINT, UINT, UINT)))
    return Allowance(
        aid=draw(octets(16)), device_key=key, ccy=draw(CCY), cap_total=total, cap_each=each,
        max_count=draw(COUNTER), not_before=dates[0], spend_until=dates[1], settle_until=dates[2],
        flags=0 if len(key) == 32 else 1,
    )  # fmt: skip


VOUCHERS = st.builds(
    Voucher, counter=COUNTER, amount=POSITIVE, cum=POSITIVE, payee=octets(8), terminal=octets(4),
    nonce=octets(8), ts=UINT, prev=octets(8),
)  # fmt: skip
CERTIFICATES = st.builds(
    Certificate, terminal=octets(4), payee=octets(8), terminal_key=ED_KEY | P_KEY,
    name=st.text("abc चाय घर\u200d£", min_size=1, max_size=8), mcc=st.integers(0, 9_999), not_after=UINT,
)  # fmt: skip
REQUESTS = st.builds(PaymentRequest, amount=POSITIVE, ccy=CCY, nonce=octets(8), ts=UINT)
RECEIPTS = st.builds(
    Receipt, aid=octets(16), counter=COUNTER, h=octets(32), seq=POSITIVE, head=octets(8), ts=UINT
)
VOIDS = st.builds(
    Void, aid=octets(16), counter=COUNTER, h=octets(32), seq=POSITIVE,
    reason=st.sampled_from(VoidReason), ts=UINT,
)  # fmt: skip
ENTRIES = st.builds(
    lambda kid, key, usages, dates: BundleEntry(
        kid=kid, alg=Algorithm(len(key) - 32), key=key, usages="".join(sorted(usages)),
        not_before=min(dates), not_after=max(dates),
    ),
    octets(2), ED_KEY | P_KEY, st.sets(st.sampled_from("ABCLY"), min_size=1), st.tuples(UINT, UINT),
)  # fmt: skip
RISKS = st.builds(
    lambda sums, ages, void, rest: Risk(
        soft_sum=min(sums), hard_sum=max(sums), soft_age_s=min(ages), hard_age_s=max(ages),
        void_each=void, allowance_sum=rest[0], online_in=rest[1], clock_behind_s=rest[2],
        clock_ahead_s=rest[3], request_ttl_s=rest[4],
    ),
    st.tuples(POSITIVE, POSITIVE), st.tuples(POSITIVE, POSITIVE), UINT,
    st.tuples(*[POSITIVE] * 5),
)  # fmt: skip
POLICIES = st.builds(
    Policy, ccy=CCY, cap_each=POSITIVE, cap_total=POSITIVE, life_s=POSITIVE, risk=RISKS
)
BUNDLES = st.builds(
    lambda version, kid, entries, policies: Bundle(
        version=version, root_kid=kid, entries=tuple(entries),
        policies=tuple(sorted(policies, key=lambda p: p.ccy)),
    ),
    POSITIVE, octets(2),
    st.lists(ENTRIES, min_size=1, max_size=5, unique_by=lambda e: e.kid),
    st.lists(POLICIES, max_size=4, unique_by=lambda p: p.ccy),
)  # fmt: skip
REVOCATIONS = st.builds(
    lambda epochs, aids: Revocations(
        epoch=max(epochs), base_epoch=min(epochs), aids=tuple(sorted(aids))
    ),
    st.tuples(UINT, UINT),
    st.sets(octets(16), max_size=9),
)
PAIRS = {
    "allowance": (allowances(), codec.allowance_bytes, codec.read_allowance),
    "voucher": (VOUCHERS, codec.voucher_bytes, codec.read_voucher),
    "certificate": (CERTIFICATES, codec.certificate_bytes, codec.read_certificate),
    "request": (REQUESTS, codec.request_bytes, codec.read_request),
    "receipt": (RECEIPTS, codec.receipt_bytes, codec.read_receipt),
    "void": (VOIDS, codec.void_bytes, codec.read_void),
    "bundle": (BUNDLES, codec.bundle_bytes, codec.read_bundle),
    "revocations": (REVOCATIONS, codec.revocations_bytes, codec.read_revocations),
}


@pytest.mark.parametrize("kind", PAIRS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(kind: str, data: st.DataObject):
    values, write, read = PAIRS[kind]
    value = data.draw(values)
    raw = write(value)
    assert read(raw) == value
    assert write(read(raw)) == raw


@pytest.mark.parametrize("kind", PAIRS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_two_byte_strings_never_mean_the_same(kind: str, data: st.DataObject):
    """Whatever a change of bytes reads as, it is written back as those very bytes."""
    good, read = hostile.BODIES[kind]
    at, size = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 2))
    changed = good[:at] + data.draw(st.binary(max_size=3)) + good[at + size :]
    try:
        value = read(changed)
    except Refused:
        return
    assert PAIRS[kind][1](value) == changed


@given(data=st.binary(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_an_array_or_a_verdict(data: bytes):
    try:
        value = decode_strict(data)
    except Refused as refused:
        assert refused.verdict in {Verdict.MALFORMED, Verdict.NON_CANONICAL}  # noqa: PT017
    else:
        assert encode(value) == data


ITEMS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**70), 2**70) | st.binary(max_size=5)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def ours(value: Any) -> bool:
    if type(value) is list:
        return all(ours(item) for item in value)
    if type(value) is int:
        return 0 <= value <= MAX_UINT
    return type(value) in {bytes, str}


@given(value=st.lists(ITEMS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_only_four_types_exist(value: list[Any]):
    raw = cbor2.dumps(value, canonical=True)
    if ours(value):
        assert decode_strict(raw) == value
    else:
        with pytest.raises(Refused) as refused:
            decode_strict(raw)
        assert refused.value.verdict is Verdict.MALFORMED


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        ("81c24101", Verdict.MALFORMED),  # a bignum that decodes to a plain 1
        ("82811801c24101", Verdict.MALFORMED),
        ("9fc2410101ff", Verdict.MALFORMED),
        ("825f4101ffc24101", Verdict.MALFORMED),
        ("81d81c8101", Verdict.MALFORMED),  # a shareable array
        ("825f4101ff01", Verdict.NON_CANONICAL),
        ("827f6161ff01", Verdict.NON_CANONICAL),
        ("819f01ff", Verdict.NON_CANONICAL),
        ("8158020000", Verdict.NON_CANONICAL),
        ("80c24101", Verdict.NON_CANONICAL),  # whatever stands behind the end
        ("81" * 500 + "01", Verdict.MALFORMED),
        ("01", Verdict.MALFORMED),
        ("", Verdict.MALFORMED),
        ("9bffffffffffffffff", Verdict.MALFORMED),
        ("81c1fb7fffffffffffffff", Verdict.MALFORMED),  # a date beyond the calendar
    ],
)
def test_a_tag_is_malformed_and_a_long_form_non_canonical(raw: str, verdict: Verdict):
    with pytest.raises(Refused) as refused:
        decode_strict(bytes.fromhex(raw))
    assert refused.value.verdict is verdict


@pytest.mark.parametrize("amount", [0, -1, True, 1.0, "1", None, 2**53, 2**53 + 1, 2**63])
def test_a_wrong_amount_cannot_be_written(amount: Any):
    for broken, write in [
        (replace(kit.voucher(), amount=amount), codec.voucher_bytes),
        (replace(kit.voucher(), cum=amount), codec.voucher_bytes),
        (replace(kit.request(), amount=amount), codec.request_bytes),
        (replace(kit.allowance(), cap_each=amount), codec.allowance_bytes),
    ]:
        with pytest.raises(Refused) as refused:
            write(broken)
        assert refused.value.verdict is Verdict.MALFORMED


@pytest.mark.parametrize("amount", [1, 2**31, 2**53 - 1])
def test_every_amount_between_is_exact(amount: int):
    raw = codec.voucher_bytes(kit.voucher(amount=amount))
    assert codec.read_voucher(raw).amount == amount


def test_flags_may_be_given_as_the_algorithm():
    device = kit.P256_DEVICE
    raw = codec.allowance_bytes(kit.allowance(device, flags=Algorithm.P256))
    assert codec.read_allowance(raw).algorithm is Algorithm.P256
    with pytest.raises(Refused):
        codec.allowance_bytes(kit.allowance(device, flags=True))


@pytest.mark.parametrize("raw", ["80", "816131", "814101", "8180"])
def test_a_body_begins_with_its_version(raw: str):
    with pytest.raises(Refused) as refused:
        codec.read_voucher(bytes.fromhex(raw))
    assert refused.value.verdict is Verdict.MALFORMED


def test_a_refusal_says_its_verdict():
    assert str(Refused(Verdict.MALFORMED)) == "OV_MALFORMED"
