"""A terminal's journal: its five rows, their bytes, and the hash chain that makes it one history.

API: `Accept`, `Close`, `VoidRow`, `Apply`, `NewEpoch` (union `Row`), `CloseReason`, `row_bytes(row)`, `read_row(data)`
(raises `Refused`), `decode_row(data) -> Row | Verdict`, `chain(terminal, epoch, seq, previous, row) -> 32 B`,
`GENESIS` (previous of seq 1). seq begins at 1 in every epoch; an epoch id is 8 random bytes.

Bytes of a row: `[1, kind, ...]` with kind 1 ACCEPT `voucher wire, accepted_at`; 2 CLOSE `nonce, reason, closed_at`;
3 VOID `nonce, void wire`; 4 APPLY `revocation epoch`; 5 EPOCH `new id, old id, old seq, old chain`. A CLOSE
of `paid_online` means that the sale was paid another way; the other reasons, that it was not paid.
A terminal's first epoch has no EPOCH row; after `restore` it is the first row of the new one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from offline.armour import MAX_TEXT
from offline.cbor import decode_strict, encode, octets, octets_to, text, uint
from offline.model import HASH_SIZE, NONCE_SIZE, TERMINAL_SIZE
from offline.signing import OV1, sha256
from offline.verdicts import Refused, Verdict
from offline.wire import SignedVoid, SignedVoucher

EPOCH_SIZE: Final = 8
GENESIS: Final = bytes(HASH_SIZE)
MAX_ROW: Final = MAX_TEXT + 64
_ACCEPT, _CLOSE, _VOID, _APPLY, _EPOCH = 1, 2, 3, 4, 5
_SIZES: Final = {_ACCEPT: 4, _CLOSE: 5, _VOID: 4, _APPLY: 3, _EPOCH: 6}


class CloseReason(StrEnum):
    """Why a request ended without a voucher."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    PAID_ONLINE = "paid_online"
    RESTORED = "restored"


_REASONS: Final = frozenset(str(reason) for reason in CloseReason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """A voucher was taken at `accepted_at` (s) and shown as paid only after this row was durable."""

    signed: SignedVoucher
    accepted_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The request `nonce` takes no voucher any more."""

    nonce: bytes
    reason: CloseReason
    closed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidRow:
    """A void was signed; `nonce` is the voucher's, whose request is closed by this."""

    nonce: bytes
    signed: SignedVoid


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """The revocations up to `epoch` are in force from the next row on."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEpoch:
    """The journal goes on as `new_epoch` after row (old_epoch, old_seq), whose chain hash is named."""

    new_epoch: bytes
    old_epoch: bytes
    old_seq: int
    old_chain: bytes


Row = Accept | Close | VoidRow | Apply | NewEpoch


def row_bytes(row: Row) -> bytes:
    """The bytes that the chain and the sync request carry."""
    items: list[object]
    match row:
        case Accept():
            items = [1, _ACCEPT, row.signed.to_bytes(), uint(row.accepted_at)]
        case Close():
            items = [
                1, _CLOSE, octets(row.nonce, NONCE_SIZE), str(row.reason), uint(row.closed_at),
            ]  # fmt: skip
        case VoidRow():
            items = [1, _VOID, octets(row.nonce, NONCE_SIZE), row.signed.to_bytes()]
        case Apply():
            items = [1, _APPLY, uint(row.epoch)]
        case NewEpoch():
            items = [
                1,
                _EPOCH,
                octets(row.new_epoch, EPOCH_SIZE),
                octets(row.old_epoch, EPOCH_SIZE),
                uint(row.old_seq),
                octets(row.old_chain, HASH_SIZE),
            ]
    return encode(items)


def read_row(data: bytes) -> Row:
    """The row, with the voucher or void inside it strictly read too; raises Refused."""
    if len(data) > MAX_ROW:
        raise Refused(Verdict.MALFORMED, "size")
    f = decode_strict(data)
    if len(f) < 2 or type(f[0]) is not int or type(f[1]) is not int:
        raise Refused(Verdict.MALFORMED, "row")
    if f[0] != 1 or f[1] not in _SIZES:
        raise Refused(Verdict.UNSUPPORTED_VERSION, "row kind")
    if len(f) != _SIZES[f[1]]:
        raise Refused(Verdict.MALFORMED, "row")
    if f[1] == _ACCEPT:
        signed = SignedVoucher.from_bytes(octets_to(f[2], MAX_TEXT))
        return Accept(signed=signed, accepted_at=uint(f[3]))
    if f[1] == _CLOSE:
        reason = text(f[3])
        if reason not in _REASONS:
            raise Refused(Verdict.MALFORMED, "close reason")
        return Close(
            nonce=octets(f[2], NONCE_SIZE), reason=CloseReason(reason), closed_at=uint(f[4])
        )
    if f[1] == _VOID:
        void = SignedVoid.from_bytes(octets_to(f[3], MAX_TEXT))
        return VoidRow(nonce=octets(f[2], NONCE_SIZE), signed=void)
    if f[1] == _APPLY:
        return Apply(epoch=uint(f[2]))
    return NewEpoch(
        new_epoch=octets(f[2], EPOCH_SIZE),
        old_epoch=octets(f[3], EPOCH_SIZE),
        old_seq=uint(f[4]),
        old_chain=octets(f[5], HASH_SIZE),
    )


def decode_row(data: bytes) -> Row | Verdict:
    """`read_row` for what came from outside: a verdict where that raises."""
    try:
        return read_row(data)
    except Refused as refused:
        return refused.verdict


def chain(terminal: bytes, epoch: bytes, seq: int, previous: bytes, row: bytes) -> bytes:
    """c_seq = SHA-256(CBOR ["OV1", "J", terminal, epoch, seq, c_(seq-1), row]); `row` is its bytes."""
    return sha256(
        encode(
            [
                OV1,
                "J",
                octets(terminal, TERMINAL_SIZE),
                octets(epoch, EPOCH_SIZE),
                uint(seq, 1),
                octets(previous, HASH_SIZE),
                row,
            ]
        )
    )
