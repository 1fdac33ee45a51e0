"""First seen wins: items judged one by one over the state that the earlier ones left. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from offline import verify
from offline.verdicts import Verdict
from offline.verify import link_of
from server_core.errors import conflict, limited
from server_core.terminals.model import Terminal
from server_core.vouchers.model import Allowance, Evidence, Item, Seen, Settled, State


@dataclass(slots=True)
class Facts:
    """Everything stored that the batch may touch, read under the allowances' locks."""

    allowances: dict[bytes, Allowance] = field(default_factory=dict)
    seen: dict[bytes, list[Seen]] = field(default_factory=dict)
    settled: dict[tuple[bytes, int], Settled] = field(default_factory=dict)
    used: set[tuple[bytes, bytes]] = field(default_factory=set)
    revoked: dict[bytes, int] = field(default_factory=dict)


@dataclass(slots=True)
class Judged:
    """What a batch writes."""

    verdicts: list[Verdict] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    frozen: set[bytes] = field(default_factory=set)


def judge(items: Iterable[Item], terminal: Terminal, facts: Facts, now_ms: int) -> Judged:
    """One verdict an item, in order; `facts` is brought along as items are accepted."""
    judged = Judged()
    for item in items:
        judged.verdicts.append(_judge(item, terminal, facts, judged, now_ms))
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
    known = facts.seen.setdefault(aid, [])
    first = next((one for one in known if one.link.h == signed.h), None)
    if first is None:
        _record_evidence(item, known, allowance, facts, judged)
    verdict = _settle(item, facts.allowances[aid], facts)
    if verdict is Verdict.ACCEPTED:
        made = Settled(
            aid=aid,
            counter=voucher.counter,
            h=signed.h,
            terminal=voucher.terminal,
            nonce=voucher.nonce,
            amount=voucher.amount,
        )
        facts.settled[aid, voucher.counter] = made
        facts.used.add((voucher.terminal, voucher.nonce))
        now = facts.allowances[aid]
        facts.allowances[aid] = replace(now, settled=now.settled + voucher.amount)
        judged.settled.append(made)
    if first is None:
        row = Seen(
            aid=aid,
            link=link_of(signed),
            payee=voucher.payee,
            terminal=voucher.terminal,
            nonce=voucher.nonce,
            wire=signed.to_bytes(),
            verdict=verdict,
            seen_at=now_ms,
        )
        known.append(row)
        judged.seen.append(row)
    return verdict


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
    revoked = facts.revoked.get(allowance.aid)
    if revoked is not None and item.applied >= revoked:
        return Verdict.REVOKED
    if voucher.amount > allowance.rest:
        return Verdict.HOLD_EXHAUSTED
    return Verdict.ACCEPTED


def _record_evidence(
    item: Item, known: list[Seen], allowance: Allowance, facts: Facts, judged: Judged
) -> None:
    """Two h at one counter, or a pair that breaks rule 9: kept once, and no new spending."""
    found = verify.conflict(link_of(item.signed), [one.link for one in known])
    if found is None:
        return
    lower, higher = sorted((found.stored_h, found.offered_h))
    judged.evidence.append(
        Evidence(aid=allowance.aid, h=lower, other=higher, verdict=str(found.verdict))
    )
    if not allowance.frozen:
        facts.allowances[allowance.aid] = replace(allowance, frozen=True)
        judged.frozen.add(allowance.aid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Where the rest of a hold goes: (h, payee, amount) claims, unclaimed, and back to the payer."""

    claims: tuple[tuple[bytes, bytes, int], ...]
    unclaimed: int
    returned: int


def close(
    allowance: Allowance,
    refused: Iterable[Seen],
    witnessed: Iterable[Seen],
    returnable: set[bytes],
) -> Closing:
    """Part what is left of the hold; settled + claimed + unclaimed + returned = hold.

    `refused` are the validly signed, unrevoked vouchers that lost as DOUBLE_SPEND, in order of
    receipt: a frozen allowance pays them before it gives anything back. `witnessed` is what only the
    payer showed us; those in `returnable` go back, the others wait as unclaimed for the merchant.
    """
    rest, claims = allowance.rest, []
    if allowance.frozen:
        for one in refused:
            if one.link.amount <= rest:
                claims.append((one.link.h, one.payee, one.link.amount))
                rest -= one.link.amount
    unclaimed = 0
    paid = {h for h, _, _ in claims}
    for one in witnessed:
        if one.link.h not in returnable and one.link.h not in paid:
            part = min(one.link.amount, rest)
            unclaimed += part
            rest -= part
    return Closing(claims=tuple(claims), unclaimed=unclaimed, returned=rest)


def check_issue(cap_total: int, cap_each: int, limits: dict[str, int], open_holds: int) -> None:
    """Raises vouchers.over_limit for a cap above the regulator's, vouchers.caps for a silly pair."""
    if cap_each > cap_total:
        raise limited(
            "vouchers.caps", "one payment may not be above the whole allowance", field="cap_each"
        )
    for name, asked in (("cap_total", cap_total), ("cap_each", cap_each)):
        if asked > limits[name]:
            raise limited(
                "vouchers.over_limit", f"{name} is at most {limits[name]} minor units",
                field=name, limit=limits[name],
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
