"""Issue an allowance backed by a hold, and take it back: by its device, or with its device."""

from typing import Any
from uuid import UUID

from msgspec.structs import replace

from devices.entropy import Entropy
from offline import codec
from offline.model import AID_SIZE
from offline.model import Allowance as OfflineAllowance
from offline.signing import (
    algorithm_of,
    allowance_message,
    sha256,
    surrender_message,
    verify_signature,
)
from server_core.actor import Actor, Role
from server_core.db.work import Database, Work
from server_core.errors import conflict, denied, invalid, unavailable
from server_core.idempotency import rules as keys_rules
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Claim, Mismatch, Replay
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Result, Transfer, account_id
from server_core.linking import service as linking
from server_core.linking.store import Device
from server_core.money import known_currency, positive_minor
from server_core.sessions import rules as session_rules
from server_core.trust.model import CLOCK_SLACK_S
from server_core.trust.service import Keys
from server_core.vouchers import freezing, rules, store, tiers
from server_core.vouchers.answers import event, unknown
from server_core.vouchers.model import STEP_UP_MS, Allowance, State


async def issue(
    db: Database,
    keys: Keys,
    entropy: Entropy,
    actor: Actor,
    *,
    key: str,
    device: UUID,
    currency: str,
    cap_total: int,
    cap_each: int,
) -> Allowance:
    """Set `cap_total` aside from the wallet and sign A for the device; a repeat answers the same A.

    Bounded by the limits of the device's tier as it is while the device is locked. Asks for aal 2
    younger than 5 minutes. Raises vouchers.* for caps, holds, funds and an open one.
    """
    if actor.role is not Role.PAYER or actor.party is None:
        raise denied("vouchers.role", "only a payer takes an allowance")
    positive_minor(cap_total, field="cap_total")
    positive_minor(cap_each, field="cap_each")
    if keys.bundle.bundle.policy(known_currency(currency)) is None:
        raise invalid(
            "vouchers.currency", "no terminal takes vouchers in this currency", field="currency"
        )
    body = {"device": device, "currency": currency, "total": cap_total, "each": cap_each}
    claim = Claim(
        scope=str(actor.party),
        key=keys_rules.check_key(key, field="idempotency_key"),
        verb="allowance.issue",
        body=keys_rules.body_hash(body),
    )

    async def do(work: Work) -> Allowance:
        [found] = await idempotency.claim(work, [claim])
        if isinstance(found, Mismatch):
            raise keys_rules.mismatch()
        if isinstance(found, Replay):
            return await get(work, bytes.fromhex(found.answer["aid"]))
        session_rules.require_recent(actor, assurance=2, within_ms=STEP_UP_MS, now_ms=work.now_ms)
        holder = await linking.lock_own(work, actor, device)
        profile = await tiers.limits_of(work, holder.tier)
        open_ones = await _drained(work, await store.lock_open(work, holder.party))
        frozen = await store.is_frozen(work, holder.party, device)
        rules.check_device(device, open_ones, frozen=frozen)
        rules.check_issue(
            cap_total, cap_each, holder.tier, profile, sum(one.rest for one in open_ones)
        )
        made = await _sign(keys, entropy, work.now_ms // 1000, holder, currency, profile, body)
        await store.insert_allowance(work, made)
        await _set_aside(work, made)
        work.emit(event("allowance.issued", made, actor))
        await idempotency.answer(work, [(claim, {"aid": made.aid.hex()})])
        return made

    return await db.transact(do)


async def _drained(work: Work, found: list[Allowance]) -> list[Allowance]:
    """Those whose spending time is over drain from now on."""
    over = [
        replace(one, state=State.DRAINING)
        for one in found
        if one.state is State.ISSUED and one.spend_until < work.now_ms // 1000
    ]
    if over:
        await store.save(work, over)
    changed = {one.aid: one for one in over}
    return [changed.get(one.aid, one) for one in found]


async def _sign(
    keys: Keys,
    entropy: Entropy,
    now_s: int,
    holder: Device,
    currency: str,
    profile: dict[str, int],
    caps: dict[str, Any],
) -> Allowance:
    settle_until = now_s + profile["settle_window_s"]
    if settle_until > keys.not_after:
        raise unavailable("vouchers.issuer_key_over", "the issuer's key must be rotated first")
    offline = OfflineAllowance(
        aid=entropy.bytes(AID_SIZE),
        device_key=holder.key,
        ccy=currency,
        cap_total=caps["total"],
        cap_each=caps["each"],
        max_count=profile["max_count"],
        not_before=now_s - CLOCK_SLACK_S,  # a terminal's clock may lag
        spend_until=now_s + profile["spend_window_s"],
        settle_until=settle_until,
        flags=int(algorithm_of(holder.key)),
    )
    raw = codec.allowance_bytes(offline)
    return Allowance(
        aid=offline.aid,
        party=holder.party,
        device=holder.id,
        currency=currency,
        kid=keys.kid,
        raw=raw,
        sig=await keys.sign(allowance_message(keys.kid, raw)),
        digest=sha256(raw),
        hold=offline.cap_total,
        spend_until=offline.spend_until,
        settle_until=settle_until,
        state=State.ISSUED,
        frozen=False,
        settled=0,
        claimed=0,
        unclaimed=0,
        returned=0,
    )


async def _set_aside(work: Work, made: Allowance) -> None:
    owner = made.aid.hex()
    await ledger.open_accounts(work, [ledger.account(Code.OFFLINE, owner, made.currency)])
    [outcome] = await ledger.post(
        work,
        [
            Transfer(
                id=derived("allowance", owner),
                debit=account_id(Code.WALLET, made.party, made.currency),
                credit=account_id(Code.OFFLINE, owner, made.currency),
                amount=made.hold,
                ledger=made.currency,
                code="allowance",
                reference=owner,
            )
        ],
    )
    if outcome.result is Result.EXCEEDS_FUNDS:
        raise conflict(
            "vouchers.insufficient_funds",
            "the wallet does not hold enough",
            available=outcome.available,
        )
    if not outcome.ok:
        raise conflict("vouchers.no_account", "there is no wallet in this currency")


async def get(work: Work, aid: bytes) -> Allowance:
    found = await store.allowance(work, aid)
    if found is None:
        raise unknown()
    return found


async def surrender(
    db: Database, actor: Actor, *, aid: bytes, counter: int, cum: int, h: bytes, sig: bytes
) -> State:
    """The device gives up spending (Z, signed by its key): ISSUED drains. A repeat answers the same."""

    async def do(work: Work) -> State:
        found = (await store.lock(work, [aid])).get(aid)
        if found is None or actor.role is not Role.PAYER or found.party != actor.party:
            raise unknown()
        device_key = codec.read_allowance(found.raw).device_key
        message = surrender_message(found.raw, counter, cum, h)
        if not verify_signature(algorithm_of(device_key), device_key, message, sig):
            raise denied("vouchers.surrender", "the device's signature does not hold", field="sig")
        drained = rules.surrender(found)
        if drained is found:
            return found.state
        await store.save(work, [drained])
        said = {"counter": counter, "cum": str(cum), "h": h.hex(), "sig": sig.hex()}
        work.emit(event("allowance.surrendered", drained, actor, **said))
        return drained.state

    return await db.transact(do)


async def revoke_device(db: Database, actor: Actor, device: UUID) -> Device:
    """End a lost device, and stop every allowance that it may still spend or have spent from."""

    async def do(work: Work) -> Device:
        ended = await linking.revoke(work, actor, device)
        held = [one for one in await store.lock_open(work, ended.party) if one.device == device]
        await freezing.freeze(work, held, actor)
        return ended

    return await db.transact(do)
