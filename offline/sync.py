"""The sync conversation: a terminal's signed batch of journal rows and the server's signed answer.

API: `Header`, `SeqRow`, `SyncBody`, `SyncRequest`, `ItemResult`, `SyncAnswer`, `SignedAnswer`;
`body_bytes`/`read_body`, `answer_bytes`/`read_answer`, `SyncRequest.of/.to_bytes/.from_bytes`,
`SignedAnswer.of/.to_bytes/.from_bytes` (all raising `Refused`); `check_sync_request(request, terminal_key)`,
`check_sync_answer(signed, bundle, request)` returning verdicts.

Bytes: body `[1, [epoch, acked_seq, head_seq, head, applied, beacon_nonce], [[seq, row], ...]]`; request
`[1, terminal, server_nonce, body, sig]` (S, by the registered terminal key); answer `[1, epoch, verdict,
[[seq, row hash, result], ...], acked_seq, acked_head, revocations, bundle_version, beacon, next_nonce,
server_time]`; wire `[1, kid, answer, sig]` (Y, by an issuer key of usage Y).

Order checked while reading: at most 500 rows, seqs rising by one. Whether the batch starts at <= acked + 1
and chains is the server's to ask (OV_JOURNAL_GAP): it needs the stored chain. Rows stay bytes here, so that
one bad row is one bad item (`journal.decode_row`), not a lost batch.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from offline.armour import MAX_TEXT, within
from offline.cbor import array, encode, fields, octets, octets_to, text, uint
from offline.fields import sized
from offline.journal import EPOCH_SIZE, MAX_ROW
from offline.model import (
    HASH_SIZE,
    KID_SIZE,
    NONCE_SIZE,
    SERVER_NONCE_SIZE,
    SIGNATURE_SIZE,
    TERMINAL_SIZE,
    Bundle,
)
from offline.signing import (
    algorithm_of,
    sync_answer_message,
    sync_request_message,
    verify_signature,
)
from offline.trust import check_issued
from offline.verdicts import Refused, Verdict
from offline.wire import MAX_REVOCATIONS

MAX_ROWS: Final = 500
MAX_BODY: Final = MAX_ROWS * (MAX_ROW + 16) + 256
MAX_REQUEST: Final = MAX_BODY + 256
MAX_ANSWER: Final = MAX_ROWS * 128 + MAX_REVOCATIONS + 2 * MAX_TEXT
_VERDICTS: Final = frozenset(str(verdict) for verdict in Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where the terminal's journal stands.

    acked_seq: the highest row that an applied answer acknowledged. head_seq, head: its last row and that
    row's chain hash (0 and 32 zeros: none). applied: the highest revocation epoch journalled anywhere up
    to head_seq. beacon_nonce: fresh for every request; only a beacon for it counts.
    """

    epoch: bytes
    acked_seq: int
    head_seq: int
    head: bytes
    applied: int
    beacon_nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqRow:
    """One journal row as its bytes."""

    seq: int
    row: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncBody:
    header: Header
    rows: tuple[SeqRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """[1, terminal, server_nonce, body, sig]. server_nonce is the server's: one use, five minutes."""

    terminal: bytes
    server_nonce: bytes
    body_raw: bytes
    sig: bytes
    body: SyncBody

    @classmethod
    def of(cls, terminal: bytes, server_nonce: bytes, body_raw: bytes, sig: bytes) -> Self:
        return cls(
            terminal=octets(terminal, TERMINAL_SIZE),
            server_nonce=octets(server_nonce, SERVER_NONCE_SIZE),
            body_raw=body_raw,
            sig=octets(sig, SIGNATURE_SIZE),
            body=read_body(body_raw),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_REQUEST), 5)
        return cls.of(
            octets(f[1], TERMINAL_SIZE),
            octets(f[2], SERVER_NONCE_SIZE),
            octets_to(f[3], MAX_BODY),
            octets(f[4], SIGNATURE_SIZE),
        )

    def to_bytes(self) -> bytes:
        return encode([1, self.terminal, self.server_nonce, self.body_raw, self.sig])


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What became of one row; applied only where (seq, row_hash) is the terminal's own chain."""

    seq: int
    row_hash: bytes
    result: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAnswer:
    """`verdict` is the batch's: ACCEPTED, JOURNAL_GAP, JOURNAL_FORK or REVOCATION_NOT_APPLIED.

    revocations: a SignedRevocations wire, or empty. beacon: a SignedBeacon wire for the header's
    beacon_nonce. acked_head: the server's chain hash at (epoch, acked_seq).
    """

    epoch: bytes
    verdict: Verdict
    items: tuple[ItemResult, ...]
    acked_seq: int
    acked_head: bytes
    revocations: bytes
    bundle_version: int
    beacon: bytes
    next_nonce: bytes
    server_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAnswer:
    """[1, kid, answer, sig]."""

    kid: bytes
    answer_raw: bytes
    sig: bytes
    answer: SyncAnswer

    @classmethod
    def of(cls, kid: bytes, answer_raw: bytes, sig: bytes) -> Self:
        return cls(
            kid=octets(kid, KID_SIZE),
            answer_raw=answer_raw,
            sig=octets(sig, SIGNATURE_SIZE),
            answer=read_answer(answer_raw),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_ANSWER + 128), 4)
        return cls.of(
            octets(f[1], KID_SIZE), octets_to(f[2], MAX_ANSWER), octets(f[3], SIGNATURE_SIZE)
        )

    def to_bytes(self) -> bytes:
        return encode([1, self.kid, self.answer_raw, self.sig])


