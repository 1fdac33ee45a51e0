"""Link a payer's device by proof of possession, list and revoke; its tier is an operator's word."""

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from devices.keystore.port import Tier
from offline.signing import (
    algorithm_of,
    check_public_key,
    enrolment_message,
    verify_signature,
)
from server_core.actor import Actor, Role
from server_core.db.work import Emitted, Reader, Work
from server_core.errors import conflict, denied, invalid, not_found
from server_core.linking import store
from server_core.linking.store import Device
from server_core.trust import service as trust
from server_core.trust.service import Keys

MAX_LABEL: Final = 64
MAX_EVIDENCE: Final = 500


async def link(
    work: Work,
    keys: Keys,
    actor: Actor,
    *,
    key: bytes,
    tier: str,
    label: str,
    nonce: bytes,
    proof: bytes,
) -> Device:
    """Register a device key for the session's payer; the same key again answers the same device.

    It begins as `software`: `tier` is what it claims, which proves nothing and is only told in the
    event, for the operator who may raise it.
    """
    if actor.role is not Role.PAYER or actor.party is None:
        raise denied("linking.role", "only a payer links a device")
    claimed = known_tier(tier)
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise invalid("linking.label", f"label must be 1 to {MAX_LABEL} characters", field="label")
    await trust.use_nonce(work, keys, nonce)
    if not check_public_key(key):
        raise invalid("linking.key", "key must be a sound Ed25519 or P-256 public key", field="key")
    message = enrolment_message("payer", nonce, key, actor.party.bytes)
    if not verify_signature(algorithm_of(key), key, message, proof):
        raise denied("linking.proof", "the proof of possession does not hold", field="proof")
    known = await store.of_key(work, key)
    if known is not None:
        if known.party != actor.party or known.revoked_at is not None:
            raise invalid("linking.key", "this key cannot be linked: make a new one", field="key")
        return known
    device = Device(
        id=work.ids.new(),
        party=actor.party,
        key=key,
        tier=Tier.SOFTWARE,
        label=label,
        linked_at=work.now_ms,
    )
    await store.insert(work, device)
    work.emit(_event("device.linked", device, actor, tier=device.tier, claimed=claimed))
    return device


async def lock_own(work: Work, actor: Actor, device: UUID) -> Device:
    """The actor's live device, with all of its party's locked: what counts over them waits its turn.

    A foreign or revoked one answers as if it did not exist.
    """
    if actor.party is not None:
        for found in await store.lock_of_party(work, actor.party):
            if found.id == device and found.revoked_at is None:
                return found
    raise not_found("linking.unknown", "no such device", field="device")


async def mine(reader: Reader, actor: Actor) -> list[Device]:
    return await store.of_party(reader, actor.party) if actor.party else []


async def of_party(reader: Reader, actor: Actor, party: UUID) -> list[Device]:
    """Whatever the party linked, also what ended; for operators."""
    _operators(actor)
    return await store.of_party(reader, party)


async def set_tier(
    work: Work, actor: Actor, device: UUID, tier: str, *, evidence: str
) -> tuple[Device, bool]:
    """Say how well a device's key is kept, as an operator who has looked; and whether that is new.

    `evidence` is what was looked at: 1 to 500 printable characters, kept in the event. Only new
    allowances are bound by it. Raises linking.operator, linking.tier, linking.evidence,
    linking.unknown, linking.revoked.
    """
    _operators(actor)
    wanted = known_tier(tier)
    if not evidence.strip() or len(evidence) > MAX_EVIDENCE or not evidence.isprintable():
        raise invalid(
            "linking.evidence",
            f"say in 1 to {MAX_EVIDENCE} printable characters what the tier stands on",
            field="evidence",
        )
    found = await store.lock(work, device)
    if found is None:
        raise not_found("linking.unknown", "no such device", field="device")
    if found.revoked_at is not None:
        raise conflict("linking.revoked", "this device has ended: it gets no tier", field="device")
    if found.tier == wanted:
        return found, False
    await store.set_tier(work, device, wanted)
    said = {"before": found.tier, "after": wanted, "evidence": evidence}
    work.emit(_event("device.tier_changed", found, actor, **said))
    return replace(found, tier=wanted), True


def known_tier(name: str) -> Tier:
    """Raises linking.tier."""
    try:
        return Tier(name)
    except ValueError:
        known = ", ".join(sorted(Tier))
        raise invalid("linking.tier", f"tier must be one of {known}", field="tier") from None


async def revoke(work: Work, actor: Actor, device: UUID) -> Device:
    """End a device. `vouchers.revoke_device` also stops what was issued to it."""
    found = await lock_own(work, actor, device)
    await store.revoke(work, found.id)
    work.emit(_event("device.revoked", found, actor, tier=found.tier))
    return found


def _operators(actor: Actor) -> None:
    if actor.role is not Role.OPERATOR:
        raise denied("linking.operator", "only an operator looks at or judges others' devices")


def _event(name: str, device: Device, actor: Actor, **said: str) -> Emitted:
    return Emitted(
        aggregate_type="device",
        aggregate_id=device.id,
        type=name,
        payload={"party": str(device.party), **said},
        actor=actor,
    )
