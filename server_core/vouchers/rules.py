"""First seen wins: items judged one by one over the state that the earlier ones left. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from offline import verify
from offline.journal import Accept, Apply, Close, VoidRow
from offline.model import Policy, Risk, VoidReason
from offline.verdicts import Verdict
from offline.verify import link_of
from offline.wire import SignedVoid, SignedVoucher
from server_core.actor import Actor, Role
from server_core.errors import conflict, invalid, limited
from server_core.terminals.model import Terminal
from server_core.vouchers.model import (
    Allowance,
    Claimed,
    Ended,
    Evidence,
    HeldVoid,
    Item,
    Read,
    Seen,
    Settled,
    State,
    Step,
)

MAX_SEEN: Final = 2_000
"""Different vouchers kept of one allowance. An honest one has at most its max_count; past this the
proof is long complete, and a forging pair of device and terminal fills no disk."""


class Facts(Struct):
    """Everything stored that the batch may touch, read under the allowances' locks.

    `seen` is by allowance and h, in order of receipt.
    """

    allowances: dict[bytes, Allowance] = field(default_factory=dict)
    seen: dict[bytes, dict[bytes, Seen]] = field(default_factory=dict)
    settled: dict[tuple[bytes, int], Settled] = field(default_factory=dict)
    used: set[tuple[bytes, bytes]] = field(default_factory=set)
    revoked: dict[bytes, int] = field(default_factory=dict)


class Judged(Struct):
    """What a batch writes."""

    verdicts: list[Verdict] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    frozen: set[bytes] = field(default_factory=set)


def steps(rows: Sequence[Read], applied: int) -> tuple[list[Step], list[HeldVoid]]:
    """What the rows mean, in their order; rows whose content did not hold mean nothing.

    `applied` is the revocation epoch in force before the first row.
    """
    found: list[Step] = []
    voids: list[HeldVoid] = []
    for one in rows:
        match one.row:
            case Accept():
                found.append(
                    Item(
                        signed=one.row.signed,
                        content=one.content,
                        accepted_at=one.row.accepted_at,
                        applied=applied,
                    )
                )
            case Apply() if one.content is Verdict.ACCEPTED:
                applied = max(applied, one.row.epoch)
            case Close() if one.content is Verdict.ACCEPTED:
                found.append(Ended(nonce=one.row.nonce, reason=str(one.row.reason)))
            case VoidRow() if one.content is Verdict.ACCEPTED:
                voids.append(held(one.row.signed))
                if one.row.signed.void.reason is VoidReason.REFUSED:
                    found.append(Ended(nonce=one.row.nonce, reason="voided"))
            case _:
                pass
    return found, voids


def held(signed: SignedVoid) -> HeldVoid:
    return HeldVoid(
        h=signed.void.h,
        terminal=signed.cert.terminal,
        aid=signed.void.aid,
        counter=signed.void.counter,
        payee=signed.cert.payee,
        reason=str(signed.void.reason),
        wire=signed.to_bytes(),
    )


def judge(steps: Iterable[Step], terminal: Terminal, facts: Facts, now_ms: int) -> Judged:
    """One verdict an item, in order; `facts` is brought along as steps are taken."""
    judged = Judged()
    for step in steps:
        if isinstance(step, Ended):
            facts.used.add((terminal.id, step.nonce))
        else:
            judged.verdicts.append(_judge(step, terminal, facts, judged, now_ms))
    return judged


def _judge(item: Item, terminal: Terminal, facts: Facts, judged: Judged, now_ms: int) -> Verdict:
    signed = item.signed
    voucher, aid = signed.voucher, signed.allowance.aid
    if item.content != Verdict.ACCEPTED:
        return Verdict(item.content)
    allowance = facts.allowances.get(aid)
    if allowance is None or allowance.raw != signed.allowance_raw:
        return Verdict.ALLOWANCE_UNKNOWN
    if (voucher.payee, voucher.terminal) != (terminal.payee, terminal.id):
        return Verdict.PAYEE_MISMATCH
    known = facts.seen.setdefault(aid, {})
    fresh = signed.h not in known
    if fresh:
        _record_evidence(item, known, facts, judged)
    verdict = _settle(item, facts.allowances[aid], facts)
    if verdict is Verdict.ACCEPTED:
        _take(item, facts, judged)
    if fresh and (len(known) < MAX_SEEN or verdict is Verdict.ACCEPTED):
        row = Seen(
            aid=aid,
            link=link_of(signed),
            payee=voucher.payee,
            terminal=voucher.terminal,
            nonce=voucher.nonce,
            wire=signed.to_bytes(),
            verdict=verdict,
            seen_at=now_ms,
            place=len(known) + 1,
            claimable=verdict is Verdict.DOUBLE_SPEND and _in_time(item, allowance, facts),
        )
        known[signed.h] = row
        judged.seen.append(row)
    return verdict


def _take(item: Item, facts: Facts, judged: Judged) -> None:
    voucher, aid = item.signed.voucher, item.signed.allowance.aid
    made = Settled(
        aid=aid,
        counter=voucher.counter,
        h=item.signed.h,
        terminal=voucher.terminal,
        nonce=voucher.nonce,
        amount=voucher.amount,
    )
    facts.settled[aid, voucher.counter] = made
    facts.used.add((voucher.terminal, voucher.nonce))
    now = facts.allowances[aid]
    facts.allowances[aid] = replace(now, settled=now.settled + voucher.amount)
    judged.settled.append(made)


def _settle(item: Item, allowance: Allowance, facts: Facts) -> Verdict:
    """The settlement's own questions, in OV1's order. A broken sum is evidence, never a refusal."""
    voucher = item.signed.voucher
    holder = facts.settled.get((allowance.aid, voucher.counter))
    if holder is not None:
        return Verdict.DUPLICATE if holder.h == item.signed.h else Verdict.DOUBLE_SPEND
    if (voucher.terminal, voucher.nonce) in facts.used:
        return Verdict.CHALLENGE_USED
    if allowance.state is State.CLOSED:
        return Verdict.SETTLEMENT_CLOSED
    if _revoked(item, facts):
        return Verdict.REVOKED
    if voucher.amount > allowance.rest:
        return Verdict.HOLD_EXHAUSTED
    return Verdict.ACCEPTED


def _revoked(item: Item, facts: Facts) -> bool:
    """Whether the terminal had taken over the stop before it took the voucher."""
    epoch = facts.revoked.get(item.signed.allowance.aid)
    return epoch is not None and item.applied >= epoch


def _in_time(item: Item, allowance: Allowance, facts: Facts) -> bool:
    return (
        allowance.state is not State.CLOSED
        and item.accepted_at <= allowance.spend_until
        and not _revoked(item, facts)
    )


def _record_evidence(item: Item, known: dict[bytes, Seen], facts: Facts, judged: Judged) -> None:
    """Two h at one counter, or a pair that breaks rule 9: kept once, and no new spending."""
    aid = item.signed.allowance.aid
    found = verify.conflict(link_of(item.signed), [one.link for one in known.values()])
    if found is None or len(known) >= MAX_SEEN:
        return
    lower, higher = sorted((found.stored_h, found.offered_h))
    judged.evidence.append(Evidence(aid=aid, h=lower, other=higher, verdict=str(found.verdict)))
    allowance = facts.allowances[aid]
    if not allowance.frozen:
        facts.allowances[aid] = replace(allowance, frozen=True)
        judged.frozen.add(aid)


def may_witness(signed: SignedVoucher, found: Allowance | None, actor: Actor) -> bool:
    """Whether this is the payer's own session, and a voucher under the payer's own allowance."""
    return (
        actor.role is Role.PAYER
        and found is not None
        and found.party == actor.party
        and found.raw == signed.allowance_raw
    )


def surrender(allowance: Allowance) -> Allowance:
    """No new spending; an allowance that drains or is closed stays as it is."""
    if allowance.state is not State.ISSUED:
        return allowance
    return replace(allowance, state=State.DRAINING)


def claims_hold(
    base: int, acked: int, rows: Sequence[tuple[int, int]], last: int, claims: Iterable[Claimed]
) -> bool:
    """Whether the APPLY `rows` (seq, epoch) of acked+1..last are where signed headers said they are.

    `base` is what is applied at `acked`. A header that claims an APPLY which is not there, or hides
    one that is, was signed over another journal than the one that came.
    """
    for claim in claims:
        if any(seq <= claim.last and epoch > claim.applied for seq, epoch in rows):
            return False
        if acked <= claim.first <= last:
            there = max([base, *(epoch for seq, epoch in rows if seq <= claim.first)])
            if there < claim.applied:
                return False
    return True


class Closing(Struct, frozen=True, kw_only=True):
    """Where the rest of a hold goes: (h, amount) to merchants, to unclaimed, and back to the payer."""

    claims: tuple[tuple[bytes, int], ...]
    unclaimed: tuple[tuple[bytes, int], ...]
    returned: int


def close(
    allowance: Allowance,
    lost: Iterable[Seen],
    witnessed: Iterable[Seen],
    returnable: set[bytes],
) -> Closing:
    """Part what is left of the hold; settled + claimed + unclaimed + returned = hold.

    `lost` are the claimable vouchers in order of receipt: a frozen allowance pays them, the last one
    in part if need be, before it gives anything back. `witnessed` is what only the payer showed us:
    those in `returnable` go back, the others wait as unclaimed for the merchant.
    """
    rest = allowance.rest
    claims: list[tuple[bytes, int]] = []
    unclaimed: list[tuple[bytes, int]] = []
    paid: set[bytes] = set()

    def part(one: Seen, to: list[tuple[bytes, int]]) -> None:
        nonlocal rest
        amount = min(one.link.amount, rest)
        if amount > 0 and one.link.h not in paid:
            to.append((one.link.h, amount))
            paid.add(one.link.h)
            rest -= amount

    if allowance.frozen:
        for one in lost:
            part(one, claims)
    for one in witnessed:
        if one.link.h not in returnable:
            part(one, unclaimed)
    return Closing(claims=tuple(claims), unclaimed=tuple(unclaimed), returned=rest)


def policy_of(currency: str, limits: dict[str, int]) -> Policy:
    """What terminals are told of the profile's limits: the maxima, and what they may risk alone.

    An allowance lives from a little before its issue to the end of its settlement.
    """
    return Policy(
        ccy=currency,
        cap_each=limits["cap_each"],
        cap_total=limits["cap_total"],
        life_s=limits["settle_window_s"] + limits["spend_window_s"],
        risk=Risk(
            soft_sum=limits["exposure_soft"],
            hard_sum=limits["exposure_hard"],
            allowance_sum=limits["exposure_allowance"],
            void_each=limits["void_each"],
            soft_age_s=limits["sync_soft_s"],
            hard_age_s=limits["sync_hard_s"],
            online_in=limits["online_in"],
            clock_behind_s=limits["clock_behind_s"],
            clock_ahead_s=limits["clock_ahead_s"],
            request_ttl_s=limits["request_ttl_s"],
        ),
    )


def check_issue(
    cap_total: int, cap_each: int, tier: str, limits: dict[str, int], open_holds: int
) -> None:
    """Raises vouchers.over_limit for a cap above what the tier's devices may, vouchers.caps for a silly pair.

    `limits` are those of the tier (`tiers.limits_of`), never above the regulator's.
    """
    if cap_each > cap_total:
        raise invalid(
            "vouchers.caps", "one payment may not be above the whole allowance", field="cap_each"
        )
    for name, asked in (("cap_total", cap_total), ("cap_each", cap_each)):
        if asked > limits[name]:
            raise limited(
                "vouchers.over_limit",
                f"{name} is at most {limits[name]} minor units on a device of the tier {tier}",
                field=name, limit=limits[name], tier=tier,
            )  # fmt: skip
    if open_holds + cap_total > limits["holds_per_payer"]:
        raise limited(
            "vouchers.holds",
            "too much is set aside already: spend it, or give it back",
            limit=limits["holds_per_payer"],
        )


def check_device(device: UUID, open_ones: Iterable[Allowance], *, frozen: bool) -> None:
    """One allowance a device at a time, and none for who signed twice."""
    if frozen:
        raise conflict(
            "vouchers.frozen", "two payments were signed with one number: an operator must look"
        )
    if any(one.device == device and one.state is State.ISSUED for one in open_ones):
        raise conflict(
            "vouchers.allowance_open", "this device has an allowance already: surrender it first"
        )
