from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import journal, sync
from offline.verdicts import Refused, Verdict
from offline.wire import SignedAllowance, SignedBeacon, SignedRevocations
from tests.offline import kit

HASH = st.binary(min_size=32, max_size=32)
UINT = st.integers(0, 2**53 - 1)
ROWS = st.one_of(
    st.builds(journal.Accept, signed=st.just(kit.signed_voucher()), accepted_at=UINT),
    st.builds(
        journal.Close, nonce=st.binary(min_size=8, max_size=8),
        reason=st.sampled_from(journal.CloseReason), closed_at=UINT,
    ),
    st.builds(journal.VoidRow, nonce=st.just(kit.NONCE), signed=st.just(kit.signed_void())),
    st.builds(journal.Apply, epoch=UINT),
    st.builds(
        journal.NewEpoch, new_epoch=st.binary(min_size=8, max_size=8),
        old_epoch=st.binary(min_size=8, max_size=8), old_seq=UINT, old_chain=HASH,
    ),
)  # fmt: skip


@given(row=ROWS)
@settings(max_examples=60, deadline=None)
def test_rows_are_read_back(row: journal.Row):
    data = journal.row_bytes(row)
    assert journal.decode_row(data) == row
    assert len(data) <= journal.MAX_ROW


@pytest.mark.parametrize("number", range(5))
def test_a_changed_row_reads_as_itself_or_not_at_all(number: int):
    good = journal.row_bytes(kit.rows()[number])
    for at in range(len(good)):
        for bit in (1, 32, 128):
            changed = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            row = journal.decode_row(changed)
            assert isinstance(row, Verdict) or journal.row_bytes(row) == changed


@pytest.mark.parametrize(
    ("items", "verdict"),
    [
        ([], Verdict.MALFORMED),
        ([1], Verdict.MALFORMED),
        (["1", 4, 3], Verdict.MALFORMED),
        ([1, "4", 3], Verdict.MALFORMED),
        ([2, 4, 3], Verdict.UNSUPPORTED_VERSION),
        ([1, 6, 3], Verdict.UNSUPPORTED_VERSION),
        ([1, 4], Verdict.MALFORMED),
        ([1, 4, 3, 3], Verdict.MALFORMED),
        ([1, 4, True], Verdict.MALFORMED),
        ([1, 2, b"nonceone", "lost", 1], Verdict.MALFORMED),
        ([1, 2, b"nonce", "expired", 1], Verdict.MALFORMED),
        ([1, 1, b"no voucher", 1], Verdict.MALFORMED),
        ([1, 3, b"nonceone", kit.signed_receipt().to_bytes()], Verdict.MALFORMED),
        ([1, 5, b"12345678", b"12345678", 1, b"short"], Verdict.MALFORMED),
        ([1, 1, bytes(2_000), 1], Verdict.MALFORMED),
    ],
)
def test_rows_that_are_none(items: list[Any], verdict: Verdict):
    assert journal.decode_row(cbor2.dumps(items, canonical=True)) is verdict


def test_the_chain_binds_everything():
    given = (kit.TERMINAL, kit.EPOCH, 1, journal.GENESIS, b"row")
    links = {journal.chain(*given)}
    for at, other in enumerate((bytes(4), bytes(8), 2, b"p" * 32, b"rox")):
        links.add(journal.chain(*given[:at], other, *given[at + 1 :]))
    assert len(links) == 6
    for at, other in enumerate((b"", b"", 0, b"", b"row")):
        if at < 4:
            with pytest.raises(Refused):
                journal.chain(*given[:at], other, *given[at + 1 :])


