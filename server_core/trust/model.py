"""The issuer's keys as they are kept, and the maxima that bound a stolen one."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from offline.model import Policy, Risk

NONCE_LIFE_S: Final = 300
KEY_LIFE_S: Final = 400 * 86_400
CLOCK_SLACK_S: Final = 600
USAGES: Final = "ABCLY"
RETIRED_USAGES: Final = "AC"
"""What a key that no longer signs still vouches for: allowances out there, and certificates."""

DAY_S: Final = 86_400
MAXIMA: Final = (
    Policy(
        ccy="INR",
        cap_each=50_000,
        cap_total=200_000,
        life_s=5 * DAY_S,
        risk=Risk(
            soft_sum=500_000,
            hard_sum=1_000_000,
            allowance_sum=200_000,
            void_each=50_000,
            soft_age_s=2 * DAY_S,
            hard_age_s=3 * DAY_S,
            online_in=50,
            clock_behind_s=300,
            clock_ahead_s=DAY_S + DAY_S // 2,
            request_ttl_s=180,
        ),
    ),
)
"""What terminals take at most, whatever an issuer key signed (RBI offline framework: INR 500 a
payment, INR 2,000 an instrument; settled within 4 days), and what they may risk without a link. They
travel in the ring, so that a change is a new bundle version: `hundi keys policy`."""


class IssuerToken(Struct, frozen=True, kw_only=True):
    """The PKCS#11 token that new root and issuer keys are made on: its library, its label, its PIN."""

    module: Path
    label: str
    pin: str

    def __repr__(self) -> str:
        return f"IssuerToken({self.module}, {self.label})"


class HeldKey(Struct, frozen=True, kw_only=True):
    """An Ed25519 key as the ring keeps it: by its 32-byte seed, or by its label on a token."""

    public: bytes
    seed: bytes = b""
    label: str = ""


class IssuerKey(Struct, frozen=True, kw_only=True):
    """One issuer key, its dates (Unix s), and when it was first published."""

    kid: bytes
    key: HeldKey
    not_before: int
    not_after: int
    published_at: int


class KeyRing(Struct, frozen=True, kw_only=True):
    """All of trust. `issuers`: retired ones, the `current` one, and last the next one."""

    root: HeldKey
    nonce_secret: bytes
    issuers: tuple[IssuerKey, ...]
    current: bytes
    policies: tuple[Policy, ...]
    version: int
