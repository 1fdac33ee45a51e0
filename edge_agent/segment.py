"""A segment of the archive: journal rows in one compressed file that names the file before it. Pure.

Bytes: a line that names the form, then zlib over CBOR `[number, terminal, previous digest, epoch, first seq,
previous chain, rows]`, a row `[bytes, written_at_s, result, receipt]`. The digest is the SHA-256 of the file.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

import cbor2

from offline.journal import chain

_FORM: Final = b"hundi-journal-segment 1\n"
_MAX: Final = 16 << 20
NO_SEGMENT: Final = bytes(32)
"""The previous digest of the first segment."""


class SegmentBroken(Exception):  # noqa: N818
    """Why a segment is not what its terminal wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRow:
    """A journal row as it left; `receipt` only of a sale."""

    row: bytes
    written_at_s: int
    result: str | None
    receipt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Rows of one epoch from `first_seq` on, after the row whose chain hash is `previous_chain`."""

    number: int
    terminal: bytes
    previous: bytes
    epoch: bytes
    first_seq: int
    previous_chain: bytes
    rows: tuple[ArchivedRow, ...]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.rows) - 1

    def chain(self) -> bytes:
        """Compute the chain hash at the last row anew."""
        link = self.previous_chain
        for seq, one in enumerate(self.rows, self.first_seq):
            link = chain(self.terminal, self.epoch, seq, link, one.row)
        return link


def segment_bytes(s: Segment) -> bytes:
    rows = [[r.row, r.written_at_s, r.result, r.receipt] for r in s.rows]
    items = [s.number, s.terminal, s.previous, s.epoch, s.first_seq, s.previous_chain, rows]
    return _FORM + zlib.compress(cbor2.dumps(items, canonical=True), 9)


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def read_segment(data: bytes) -> Segment:
    """Read a file; raise SegmentBroken for what is no segment, or would unfold without bound."""
    if not data.startswith(_FORM):
        raise SegmentBroken("it is no segment")
    unfolding = zlib.decompressobj()
    try:
        plain = unfolding.decompress(data[len(_FORM) :], _MAX)
        if not unfolding.eof or unfolding.unused_data:
            raise SegmentBroken("it is cut, or larger than a segment may be")
        number, terminal, previous, epoch, first_seq, previous_chain, rows = cbor2.loads(plain)
        return Segment(
            number=number,
            terminal=terminal,
            previous=previous,
            epoch=epoch,
            first_seq=first_seq,
            previous_chain=previous_chain,
            rows=tuple(
                ArchivedRow(row=row, written_at_s=at, result=result, receipt=receipt)
                for row, at, result, receipt in rows
            ),
        )
    except (zlib.error, cbor2.CBORDecodeError, ValueError, TypeError) as e:
        raise SegmentBroken("it cannot be read") from e
