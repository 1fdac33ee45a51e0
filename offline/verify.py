"""THE ordered verification of a voucher (OV1 §3 Verify, steps 1-10), for terminal, server and payer.

API, in the terminal's order:
1. `decode(text) -> SignedVoucher | Verdict` and `decode_bytes(data)`: step 1.
2. The caller loads `TerminalFacts` for it from its store (by h, nonce, aid), asynchronously if it likes.
3. `judge(signed, facts) -> Judgement(verdict, evidence)`: steps 2-10, the first failure is the verdict.
4. ACCEPTED: the caller commits step 11. Otherwise `may_void(signed, facts)` says whether a void
   (reason refused) may be signed.

The server: `check_for_settlement(signed, bundle, policy) -> Verdict` (steps 3 without dates, 6, 8: what needs
no database), and for both ends rule 9: `consistent_pair(lower, higher)`, `conflict(offered, stored)` over
`Link`s (`link_of(signed)`). The payer's side of a request is in `offline.payer`.

Pure: no clock, no store. Every function returns a verdict; none raises for anything in the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from offline.model import Allowance, Bundle, BundleEntry, Policy, Voucher
from offline.signing import (
    allowance_message,
    verify_signature,
    voucher_message,
)
from offline.verdicts import Refused, Verdict
from offline.wire import SignedVoucher


class ChallengeState(Enum):
    """What this terminal knows of a nonce."""

    UNKNOWN = auto()  # never issued here
    OPEN = auto()  # shown and unanswered, its TTL (monotonic clock) not over
    USED = auto()  # paid by a voucher or otherwise (CLOSE paid_online), or closed by a void
    EXPIRED = auto()  # run out, cancelled or closed by a restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The request behind a voucher's nonce; amount and ccy count for every state but UNKNOWN."""

    state: ChallengeState
    amount: int = 0
    ccy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What rule 9 compares of a stored voucher."""

    counter: int
    amount: int
    cum: int
    prev: bytes
    h: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalFacts:
    """All that `judge` needs beside the voucher, as the terminal's store has it.

    voided, redeemed: by h. challenge: by V.nonce. revoked: by A.aid. stored: EVERY voucher kept here
    under A.aid (redeemed, voided or evidence), in any order.
    allowance_exposure: the sum of amounts taken under it and not yet settled; exposure_limit None: none.
    allowance_verified: the store holds `allowance_cache_key(kid, A, sigA)` from this same bundle.
    now_s = max(wall, floor) in whole seconds.
    """

    payee: bytes
    terminal: bytes
    bundle: Bundle
    now_s: int
    challenge: Challenge
    voided: bool = False
    redeemed: bool = False
    revoked: bool = False
    stored: Sequence[Link] = ()
    allowance_exposure: int = 0
    exposure_limit: int | None = None
    allowance_verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two validly signed vouchers of one allowance that cannot both be honest, by h."""

    verdict: Verdict
    stored_h: bytes
    offered_h: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict; evidence only with DOUBLE_SPEND_LOCAL and CUMULATIVE_INCONSISTENT of step 9.

    ALREADY_ACCEPTED is shown as paid ONLY if the voucher's nonce is the request now on the screen.
    """

    verdict: Verdict
    evidence: Evidence | None = None


def decode(text: str) -> SignedVoucher | Verdict:
    """Step 1 for what a camera read."""
    try:
        return SignedVoucher.from_text(text)
    except Refused as refused:
        return refused.verdict


def decode_bytes(data: bytes) -> SignedVoucher | Verdict:
    """Step 1 for the same bytes over NFC, BLE, a file or a journal row."""
    try:
        return SignedVoucher.from_bytes(data)
    except Refused as refused:
        return refused.verdict


def link_of(signed: SignedVoucher) -> Link:
    v = signed.voucher
    return Link(counter=v.counter, amount=v.amount, cum=v.cum, prev=v.prev, h=signed.h)


def judge(signed: SignedVoucher, facts: TerminalFacts) -> Judgement:
    """Steps 2-10 in their order; the first failure is the verdict."""
    if facts.voided:
        return Judgement(verdict=Verdict.VOIDED)
    if facts.redeemed:
        return Judgement(verdict=Verdict.ALREADY_ACCEPTED)
    key = facts.bundle.entry(signed.kid, "A")
    if key is None:
        return Judgement(verdict=Verdict.ISSUER_KEY_UNKNOWN)
    verdict = (
        _dates_of_key(key, facts.now_s)
        or _same_sale(signed, facts)
        or _dates(signed.allowance, facts.now_s)
        or _limits(signed.allowance, signed.voucher, facts.bundle.policy(signed.allowance.ccy))
        or (Verdict.REVOKED if facts.revoked else None)
        or _signatures(signed, key, allowance_verified=facts.allowance_verified)
    )
    if verdict is not None:
        return Judgement(verdict=verdict)
    evidence = conflict(link_of(signed), facts.stored)
    if evidence is not None:
        return Judgement(verdict=evidence.verdict, evidence=evidence)
    limit = facts.exposure_limit
    if limit is not None and facts.allowance_exposure + signed.voucher.amount > limit:
        return Judgement(verdict=Verdict.ALLOWANCE_EXPOSURE)
    return Judgement(verdict=Verdict.ACCEPTED)


def may_void(signed: SignedVoucher, facts: TerminalFacts) -> bool:
    """Whether this terminal may sign a void (reason refused) for a voucher that it did not accept.

    It must be payable to this payee and terminal, answer a nonce issued here, and carry both
    signatures by keys that the bundle knows: h does not cover sigV, so a copy with a flipped bit would
    otherwise buy a refund of the good one. One that was voided or accepted here is not voided anew:
    the stored void is shown again, an accepted one is a RETURNED void.
    """
    key = facts.bundle.entry(signed.kid, "A")
    return (
        not facts.voided
        and not facts.redeemed
        and key is not None
        and _mine(signed.voucher, facts)
        and facts.challenge.state is not ChallengeState.UNKNOWN
        and _signatures(signed, key, allowance_verified=facts.allowance_verified) is None
    )


def check_for_settlement(
    signed: SignedVoucher, bundle: Bundle, policy: Policy | None = None
) -> Verdict:
    """What the server asks of a row before it opens a transaction: steps 3 without dates, 6 and 8.

    `bundle` must still hold the key: one lives until its last settle_until. `policy` is the widest that
    was in force for a still open allowance in this currency, so that lowering the maxima refuses no
    honest voucher; by default the bundle's. Expiry is not asked: only the state CLOSED ends settlement.
    """
    key = bundle.entry(signed.kid, "A")
    if key is None:
        return Verdict.ISSUER_KEY_UNKNOWN
    return (
        _limits(signed.allowance, signed.voucher, policy or bundle.policy(signed.allowance.ccy))
        or _signatures(signed, key, allowance_verified=False)
        or Verdict.ACCEPTED
    )


def consistent_pair(lower: Link, higher: Link) -> bool:
    """Rule 9 for two vouchers of one allowance, lower.counter < higher.counter."""
    gap = higher.counter - lower.counter
    if gap == 1:
        return higher.cum == lower.cum + higher.amount and higher.prev == lower.h[:8]
    return higher.cum >= lower.cum + higher.amount + gap - 1


def conflict(offered: Link, stored: Sequence[Link]) -> Evidence | None:
    """Rule 9 against every stored voucher: a double signature anywhere comes before a broken sum."""
    for link in stored:
        if link.counter == offered.counter and link.h != offered.h:
            return _evidence(Verdict.DOUBLE_SPEND_LOCAL, link, offered)
    for link in stored:
        if link.counter == offered.counter:
            continue
        lower, higher = (link, offered) if link.counter < offered.counter else (offered, link)
        if not consistent_pair(lower, higher):
            return _evidence(Verdict.CUMULATIVE_INCONSISTENT, link, offered)
    return None


def _evidence(verdict: Verdict, stored: Link, offered: Link) -> Evidence:
    return Evidence(verdict=verdict, stored_h=stored.h, offered_h=offered.h)


def _dates_of_key(key: BundleEntry, now_s: int) -> Verdict | None:
    if not key.not_before <= now_s <= key.not_after:
        return Verdict.ISSUER_KEY_EXPIRED
    return None


def _mine(voucher: Voucher, facts: TerminalFacts) -> bool:
    return voucher.payee == facts.payee and voucher.terminal == facts.terminal


def _same_sale(signed: SignedVoucher, facts: TerminalFacts) -> Verdict | None:
    """Step 4."""
    if not _mine(signed.voucher, facts):
        return Verdict.PAYEE_MISMATCH
    match facts.challenge.state:
        case ChallengeState.UNKNOWN:
            return Verdict.CHALLENGE_UNKNOWN
        case ChallengeState.USED:
            return Verdict.CHALLENGE_USED
        case ChallengeState.EXPIRED:
            return Verdict.CHALLENGE_EXPIRED
        case ChallengeState.OPEN:
            pass
    if signed.voucher.amount != facts.challenge.amount:
        return Verdict.AMOUNT_MISMATCH
    if signed.allowance.ccy != facts.challenge.ccy:
        return Verdict.CURRENCY_MISMATCH
    return None


def _dates(allowance: Allowance, now_s: int) -> Verdict | None:
    """Step 5; both ends are inside."""
    if now_s < allowance.not_before:
        return Verdict.NOT_YET_VALID
    if now_s > allowance.spend_until:
        return Verdict.ALLOWANCE_EXPIRED
    return None


def _limits(a: Allowance, v: Voucher, policy: Policy | None) -> Verdict | None:
    """Step 6; a currency without a policy, or another policy's currency, exceeds it."""
    if (
        policy is None
        or a.ccy != policy.ccy
        or a.cap_each > policy.cap_each
        or a.cap_total > policy.cap_total
        or a.settle_until - a.not_before > policy.life_s
    ):
        return Verdict.POLICY_EXCEEDED
    if v.amount > a.cap_each:
        return Verdict.OVER_VOUCHER_LIMIT
    if v.counter > a.max_count:
        return Verdict.COUNTER_RANGE
    if v.cum > a.cap_total:
        return Verdict.OVER_ALLOWANCE_CAP
    if v.cum < v.amount or (v.counter == 1 and v.cum != v.amount):
        return Verdict.CUMULATIVE_INCONSISTENT
    return None


def _signatures(
    signed: SignedVoucher, key: BundleEntry, *, allowance_verified: bool
) -> Verdict | None:
    """Step 8. The device's algorithm is inside A, so it is looked at only after A's signature."""
    if not allowance_verified and not verify_signature(
        key.alg, key.key, allowance_message(signed.kid, signed.allowance_raw), signed.sig_a
    ):
        return Verdict.ALLOWANCE_SIGNATURE
    if not verify_signature(
        signed.allowance.algorithm,
        signed.allowance.device_key,
        voucher_message(signed.allowance_raw, signed.voucher_raw),
        signed.sig_v,
    ):
        return Verdict.VOUCHER_SIGNATURE
    return None