@given(
    acked=st.integers(0, 50),
    count=st.integers(0, 5),
    data=st.lists(st.binary(max_size=40), min_size=5, max_size=5),
    more=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_bodies_are_read_back(acked: int, count: int, data: list[bytes], more: int):
    rows = tuple(sync.SeqRow(seq=acked + 1 + n, row=data[n]) for n in range(count))
    header = replace(kit.sync_body().header, acked_seq=acked, head_seq=acked + count + more)
    body = sync.SyncBody(header=header, rows=rows)
    assert sync.read_body(sync.body_bytes(body)) == body


@given(
    items=st.lists(st.tuples(HASH, st.sampled_from(Verdict)), max_size=5),
    verdict=st.sampled_from(Verdict),
    head=HASH,
)
@settings(max_examples=60, deadline=None)
def test_answers_are_read_back(items: list[tuple[bytes, Verdict]], verdict: Verdict, head: bytes):
    results = tuple(
        sync.ItemResult(seq=seq, row_hash=row_hash, result=result)
        for seq, (row_hash, result) in enumerate(items, 1)
    )
    answer = kit.sync_answer(items=results, verdict=verdict, acked_head=head)
    assert sync.read_answer(sync.answer_bytes(answer)) == answer


def body_with(**changes: Any) -> sync.SyncBody:
    return kit.sync_body(header=replace(kit.sync_body().header, **changes))


ROW = sync.SeqRow(seq=2, row=b"row")


@pytest.mark.parametrize(
    "body",
    [
        body_with(epoch=bytes(7)),
        body_with(acked_seq=6),
        body_with(head_seq=4),
        body_with(head=bytes(31)),
        body_with(applied=-1),
        body_with(beacon_nonce=bytes(9)),
        kit.sync_body(rows=(ROW, ROW)),
        kit.sync_body(rows=(ROW, replace(ROW, seq=4))),
        kit.sync_body(rows=(replace(ROW, seq=0),)),
        kit.sync_body(rows=(replace(ROW, row=bytes(2_000)),)),
        replace(
            body_with(head_seq=600),
            rows=tuple(sync.SeqRow(seq=n, row=b"r") for n in range(1, 502)),
        ),
    ],
)
def test_bodies_that_are_none(body: sync.SyncBody):
    with pytest.raises(Refused) as refused:
        sync.body_bytes(body)
    assert refused.value.verdict is Verdict.MALFORMED


def test_a_full_batch_of_the_largest_rows_fits():
    rows = tuple(sync.SeqRow(seq=n, row=bytes(journal.MAX_ROW)) for n in range(2**40, 2**40 + 500))
    body = replace(body_with(head_seq=2**50), rows=rows)
    request = kit.sync_request(body)
    assert sync.SyncRequest.from_bytes(request.to_bytes()) == request
    items = tuple(
        sync.ItemResult(seq=row.seq, row_hash=bytes(32), result=Verdict.CUMULATIVE_INCONSISTENT)
        for row in rows
    )
    aids = [n.to_bytes(16) for n in range(4_096)]
    full = kit.sync_answer(items=items, revocations=kit.signed_revocations(aids=aids).to_bytes())
    answer = kit.signed_answer(full)
    assert sync.SignedAnswer.from_bytes(answer.to_bytes()) == answer


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"items": kit.sync_answer().items[::-1]}, Verdict.MALFORMED),
        ({"verdict": "OV_NEW_THING"}, Verdict.UNSUPPORTED_VERSION),
        ({"next_nonce": bytes(8)}, Verdict.MALFORMED),
        ({"acked_head": b""}, Verdict.MALFORMED),
        ({"server_time": 1.5}, Verdict.MALFORMED),
        ({"beacon": bytes(1_201)}, Verdict.MALFORMED),
    ],
)
def test_answers_that_are_none(answer: dict[str, Any], verdict: Verdict):
    with pytest.raises(Refused) as refused:
        sync.answer_bytes(kit.sync_answer(**answer))
    assert refused.value.verdict is verdict


def test_request_signature():
    request = kit.sync_request()
    assert sync.check_sync_request(request, kit.TERM.public) is Verdict.ACCEPTED
    assert sync.check_sync_request(request, kit.DEVICE.public) is Verdict.SIGNATURE
    replayed = replace(request, server_nonce=bytes(16))
    assert sync.check_sync_request(replayed, kit.TERM.public) is Verdict.SIGNATURE
    p256 = kit.sync_request(term=kit.P256_TERM)
    assert sync.check_sync_request(p256, kit.P256_TERM.public) is Verdict.ACCEPTED


def test_answer_signature_binds_the_request():
    request, answer, bundle = kit.sync_request(), kit.signed_answer(), kit.bundle()
    assert sync.check_sync_answer(answer, bundle, request) is Verdict.ACCEPTED
    other = kit.sync_request(body_with(applied=9))
    assert sync.check_sync_answer(answer, bundle, other) is Verdict.SIGNATURE
    no_usage = kit.bundle(kit.entry(usages="ABC"))
    assert sync.check_sync_answer(answer, no_usage, request) is Verdict.ISSUER_KEY_UNKNOWN
    elsewhere = kit.signed_answer(kit.sync_answer(epoch=bytes(8)))
    assert sync.check_sync_answer(elsewhere, bundle, request) is Verdict.OTHER_SUBJECT


def test_what_an_answer_carries_is_read_strictly_too():
    answer = kit.sync_answer()
    assert SignedBeacon.from_bytes(answer.beacon) == kit.signed_beacon()
    assert SignedRevocations.from_bytes(answer.revocations) == kit.signed_revocations()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (kit.sync_request().to_bytes(), sync.SyncRequest.from_bytes),
        (kit.signed_answer().to_bytes(), sync.SignedAnswer.from_bytes),
        (kit.signed_beacon().to_bytes(), SignedBeacon.from_bytes),
        (kit.signed_revocations().to_bytes(), SignedRevocations.from_bytes),
    ],
    ids=["request", "answer", "beacon", "revocations"],
)
def test_changed_bytes_read_as_themselves_or_not_at_all(data: bytes, read: Any):
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert read(changed).to_bytes() == changed
        except Refused:
            continue
    for broken in (b"", data + b"\x00", data[:-1], "text"):
        with pytest.raises(Refused):
            read(broken)


def test_a_signed_allowance_is_read_back():
    v = kit.signed_voucher()
    signed = SignedAllowance.of(v.kid, v.allowance_raw, v.sig_a)
    assert SignedAllowance.from_bytes(signed.to_bytes()) == signed
    assert signed.allowance == v.allowance