def _header(value: object) -> Header:
    f = sized(value, 6)
    acked_seq, head_seq = uint(f[1]), uint(f[2])
    if acked_seq > head_seq:
        raise Refused(Verdict.MALFORMED, "acked beyond head")
    return Header(
        epoch=octets(f[0], EPOCH_SIZE),
        acked_seq=acked_seq,
        head_seq=head_seq,
        head=octets(f[3], HASH_SIZE),
        applied=uint(f[4]),
        beacon_nonce=octets(f[5], NONCE_SIZE),
    )


def _row(value: object) -> SeqRow:
    f = sized(value, 2)
    return SeqRow(seq=uint(f[0], 1), row=octets_to(f[1], MAX_ROW))


def _body(f: list[object]) -> SyncBody:
    header = _header(f[1])
    rows = tuple(_row(item) for item in array(f[2], MAX_ROWS))
    if any(after.seq != before.seq + 1 for before, after in pairwise(rows)):
        raise Refused(Verdict.MALFORMED, "rows out of order")
    if rows and rows[-1].seq > header.head_seq:
        raise Refused(Verdict.MALFORMED, "row beyond head")
    return SyncBody(header=header, rows=rows)


def body_bytes(body: SyncBody) -> bytes:
    h = body.header
    items: list[object] = [
        1,
        [h.epoch, h.acked_seq, h.head_seq, h.head, h.applied, h.beacon_nonce],
        [[row.seq, row.row] for row in body.rows],
    ]
    _body(items)
    return encode(items)


def read_body(data: bytes) -> SyncBody:
    return _body(fields(within(data, MAX_BODY), 3))


def _verdict(value: object) -> Verdict:
    name = text(value)
    if name not in _VERDICTS:
        raise Refused(Verdict.UNSUPPORTED_VERSION, "verdict")
    return Verdict(name)


def _item(value: object) -> ItemResult:
    f = sized(value, 3)
    return ItemResult(seq=uint(f[0], 1), row_hash=octets(f[1], HASH_SIZE), result=_verdict(f[2]))


def _answer(f: list[object]) -> SyncAnswer:
    items = tuple(_item(item) for item in array(f[3], MAX_ROWS))
    if any(after.seq <= before.seq for before, after in pairwise(items)):
        raise Refused(Verdict.MALFORMED, "items out of order")
    return SyncAnswer(
        epoch=octets(f[1], EPOCH_SIZE),
        verdict=_verdict(f[2]),
        items=items,
        acked_seq=uint(f[4]),
        acked_head=octets(f[5], HASH_SIZE),
        revocations=octets_to(f[6], MAX_REVOCATIONS),
        bundle_version=uint(f[7]),
        beacon=octets_to(f[8], MAX_TEXT),
        next_nonce=octets(f[9], SERVER_NONCE_SIZE),
        server_time=uint(f[10]),
    )


def answer_bytes(a: SyncAnswer) -> bytes:
    items: list[object] = [
        1,
        a.epoch,
        str(a.verdict),
        [[item.seq, item.row_hash, str(item.result)] for item in a.items],
        a.acked_seq,
        a.acked_head,
        a.revocations,
        a.bundle_version,
        a.beacon,
        a.next_nonce,
        a.server_time,
    ]
    _answer(items)
    return encode(items)


def read_answer(data: bytes) -> SyncAnswer:
    return _answer(fields(within(data, MAX_ANSWER), 11))


def check_sync_request(request: SyncRequest, terminal_key: bytes) -> Verdict:
    """S by the key registered for `request.terminal`, not the certificate's. The nonce is the server's to ask."""
    message = sync_request_message(request.terminal, request.server_nonce, request.body_raw)
    if verify_signature(algorithm_of(terminal_key), terminal_key, message, request.sig):
        return Verdict.ACCEPTED
    return Verdict.SIGNATURE


def check_sync_answer(signed: SignedAnswer, bundle: Bundle, request: SyncRequest) -> Verdict:
    """Y over this very request and answer, by an issuer key of usage Y; the epoch must be the request's."""
    message = sync_answer_message(
        signed.kid, request.terminal, request.server_nonce, request.body_raw, signed.answer_raw
    )
    verdict = check_issued(bundle, signed.kid, "Y", message, signed.sig)
    if verdict is Verdict.ACCEPTED and signed.answer.epoch != request.body.header.epoch:
        return Verdict.OTHER_SUBJECT
    return verdict
