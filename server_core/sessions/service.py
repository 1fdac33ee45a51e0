"""Issue, link, read and end sessions."""

import hashlib
from typing import Final
from uuid import UUID

from devices.entropy import Entropy
from server_core.actor import Actor, Role
from server_core.db.work import Database, Reader, Work
from server_core.errors import denied, invalid
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import rules, store
from server_core.sessions.model import LIFE_MS, LINK_LIFE_MS, TOUCH_MS, Session

TOKEN_BYTES: Final = 32
_ROLES: Final = {
    Kind.PERSON: {Role.PAYER, Role.GUARDIAN, Role.DELEGATE},
    Kind.MERCHANT: {Role.MERCHANT},
}


async def issue(
    work: Work,
    entropy: Entropy,
    actor: Actor,
    *,
    party: UUID,
    role: Role,
    assurance: int = 1,
    device: UUID | None = None,
) -> str:
    """A new session's token, told once and stored hashed. Operators only, until passkeys."""
    if actor.role is not Role.OPERATOR:
        raise denied("sessions.operators_only", "only an operator may issue a session")
    await _check(work, party, role, assurance)
    return await _start(work, entropy, party, role, assurance, device)


async def link(
    work: Work, entropy: Entropy, actor: Actor, *, party: UUID, role: Role, assurance: int = 1
) -> str:
    """A one-time code (10 minutes) that a browser turns into a session. Operators only."""
    if actor.role is not Role.OPERATOR:
        raise denied("sessions.operators_only", "only an operator may issue a link")
    await _check(work, party, role, assurance)
    code = entropy.bytes(TOKEN_BYTES).hex()
    await store.insert_link(work, _hash(code), party, role, assurance, work.now_ms + LINK_LIFE_MS)
    return code


async def open_link(work: Work, entropy: Entropy, code: str) -> str:
    """The session token behind a link's code; raises sessions.link_used for any other."""
    row = await store.use_link(work, _hash(code))
    if row is None:
        raise denied("sessions.link_used", "this link is unknown, used or over: ask for a new one")
    return await _start(work, entropy, row["party"], Role(row["role"]), row["assurance"], None)


async def sign_in(work: Work, entropy: Entropy, *, party: UUID, role: Role) -> str:
    """A session of level 2 for whom a passkey has just proved; its caller answers for that."""
    await _check(work, party, role, 2)
    return await _start(work, entropy, party, role, 2, None)


async def proved(work: Work, session: UUID) -> None:
    """The session's person was proved again just now, at level 2; its caller answers for that."""
    await store.prove(work, session)


async def authenticate(db: Database, token: str | None) -> Actor:
    """The Actor behind a token; raises sessions.unauthenticated."""
    if not token or len(token) > 2 * TOKEN_BYTES:
        raise rules.unauthenticated()
    async with db.reader() as reader:
        session = rules.check_live(await store.by_token(reader, _hash(token)), reader.now_ms)
        stale = reader.now_ms - session.seen_at > TOUCH_MS
    if stale:
        async with db.work() as work:
            await store.touch(work, session.id)
    return session.actor()


async def still_live(reader: Reader, session: UUID) -> None:
    """Re-check for a socket; raises sessions.unauthenticated when it was ended meanwhile."""
    rules.check_live(await store.by_id(reader, session), reader.now_ms)


async def end(work: Work, actor: Actor) -> None:
    if actor.session is not None:
        await store.end(work, actor.session)


async def _check(work: Work, party: UUID, role: Role, assurance: int) -> None:
    found = await parties.get(work, party)
    if role not in _ROLES[found.kind]:
        raise invalid("sessions.role", f"a {found.kind} cannot act as {role}", field="role")
    if assurance not in {1, 2}:
        raise invalid("sessions.assurance", "assurance is 1 or 2", field="aal")


async def _start(
    work: Work, entropy: Entropy, party: UUID, role: Role, assurance: int, device: UUID | None
) -> str:
    token = entropy.bytes(TOKEN_BYTES).hex()
    session = Session(
        id=work.ids.new(),
        party=party,
        role=role,
        device=device,
        assurance=assurance,
        authenticated_at=work.now_ms,
        seen_at=work.now_ms,
        expires_at=work.now_ms + LIFE_MS,
    )
    await store.insert(work, session, _hash(token))
    return token


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
