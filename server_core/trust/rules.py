"""How the issuer's keys follow one another. Pure."""

from typing import Final

from msgspec.structs import replace

from offline.codec import MAX_BUNDLE_ENTRIES
from offline.model import Policy
from server_core.errors import conflict, invalid
from server_core.trust.model import CLOCK_SLACK_S, KEY_LIFE_S, IssuerKey, KeyRing

_LAST_KID: Final = 0xFFFF


def issuer_key(number: int, seed: bytes, now_s: int, life_s: int) -> IssuerKey:
    return IssuerKey(
        kid=number.to_bytes(2),
        seed=seed,
        not_before=now_s - CLOCK_SLACK_S,
        not_after=now_s + life_s,
        published_at=now_s,
    )


def rotated(ring: KeyRing, seed: bytes, now_s: int) -> KeyRing:
    """The next key signs from now on, a fresh one is published, and the old ones stay while alive.

    A key lives until its own not_after: longer than any allowance or certificate that it signed.
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
    living = tuple(one for one in ring.issuers if one.not_after > now_s or one is following)
    number = int.from_bytes(following.kid) + 1
    if len(living) >= MAX_BUNDLE_ENTRIES or number > _LAST_KID:
        raise conflict("trust.ring_full", "too many issuer keys are alive: rotate less often")
    made = issuer_key(number, seed, now_s, 2 * KEY_LIFE_S)
    return replace(ring, issuers=(*living, made), current=following.kid, version=ring.version + 1)


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
