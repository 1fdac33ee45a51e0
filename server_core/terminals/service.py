"""Pair, enrol, find and quarantine terminals."""

import hashlib
from collections.abc import Collection
from uuid import UUID

from msgspec.structs import replace

from devices.entropy import Entropy
from offline.codec import certificate_bytes
from offline.model import Certificate
from offline.signing import (
    algorithm_of,
    certificate_message,
    check_public_key,
    enrolment_message,
    verify_signature,
)
from server_core.actor import Actor, Role
from server_core.db.work import Emitted, Reader, Work
from server_core.errors import conflict, denied, invalid, not_found
from server_core.ids import derived
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.terminals import store
from server_core.terminals.model import CERTIFICATE_LIFE_S, PAIRING_LIFE_MS, State, Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys


async def pair(work: Work, entropy: Entropy, keys: Keys, actor: Actor, *, merchant: UUID) -> str:
    """A pairing string `HUNDI-PAIR:<code>:<fingerprint of the root>`: 10 minutes, once.

    Operators, and a merchant for itself.
    """
    own = actor.role is Role.MERCHANT and actor.party == merchant
    if actor.role is not Role.OPERATOR and not own:
        raise denied("terminals.role", "only the merchant or an operator pairs a terminal")
    party = await parties.get(work, merchant)
    if party.kind is not Kind.MERCHANT:
        raise invalid("terminals.merchant", "only a merchant has terminals", field="merchant")
    code = entropy.bytes(16).hex()
    await store.insert_pairing(work, _hash(code), merchant, work.now_ms + PAIRING_LIFE_MS)
    return f"HUNDI-PAIR:{code}:{keys.fingerprint}"


async def enrol(
    work: Work, entropy: Entropy, keys: Keys, *, code: str, key: bytes, nonce: bytes, proof: bytes
) -> Terminal:
    """Register the key behind a pairing code, with proof that its holder asks.

    The same code with the same key answers the same terminal, so that a lost answer costs nothing.
    """
    await trust.use_nonce(work, keys, nonce)
    check_possession("terminal", key, nonce, code.encode(), proof)
    pairing = await store.lock_pairing(work, _hash(code))
    if pairing is None or work.now_ms >= pairing["expires_at"]:
        raise denied("terminals.code", "this pairing code is unknown, used or over: pair again")
    if pairing["terminal"] is not None:
        known = await store.get(work, pairing["terminal"])
        if known is None or known.key != key:
            raise denied("terminals.code", "this pairing code is unknown, used or over: pair again")
        return known
    if await store.of_key(work, key) is not None:
        raise invalid(
            "terminals.key", "this key is another terminal's: make a new one", field="key"
        )
    party = await parties.get(work, pairing["merchant"])
    if party.payee is None:
        raise invalid("terminals.merchant", "only a merchant has terminals", field="merchant")
    identity = entropy.bytes(4)
    raw = certificate_bytes(
        Certificate(
            terminal=identity,
            payee=party.payee,
            terminal_key=key,
            name=party.name,
            mcc=int(party.mcc),
            # A certificate is worth nothing without the key that signed it.
            not_after=min(work.now_ms // 1000 + CERTIFICATE_LIFE_S, keys.not_after),
        )
    )
    terminal = Terminal(
        id=identity,
        party=party.id,
        payee=party.payee,
        key=key,
        kid=keys.kid,
        cert=raw,
        sig_cert=await keys.sign(certificate_message(keys.kid, raw)),
        state=State.ACTIVE,
        enrolled_at=work.now_ms,
    )
    await store.insert(work, terminal)
    await store.use_pairing(work, _hash(code), identity)
    work.emit(_event("terminal.enrolled", terminal))
    return terminal


def check_possession(role: str, key: bytes, nonce: bytes, subject: bytes, proof: bytes) -> None:
    """E: the key is a sound one and its holder signed this very enrolment."""
    if not check_public_key(key):
        raise invalid(
            "terminals.key", "key must be a sound Ed25519 or P-256 public key", field="key"
        )
    if not verify_signature(
        algorithm_of(key), key, enrolment_message(role, nonce, key, subject), proof
    ):
        raise denied("terminals.proof", "the proof of possession does not hold", field="proof")


async def get(reader: Reader, terminal: bytes) -> Terminal:
    found = await store.get(reader, terminal)
    if found is None:
        raise not_found("terminals.unknown", "no such terminal")
    return found


async def get_many(reader: Reader, terminals: Collection[bytes]) -> dict[bytes, Terminal]:
    return await store.get_many(reader, terminals)


async def mine(reader: Reader, actor: Actor) -> list[Terminal]:
    if actor.role is not Role.MERCHANT or actor.party is None:
        return []
    return await store.of_party(reader, actor.party)


async def silent(reader: Reader, for_ms: int, limit: int) -> list[tuple[Terminal, int]]:
    """Active terminals that have not synced for so long, and when each last did (Unix ms)."""
    return await store.silent(reader, reader.now_ms - for_ms, limit)


async def synced(work: Work, terminal: Terminal) -> None:
    """Its journal was taken, up to where it stands now."""
    await store.synced(work, terminal.id)


async def quarantine(work: Work, terminal: Terminal) -> None:
    """Its journal forked: it may drain, and an operator looks before it is paid out."""
    if await store.quarantine(work, terminal.id):
        work.emit(_event("terminal.quarantined", terminal))


async def page(
    reader: Reader, actor: Actor, *, state: State | None, after: bytes, limit: int
) -> list[tuple[Terminal, int]]:
    """A page of terminals by id with each one's last sync (Unix ms): an operator's all, a shop's own."""
    if actor.role is Role.OPERATOR:
        return await store.page(reader, None, state, after, limit)
    if actor.role is not Role.MERCHANT or actor.party is None:
        return []
    return await store.page(reader, actor.party, state, after, limit)


async def release(work: Work, actor: Actor, terminal: bytes) -> Terminal:
    """End a quarantine, as an operator who has looked; a repeat changes nothing.

    A terminal that still writes its second history is quarantined again at its next sync: restore or
    pair it anew first. Raises terminals.operator, terminals.unknown, terminals.revoked.
    """
    if actor.role is not Role.OPERATOR:
        raise denied("terminals.operator", "only an operator ends a quarantine")
    found = await get(work, terminal)
    if found.state is State.REVOKED:
        raise conflict("terminals.revoked", "this terminal is revoked: pair a new one")
    if found.state is State.QUARANTINED:
        await store.set_state(work, terminal, State.ACTIVE)
        work.emit(_event("terminal.released", found))
    return replace(found, state=State.ACTIVE)


async def revoke(work: Work, actor: Actor, terminal: bytes) -> Terminal:
    """End a terminal: stolen or given up. It may still drain; operators, and its own merchant."""
    found = await store.get(work, terminal)
    own = found is not None and actor.role is Role.MERCHANT and actor.party == found.party
    if found is None or not (own or actor.role is Role.OPERATOR):
        raise not_found("terminals.unknown", "no such terminal")
    if found.state is not State.REVOKED:
        await store.set_state(work, terminal, State.REVOKED)
        work.emit(_event("terminal.revoked", found))
    return replace(found, state=State.REVOKED)


def _event(name: str, terminal: Terminal) -> Emitted:
    return Emitted(
        aggregate_type="terminal",
        aggregate_id=derived("terminal", terminal.id.hex()),
        type=name,
        payload={"terminal": terminal.id.hex(), "merchant": str(terminal.party)},
        actor=terminal.actor(),
    )


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
