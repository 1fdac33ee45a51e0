"""Sessions: told once, hashed at rest, over when idle, old or ended."""

import pytest

from devices.entropy import SystemEntropy
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import rules, service
from server_core.sessions.model import IDLE_MS, LIFE_MS, LINK_LIFE_MS

OPERATOR = Actor(party=None, role=Role.OPERATOR)
ENTROPY = SystemEntropy()


async def refused(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


@pytest.fixture
async def asha(db: Database):
    async with db.work() as work:
        return await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")


async def issue(db: Database, party, role: Role = Role.PAYER, **more) -> str:
    async with db.work() as work:
        return await service.issue(
            work, ENTROPY, more.pop("actor", OPERATOR), party=party.id, role=role, **more
        )


async def test_a_token_makes_its_actor(db: Database, asha) -> None:
    token = await issue(db, asha, assurance=2)
    actor = await service.authenticate(db, token)
    assert (actor.party, actor.role, actor.assurance) == (asha.id, Role.PAYER, 2)
    async with db.reader() as reader:
        stored = await reader.value(
            "SELECT count(*) FROM session WHERE token_hash = $1", token.encode()
        )
    assert stored == 0


@pytest.mark.parametrize("token", [None, "", "nonsense", "0" * 64, "0" * 5000, "'; DROP"])
async def test_other_tokens_are_unauthenticated(db: Database, asha, token) -> None:
    await issue(db, asha)
    assert await refused(service.authenticate(db, token)) == "sessions.unauthenticated"


async def test_idle_and_old_sessions_are_over(db: Database, asha) -> None:
    token = await issue(db, asha)
    for _ in range(LIFE_MS // (IDLE_MS - 1)):
        db.clock.advance(IDLE_MS - 1)
        await service.authenticate(db, token)  # being used keeps it from being idle
    db.clock.advance(IDLE_MS - 1)
    assert await refused(service.authenticate(db, token)) == "sessions.unauthenticated"
    token = await issue(db, asha)
    db.clock.advance(IDLE_MS)
    assert await refused(service.authenticate(db, token)) == "sessions.unauthenticated"


async def test_an_ended_session_is_over_for_sockets_too(db: Database, asha) -> None:
    token = await issue(db, asha)
    actor = await service.authenticate(db, token)
    async with db.reader() as reader:
        await service.still_live(reader, actor.session)
    async with db.work() as work:
        await service.end(work, actor)
    assert await refused(service.authenticate(db, token)) == "sessions.unauthenticated"
    async with db.reader() as reader:
        assert (
            await refused(service.still_live(reader, actor.session)) == "sessions.unauthenticated"
        )


async def test_a_link_works_once_and_for_ten_minutes(db: Database, asha) -> None:
    async def link() -> str:
        async with db.work() as work:
            return await service.link(work, ENTROPY, OPERATOR, party=asha.id, role=Role.PAYER)

    async def open_link(code: str) -> str:
        async with db.work() as work:
            return await service.open_link(work, ENTROPY, code)

    code = await link()
    token = await open_link(code)
    assert (await service.authenticate(db, token)).party == asha.id
    assert await refused(open_link(code)) == "sessions.link_used"
    late = await link()
    db.clock.advance(LINK_LIFE_MS)
    assert await refused(open_link(late)) == "sessions.link_used"


async def test_who_may_issue_and_for_what(db: Database, asha) -> None:
    payer = Actor(party=asha.id, role=Role.PAYER)
    assert await refused(issue(db, asha, actor=payer)) == "sessions.operators_only"
    assert await refused(issue(db, asha, Role.MERCHANT)) == "sessions.role"
    assert await refused(issue(db, asha, assurance=3)) == "sessions.assurance"


def test_a_fresh_proof_is_asked_for() -> None:
    actor = Actor(party=None, role=Role.PAYER, assurance=2, authenticated_at=1_000)
    rules.require_recent(actor, assurance=2, within_ms=300_000, now_ms=301_000)
    for now_ms, assurance in ((301_001, 2), (301_000, 3)):
        with pytest.raises(DomainError) as caught:
            rules.require_recent(actor, assurance=assurance, within_ms=300_000, now_ms=now_ms)
        assert caught.value.code == "sessions.step_up_required"


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "x" * 33, "न" * 11, "a\u202eb", 7, None])
async def test_names_that_a_certificate_cannot_carry(db: Database, name) -> None:
    async with db.work() as work:
        adding = parties.add(work, OPERATOR, kind=Kind.PERSON, name=name)
        assert await refused(adding) == "parties.name"
