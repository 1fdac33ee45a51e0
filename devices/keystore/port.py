"""The key store's door: one key, a counter per allowance, and nothing that signs a voucher beside it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from offline.cbor import decode_strict, octets, octets_to, uint
from offline.model import HASH_SIZE, MAX_COUNTER, Algorithm
from offline.signing import OV1, sha256
from offline.verdicts import Refused

_VOUCHER: Final = "V"
# What a device or a terminal signs beside vouchers: enrolment proof, surrender, request, receipt,
# void and sync request. Issuer and root kinds are never signed by a device.
PLAIN_KINDS: Final = frozenset({"E", "Z", "R", "P", "X", "S"})
_PAYLOAD_MAX: Final = 4_096


class Tier(StrEnum):
    """How hard it is to make the key sign one counter twice."""

    HARDWARE_COUNTER = "hardware_counter"
    TEE = "tee"
    SOFTWARE = "software"


class KeyStoreError(Exception):
    """The key store cannot or will not do what was asked; `code` is stable."""

    code = "keystore.failed"


class CounterRefused(KeyStoreError):  # noqa: N818
    """The counter was used for another payload, or is not the next one."""

    code = "keystore.counter_refused"


class PayloadRefused(KeyStoreError):  # noqa: N818
    """These bytes are not of a kind that this signer signs."""

    code = "keystore.payload_refused"


class KeyStoreLocked(KeyStoreError):  # noqa: N818
    """The passphrase does not open the sealed key."""

    code = "keystore.locked"


class KeyStoreDamaged(KeyStoreError):  # noqa: N818
    """A file of the key store is missing, foreign or altered."""

    code = "keystore.damaged"


class KeyStore(Protocol):
    """One device key.

    The counter belongs to one allowance, named inside the voucher payload by its hash; a store whose
    hardware has one counter per key can therefore serve one allowance per key.
    """

    @property
    def algorithm(self) -> Algorithm: ...
    @property
    def tier(self) -> Tier: ...
    def public_key(self) -> bytes: ...

    def counter(self, scope: bytes) -> int:
        """Give the last counter used under the allowance whose SHA-256 is `scope`; 0 if none."""
        ...

    def sign(self, counter: int, payload: bytes) -> bytes:
        """Sign a voucher payload: at counter = stored + 1, or the remembered payload again."""
        ...

    def sign_plain(self, payload: bytes) -> bytes:
        """Sign what has no counter; a voucher payload is refused here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterState:
    """The last counter of one allowance and the SHA-256 of the payload that took it."""

    counter: int
    payload_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherPayload:
    """What a key store reads in a voucher payload before it signs."""

    scope: bytes
    counter: int


def advance(stored: CounterState | None, counter: int, payload: bytes) -> CounterState | None:
    """Decide one counter signature: the state to store first, None to sign again, or a refusal."""
    at = stored.counter if stored is not None else 0
    digest = sha256(payload)
    if counter == at + 1 and counter <= MAX_COUNTER:
        return CounterState(counter=counter, payload_hash=digest)
    if stored is not None and counter == at:
        if digest == stored.payload_hash:
            return None
        raise CounterRefused(f"counter {counter} was used for another payload")
    raise CounterRefused(f"counter {counter} is not the next one after {at}")


def read_voucher_payload(payload: bytes) -> VoucherPayload:
    """Read `[OV1, V, SHA-256(A), V]`; anything else is refused."""
    items = _read_tagged(payload)
    if items[1] != _VOUCHER or len(items) != 4:
        raise PayloadRefused("the counter signer signs vouchers only")
    try:
        scope = octets(items[2], HASH_SIZE)
        voucher = decode_strict(octets_to(items[3], _PAYLOAD_MAX))
        return VoucherPayload(scope=scope, counter=uint(voucher[1]))
    except (Refused, IndexError) as e:
        raise PayloadRefused("a voucher payload is [OV1, V, SHA-256(A), V]") from e


def check_plain_payload(payload: bytes) -> None:
    """Refuse whatever is not one of the kinds that a device signs without a counter."""
    kind = _read_tagged(payload)[1]
    if kind not in PLAIN_KINDS:
        raise PayloadRefused(f"the plain signer does not sign kind {kind!r}")


def _read_tagged(payload: bytes) -> list[object]:
    """Read the outer array strictly: a second reading of signed bytes must not be possible."""
    if len(payload) > _PAYLOAD_MAX:
        raise PayloadRefused("the payload is too long")
    try:
        items = decode_strict(payload)
    except Refused as e:
        raise PayloadRefused("the payload is not canonical CBOR of OV1") from e
    if len(items) < 3 or items[0] != OV1 or not isinstance(items[1], str):
        raise PayloadRefused("not an OV1 payload: an array that begins with OV1 and its kind")
    return items
