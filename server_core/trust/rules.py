"""How the issuer's keys follow one another. Pure."""

from typing import Final

from msgspec.structs import replace

from offline.codec import MAX_BUNDLE_ENTRIES
from offline.model import Policy
from server_core.errors import conflict, invalid
from server_core.trust.model import CLOCK_SLACK_S, KEY_LIFE_S, HeldKey, IssuerKey, KeyRing

_LAST_KID: Final = 0xFFFF


def issuer_key(number: int, key: HeldKey, now_s: int, life_s: int) -> IssuerKey:
    return IssuerKey(
        kid=number.to_bytes(2),
        key=key,
        not_before=now_s - CLOCK_SLACK_S,
        not_after=now_s + life_s,
        published_at=now_s,
    )


def check_rotation(ring: KeyRing, now_s: int) -> None:
    """Say whether the next key may sign by now, and another be published.

    Raises trust.next_too_young while a terminal that was away may not have heard of the next key,
    and trust.ring_full.
    """
    following = ring.issuers[-1]
    window = max(policy.life_s for policy in ring.policies)
    if now_s < following.published_at + window:
        raise conflict(
            "trust.next_too_young",
            "terminals that are away must hear of the next key first",
            ready_at=following.published_at + window,
        )
    full = len(_living(ring, now_s)) >= MAX_BUNDLE_ENTRIES
    if full or int.from_bytes(following.kid) >= _LAST_KID:
        raise conflict("trust.ring_full", "too many issuer keys are alive: rotate less often")


def rotated(ring: KeyRing, key: HeldKey, now_s: int) -> KeyRing:
    """The next key signs from now on, a fresh one is published, and the old ones stay while alive.

    A key lives until its own not_after: longer than any allowance or certificate that it signed.
    Raises as check_rotation does.
    """
    check_rotation(ring, now_s)
    following = ring.issuers[-1]
    made = issuer_key(int.from_bytes(following.kid) + 1, key, now_s, 2 * KEY_LIFE_S)
    return replace(
        ring,
        issuers=(*_living(ring, now_s), made),
        current=following.kid,
        version=ring.version + 1,
    )


def _living(ring: KeyRing, now_s: int) -> tuple[IssuerKey, ...]:
    """Those that still vouch for something, and the next one."""
    last = ring.issuers[-1]
    return tuple(one for one in ring.issuers if one.not_after > now_s or one is last)


def governed(ring: KeyRing, policies: tuple[Policy, ...]) -> KeyRing:
    """The ring with other policies, a version on; the same ring when they are what it has.

    Raises trust.policy for none, or two of one currency.
    """
    ordered = tuple(sorted(policies, key=lambda one: one.ccy))
    if not ordered or len({one.ccy for one in ordered}) != len(ordered):
        raise invalid("trust.policy", "one policy for each currency, at least one")
    if ordered == ring.policies:
        return ring
    return replace(ring, policies=ordered, version=ring.version + 1)
