"""Make a passkey, sign in with one, prove the person again for one thing, rename and end them."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from devices import passkeys as ceremonies
from devices.entropy import Entropy
from devices.passkeys import PasskeyRefused, RelyingParty
from server_core.actor import Actor, Role
from server_core.db.work import Database, Emitted, Reader, Work
from server_core.errors import DomainError, conflict, denied, invalid, limited, not_found
from server_core.parties import service as parties
from server_core.passkeys import store
from server_core.passkeys.model import (
    CHALLENGE_LIFE_MS,
    MAX_LABEL,
    MAX_PASSKEYS,
    STEP_UP_MS,
    Challenge,
    Owned,
    Purpose,
)
from server_core.sessions import rules as session_rules
from server_core.sessions import service as sessions

T = TypeVar("T")


class Asked(Struct, frozen=True, kw_only=True):
    """What a browser is given: WebAuthn options, and the ticket of a screen without a session."""

    options: dict[str, Any]
    ticket: str = ""


async def begin_registration(
    work: Work, entropy: Entropy, site: RelyingParty, actor: Actor
) -> Asked:
    """Ask for a new passkey of the session's party, proved within five minutes.

    Raises sessions.step_up_required, passkeys.too_many.
    """
    party, session = _signed_in(actor)
    session_rules.require_recent(actor, assurance=2, within_ms=STEP_UP_MS, now_ms=work.now_ms)
    known = await store.of_party(work, party)
    _room(known)
    challenge = await _ask(work, entropy, Purpose.REGISTER, session.bytes)
    owner = await parties.get(work, party)
    return Asked(
        options=ceremonies.creation_options(
            site,
            handle=await store.handle_of(work, party, entropy.bytes(ceremonies.HANDLE_SIZE)),
            name=owner.name,
            challenge=challenge,
            known=[one.passkey.credential for one in known],
        )
    )


async def finish_registration(
    db: Database, site: RelyingParty, actor: Actor, answer: str, label: str
) -> Owned:
    """Keep the passkey that the answer made. Its challenge is used up, whatever the answer.

    Raises passkeys.challenge, passkeys.refused and its kin, passkeys.known, passkeys.label.
    """
    party, session = _signed_in(actor)
    name = check_label(label)
    challenge = await _used(db, answer, Purpose.REGISTER, session.bytes, None)
    made = _held(lambda: ceremonies.check_created(site, answer, challenge))

    async def do(work: Work) -> Owned:
        await sessions.still_live(work, session)
        await store.lock_party(work, party)
        _room(await store.of_party(work, party))
        one = Owned(id=work.ids.new(), party=party, passkey=made, label=name, made_at=work.now_ms)
        if not await store.insert(work, one):
            raise conflict("passkeys.known", "this passkey is known: make a new one")
        work.emit(_event("passkey.added", one, actor))
        return one

    return await db.transact(do)


async def begin_sign_in(work: Work, entropy: Entropy, site: RelyingParty) -> Asked:
    """Ask whoever is at a screen for a passkey; the ticket goes back with the answer."""
    ticket = entropy.bytes(16)
    challenge = await _ask(work, entropy, Purpose.SIGN_IN, ticket)
    options = ceremonies.request_options(site, challenge=challenge)
    return Asked(options=options, ticket=ticket.hex())


async def finish_sign_in(
    db: Database, entropy: Entropy, site: RelyingParty, *, answer: str, ticket: str, role: Role
) -> str:
    """A new session's token for the passkey's owner, who was verified. Raises passkeys.…, sessions.role."""
    try:
        holder = bytes.fromhex(ticket)
    except ValueError as e:
        raise _no_challenge() from e
    challenge = await _used(db, answer, Purpose.SIGN_IN, holder, None)

    async def do(work: Work) -> str:
        one = await _asserted(work, site, answer, challenge)
        work.emit(_event("passkey.signed_in", one, Actor(party=one.party, role=role)))
        return await sessions.sign_in(work, entropy, party=one.party, role=role)

    return await db.transact(do)


async def begin_step_up(
    work: Work, entropy: Entropy, site: RelyingParty, actor: Actor, about: bytes | None = None
) -> Asked:
    """Ask the session's person again: in general, or for the one thing that `about` is the hash of."""
    party, session = _signed_in(actor)
    challenge = await _ask(work, entropy, Purpose.STEP_UP, session.bytes, about)
    allowed = [one.passkey.credential for one in await store.of_party(work, party)]
    if not allowed:
        raise conflict("passkeys.none", "make a passkey first")
    return Asked(options=ceremonies.request_options(site, challenge=challenge, allowed=allowed))


