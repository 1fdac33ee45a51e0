"""A transfer's record as it is hashed, and receipts: made, written down, and checked. Pure.

The record is the transfer's row and its two entries as JSON with sorted keys and no white space,
integers and ids as strings: what anybody can make again in any language.
"""

from typing import Any, Final
from uuid import UUID

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from server_core.db.work import Row
from server_core.errors import DomainError, invalid
from server_core.seals import rules
from server_core.seals.model import HASH, Head, Receipt

FORMAT: Final = "hundi-receipt/1"
MAX_SIZE: Final = 64 * 1024
_ENTRY: Final = (
    "version", "debits_pending", "debits_posted", "credits_pending", "credits_posted",
)  # fmt: skip


def record(row: Row) -> dict[str, Any]:
    """The record of a transfer, from a row of the ledger's `journal_rows`."""
    values = dict(row)
    created = values["result"] == "created"
    sides = {
        side: {name: str(values.pop(f"{side}_{name}")) for name in _ENTRY} if created else None
        for side in ("debit", "credit")
    }
    return {name: _text(values[name]) for name in _TRANSFER} | {
        "debit_entry": sides["debit"],
        "credit_entry": sides["credit"],
    }


_TRANSFER: Final = (
    "id", "mode", "result", "debit", "credit", "amount", "ledger", "code", "reference",
    "pending_id", "final", "expires_at", "linked", "effective_at", "recorded_at",
)  # fmt: skip


def _text(value: object) -> object:
    if type(value) is int or isinstance(value, UUID):
        return str(value)
    return value


def record_bytes(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def leaf_of(row: Row) -> bytes:
    return rules.leaf_hash(record_bytes(record(row)))


def dump(receipt: Receipt) -> bytes:
    """A receipt as JSON, indented: it is kept by people."""
    head = receipt.head
    document = {
        "format": FORMAT,
        "record": receipt.record,
        "index": receipt.index,
        "path": [one.hex() for one in receipt.path],
        "head": {
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "signed_at": head.signed_at,
            "key": head.key.hex(),
            "signature": head.signature.hex(),
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


class _HeadJson(msgspec.Struct, forbid_unknown_fields=True):
    origin: str
    size: int
    root: str
    signed_at: int
    key: str
    signature: str


class _ReceiptJson(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    record: dict[str, Any]
    index: int
    path: list[str]
    head: _HeadJson


def load(data: bytes) -> Receipt:
    """A receipt from JSON. Raises seals.receipt_malformed."""
    if len(data) > MAX_SIZE:
        raise _malformed("it is longer than any receipt")
    try:
        found = msgspec.json.decode(data, type=_ReceiptJson)
        head = found.head
        receipt = Receipt(
            record=found.record,
            index=found.index,
            path=tuple(bytes.fromhex(one) for one in found.path),
            head=Head(
                origin=head.origin,
                size=head.size,
                root=bytes.fromhex(head.root),
                signed_at=head.signed_at,
                key=bytes.fromhex(head.key),
                signature=bytes.fromhex(head.signature),
            ),
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if found.format != FORMAT:
        raise _malformed(f"its format is not {FORMAT}")
    if len(receipt.head.key) != HASH or len(receipt.path) > 64:
        raise _malformed("its key or its path has a wrong length")
    return receipt


def check(receipt: Receipt, key: bytes) -> str | None:
    """Why the receipt proves nothing under the journal's public `key`; None when it proves."""
    if receipt.head.key != key:
        return "its head is signed by another key than the one that you trust"
    if not is_signed(receipt.head):
        return "the signature of its head is wrong"
    leaf = rules.leaf_hash(record_bytes(receipt.record))
    root = rules.root_of_path(leaf, receipt.index, receipt.head.size, receipt.path)
    if root != receipt.head.root:
        return "the record does not lead to the signed root: it is not what was sealed"
    return None


def is_signed(head: Head) -> bool:
    try:
        VerifyKey(head.key).verify(rules.said(head), head.signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def _malformed(why: str) -> DomainError:
    return invalid("seals.receipt_malformed", f"this is no receipt of ours: {why}", field="receipt")
