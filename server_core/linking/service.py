"""Link a payer's device by proof of possession, list and revoke."""

from typing import Final
from uuid import UUID

from offline.signing import (
    algorithm_of,
    check_public_key,
    enrolment_message,
    verify_signature,
)
from server_core.actor import Actor, Role
from server_core.db.work import Emitted, Reader, Work
from server_core.errors import denied, invalid, not_found
from server_core.linking import store
from server_core.linking.store import Device
from server_core.trust import service as trust
from server_core.trust.service import Keys

TIERS: Final = frozenset({"software"})
MAX_LABEL: Final = 64


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
    """Register a device key for the session's payer; the same key again answers the same device."""
    if actor.role is not Role.PAYER or actor.party is None:
        raise denied("linking.role", "only a payer links a device")
    if tier not in TIERS:
        raise invalid(
            "linking.tier", f"tier must be one of {', '.join(sorted(TIERS))}", field="tier"
        )
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
        tier=tier,
        label=label,
        linked_at=work.now_ms,
    )
    await store.insert(work, device)
    work.emit(_event("device.linked", device, actor))
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


async def revoke(work: Work, actor: Actor, device: UUID) -> Device:
    """End a device. `vouchers.revoke_device` also stops what was issued to it."""
    found = await lock_own(work, actor, device)
    await store.revoke(work, found.id)
    work.emit(_event("device.revoked", found, actor))
    return found


def _event(name: str, device: Device, actor: Actor) -> Emitted:
    return Emitted(
        aggregate_type="device",
        aggregate_id=device.id,
        type=name,
        payload={"party": str(device.party), "tier": device.tier},
        actor=actor,
    )