async def finish_step_up(
    db: Database, site: RelyingParty, actor: Actor, answer: str, about: bytes | None = None
) -> Owned:
    """The passkey that proved the session's person, for `about` and for nothing else.

    Without `about` the session counts as proved from now on.
    """
    party, session = _signed_in(actor)
    challenge = await _used(db, answer, Purpose.STEP_UP, session.bytes, about)

    async def do(work: Work) -> Owned:
        await sessions.still_live(work, session)
        one = await _asserted(work, site, answer, challenge)
        if one.party != party:
            raise _refused("this passkey is somebody else's")
        if about is None:
            await sessions.proved(work, session)
        return one

    return await db.transact(do)


async def mine(reader: Reader, actor: Actor) -> list[Owned]:
    return await store.of_party(reader, actor.party) if actor.party else []


async def rename(work: Work, actor: Actor, identity: UUID, label: str) -> Owned:
    """Raises passkeys.unknown, passkeys.label."""
    one = replace(await _own(work, actor, identity), label=check_label(label))
    await store.save(work, one)
    return one


async def end(work: Work, actor: Actor, identity: UUID) -> Owned:
    """End a passkey for good; a repeat answers the same. The last one stays: it is the way in."""
    session_rules.require_recent(actor, assurance=2, within_ms=STEP_UP_MS, now_ms=work.now_ms)
    if actor.party is not None:
        await store.lock_party(work, actor.party)
    one = await _own(work, actor, identity, ended=True)
    if one.ended_at is not None:
        return one
    if len(await store.of_party(work, one.party)) == 1:
        raise conflict("passkeys.last", "this is the only passkey: make another one first")
    one = replace(one, ended_at=work.now_ms)
    await store.save(work, one)
    work.emit(_event("passkey.ended", one, actor))
    return one


def check_label(label: str) -> str:
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise invalid("passkeys.label", f"label must be 1 to {MAX_LABEL} characters", field="label")
    return label


async def _asserted(work: Work, site: RelyingParty, answer: str, challenge: bytes) -> Owned:
    """The passkey behind a good answer, its use written down; under its lock, so that counts only rise."""
    named = _held(lambda: ceremonies.read_assertion(answer))
    one = await store.lock_by_credential(work, named.credential)
    if one is None or one.ended_at is not None:
        raise _refused("this passkey is unknown or was ended")
    if named.handle is not None and await store.party_of(work, named.handle) != one.party:
        raise _refused("this passkey is somebody else's")
    kept = one.passkey
    passkey = _held(lambda: ceremonies.check_asserted(site, answer, challenge, kept))
    one = replace(one, passkey=passkey, used_at=work.now_ms)
    await store.save(work, one)
    return one


async def _ask(
    work: Work, entropy: Entropy, purpose: Purpose, holder: bytes, about: bytes | None = None
) -> bytes:
    value = entropy.bytes(ceremonies.CHALLENGE_SIZE)
    await store.ask(
        work,
        Challenge(
            value=value,
            purpose=purpose,
            holder=_digest(holder),
            about=about,
            expires_at=work.now_ms + CHALLENGE_LIFE_MS,
        ),
    )
    return value


async def _used(
    db: Database, answer: str, purpose: Purpose, holder: bytes, about: bytes | None
) -> bytes:
    """The challenge that an answer is for, used up by a commit of its own: a bad answer cannot try twice."""
    value = _held(lambda: ceremonies.challenge_of(answer))

    async def do(work: Work) -> bool:
        return await store.use(work, value, purpose, _digest(holder), about)

    if not await db.transact(do):
        raise _no_challenge()
    return value


async def _own(work: Work, actor: Actor, identity: UUID, *, ended: bool = False) -> Owned:
    one = await store.lock(work, identity)
    if one is None or one.party != actor.party or (one.ended_at is not None and not ended):
        raise not_found("passkeys.unknown", "no such passkey", field="passkey")
    return one


def _signed_in(actor: Actor) -> tuple[UUID, UUID]:
    if actor.party is None or actor.session is None:
        raise denied("passkeys.session", "passkeys belong to a signed-in person")
    return actor.party, actor.session


def _room(known: list[Owned]) -> None:
    if len(known) >= MAX_PASSKEYS:
        raise limited("passkeys.too_many", "end a passkey that is not used", limit=MAX_PASSKEYS)


def _held(check: Callable[[], T]) -> T:
    """What a ceremony gives; its refusal as ours."""
    try:
        return check()
    except PasskeyRefused as e:
        raise denied(e.code, str(e)) from e


def _refused(why: str) -> DomainError:
    return denied("passkeys.refused", why)


def _no_challenge() -> DomainError:
    return denied("passkeys.challenge", "this was not asked, was answered, or is over: ask again")


def _digest(holder: bytes) -> bytes:
    return hashlib.sha256(holder).digest()


def _event(name: str, one: Owned, actor: Actor) -> Emitted:
    return Emitted(
        aggregate_type="passkey",
        aggregate_id=one.id,
        type=name,
        payload={"party": str(one.party), "synced": one.passkey.synced},
        actor=actor,
    )
