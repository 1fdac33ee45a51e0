"""What upi-core tells by itself, verified: a signed, timestamped POST a known outcome. Pure."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from server_core.errors import denied, invalid
from server_core.rails.calls import strict_object
from server_core.rails.codes import NETBANKING, UPI, Codes
from server_core.rails.doors import told
from server_core.rails.model import Outcome

HEADER: Final = "upi-core-signature"
MIN_KEY: Final = 32
"""Bytes: as many as the hash has (RFC 2104, section 3)."""

FRESH_MS: Final = 5 * 60 * 1000
"""How far a callback's time may be from ours, either way."""

MAX_BODY: Final = 16_384
_SIGNATURE: Final = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})")
_ID: Final = re.compile(r"cb_[0-9a-f]{32}")
_NAME: Final = re.compile(r"[A-Za-z0-9]{1,35}")
_CODES: Final[Mapping[str, Codes]] = {"upi": UPI, "bank": NETBANKING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What the other side says became of a movement.

    `id` is the same for every sending of one saying: a receiver acts on each id once. `txn_id` is
    the debit, `refund_id` the refund of it that this is about, `reference` the link that it paid.
    It may contradict another one: what moves money is what `status` answers, asked because of it.
    """

    id: str
    door: str
    txn_id: str
    refund_id: str | None
    reference: str | None
    outcome: Outcome
    code: str
    rail_reference: str | None
    amount_minor: int


def sign(raw: bytes, key: bytes, now_ms: int) -> str:
    """The header's value: HMAC-SHA256 over the time, a dot and the body."""
    signed = hmac.digest(key, f"{now_ms}.".encode() + raw, hashlib.sha256)
    return f"t={now_ms},v1={signed.hex()}"


def read_callback(headers: Mapping[str, str], raw: bytes, key: bytes, now_ms: int) -> Callback:
    """The callback, if it was signed with `key` (32 bytes at least) within the last 5 minutes.

    `headers` have lower-case names. Raises rails.callback_signature, rails.callback_stale, and
    rails.callback of one that is signed and cannot be read. A replay within the 5 minutes is
    verified too: it is known by its `id`.
    """
    if len(key) < MIN_KEY:
        raise ValueError(f"the key must have {MIN_KEY} bytes")
    sent = _SIGNATURE.fullmatch(headers.get(HEADER, ""))
    if sent is None or len(raw) > MAX_BODY:
        raise _forged()
    at_ms = int(sent[1])
    if not hmac.compare_digest(sign(raw, key, at_ms), sent[0]):
        raise _forged()
    if abs(now_ms - at_ms) > FRESH_MS:
        raise denied("rails.callback_stale", "the callback was signed more than 5 minutes ago")
    said = strict_object(raw)
    found = None if said is None else _read(said)
    if found is None:
        raise invalid("rails.callback", "the callback cannot be read")
    return found


def _read(said: dict[str, Any]) -> Callback | None:
    door, _, noun = str(said.get("kind")).partition(".")
    codes = _CODES.get(door)
    one = None if codes is None else told(said, codes.form)
    if codes is None or one is None or noun not in {"txn", "refund"}:
        return None
    key, txn = said.get("id"), said.get("txn_id")
    refund, reference = said.get("refund_id"), said.get("reference")
    if (
        not isinstance(key, str)
        or not _ID.fullmatch(key)
        or not _is_name(txn)
        or (noun == "refund") != _is_name(refund)
        or not (reference is None or _is_name(reference))
    ):
        return None
    return Callback(
        id=key,
        door=door,
        txn_id=str(txn),
        refund_id=refund,
        reference=reference,
        outcome=Outcome.REVERSED if one.given_back else codes.meaning(one.code),
        code=one.code,
        rail_reference=one.reference,
        amount_minor=one.amount_minor,
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _forged() -> Exception:
    return denied("rails.callback_signature", "the callback is not signed by upi-core's key")
