"""What OV1 speaks of, as values: allowance, voucher, certificate, request, receipt, void, trust.

All amounts are integers of minor units of `ccy` (ISO 4217 alphabetic, e.g. "INR"), all times whole
seconds since 1970 (UTC), all ids byte strings. Building one checks nothing: `offline.codec` holds the
rules, on writing and on reading alike. API: `Algorithm`, `Allowance`, `Voucher`, `Certificate`,
`PaymentRequest`, `Receipt`, `VoidReason`, `Void`, `BundleEntry`, `Policy`, `Bundle`, `Revocations`,
`Beacon`, and the sizes of ids.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

AID_SIZE: Final = 16
KID_SIZE: Final = 2
PAYEE_SIZE: Final = 8
TERMINAL_SIZE: Final = 4
NONCE_SIZE: Final = 8
PREV_SIZE: Final = 8
SERVER_NONCE_SIZE: Final = 16
HASH_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
MAX_COUNTER: Final = 65_535
NO_PREV: Final = bytes(PREV_SIZE)
"""`prev` of counter 1."""


class Algorithm(IntEnum):
    """Flags bits 0-1 of an allowance and `alg` of a bundle entry. 2 and 3 are not assigned."""

    ED25519 = 0
    P256 = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A: what the issuer lets one device key spend offline, backed by a hold.

    cap_total bounds `cum`, cap_each one amount, max_count the counter (1..65535). A voucher is taken
    while not_before <= now <= spend_until and settled until settle_until and the server's margin.
    """

    aid: bytes
    device_key: bytes
    ccy: str
    cap_total: int
    cap_each: int
    max_count: int
    not_before: int
    spend_until: int
    settle_until: int
    flags: int

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm(self.flags & 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """V: one payment under an allowance; `cum` is the running total with this amount."""

    counter: int
    amount: int
    cum: int
    payee: bytes
    terminal: bytes
    nonce: bytes
    ts: int
    prev: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """cert: the issuer vouches that this terminal key asks for this payee, under this name.

    mcc is the merchant category code as a number (ISO 18245, 0..9999).
    """

    terminal: bytes
    payee: bytes
    terminal_key: bytes
    name: str
    mcc: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """req: what the terminal asks for, once."""

    amount: int
    ccy: str
    nonce: bytes
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The terminal's word that h is durable at journal row `seq`; head = its chain's first 8 bytes."""

    aid: bytes
    counter: int
    h: bytes
    seq: int
    head: bytes
    ts: int


class VoidReason(StrEnum):
    """Why a terminal gives a voucher back."""

    REFUSED = "refused"  # validly signed and never accepted here
    RETURNED = "returned"  # accepted here, undone by the merchant before its row was acked


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """The terminal's word that h must not be kept; `seq` is its own journal row."""

    aid: bytes
    counter: int
    h: bytes
    seq: int
    reason: VoidReason
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One issuer key. `usages` are kind letters in alphabetic order, out of A B C L Y.

    A allowances, B beacons, C certificates, L revocation lists, Y sync answers.
    """

    kid: bytes
    alg: Algorithm
    key: bytes
    usages: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What a terminal may risk without a link, in minor units and seconds.

    From `soft_*` on it is told to go online, beyond `hard_*` it shows no request: by the sum that it
    has not settled, and by the time since its last sync. `allowance_sum` is the most unsettled of
    one allowance, `void_each` the most given back offline at once. One request in `online_in`, by
    chance, asks for a sync: a terminal that is never pressed never syncs. The clock may be so far
    behind or ahead of the last beacon; a request lives for `request_ttl_s`.
    """

    soft_sum: int
    hard_sum: int
    allowance_sum: int
    void_each: int
    soft_age_s: int
    hard_age_s: int
    online_in: int
    clock_behind_s: int
    clock_ahead_s: int
    request_ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The most that an allowance in `ccy` may be; life_s bounds settle_until - not_before."""

    ccy: str
    cap_each: int
    cap_total: int
    life_s: int
    risk: Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Whom a device or terminal trusts, and how far. A higher `version` replaces a lower one.

    One policy a currency, in alphabetic order: an allowance in a currency without one exceeds it.
    """

    version: int
    root_kid: bytes
    entries: tuple[BundleEntry, ...]
    policies: tuple[Policy, ...]

    def entry(self, kid: bytes, usage: str) -> BundleEntry | None:
        """The key `kid` if it may be used for `usage`, whatever its dates."""
        for entry in self.entries:
            if entry.kid == kid and usage in entry.usages:
                return entry
        return None

    def policy(self, ccy: str) -> Policy | None:
        for policy in self.policies:
            if policy.ccy == ccy:
                return policy
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """The allowances stopped after `base_epoch` up to `epoch`; aids in ascending order.

    A terminal at base_epoch or later may apply it and is then at `epoch`. base_epoch 0 is the whole
    list.
    """

    epoch: int
    base_epoch: int
    aids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """The server's time for one terminal's own nonce."""

    terminal: bytes
    nonce: bytes
    ts: int
