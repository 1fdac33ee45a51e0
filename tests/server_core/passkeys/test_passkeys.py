"""Passkeys on the real database: made, used, ended; and every shortcut to somebody else's account."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from devices.entropy import SystemEntropy
from devices.passkeys import RelyingParty
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.passkeys import jobs, service
from server_core.passkeys.model import CHALLENGE_LIFE_MS, MAX_PASSKEYS, Owned
from server_core.sessions import service as sessions
from tests.authenticator import BE, UP, UV, Authenticator

ORIGIN = "https://pay.example"
SITE = RelyingParty(id="pay.example", name="Hundi", origins=(ORIGIN,))
OPERATOR = Actor(party=None, role=Role.OPERATOR)
CHANCE = SystemEntropy()


@dataclass
class Person:
    """Somebody with an account, a session, and devices that hold passkeys."""

    db: Database
    actor: Actor
    devices: list[Authenticator] = field(default_factory=list)

    @classmethod
    async def new(cls, db: Database, name: str = "Asha", assurance: int = 2) -> "Person":
        async with db.work() as work:
            party = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=name)
            token = await sessions.issue(
                work, CHANCE, OPERATOR, party=party.id, role=Role.PAYER, assurance=assurance
            )
        return cls(db, await sessions.authenticate(db, token))

    async def options(self) -> dict[str, Any]:
        async with self.db.work() as work:
            return (await service.begin_registration(work, CHANCE, SITE, self.actor)).options

    async def adds(self, device: Authenticator | None = None, label: str = "phone") -> Owned:
        self.db.clock.advance(1)
        device = device or Authenticator(ORIGIN)
        self.devices.append(device)
        answer = device.create(await self.options())
        return await service.finish_registration(self.db, SITE, self.actor, answer, label)

    async def asked_again(self, about: bytes | None = None) -> dict[str, Any]:
        async with self.db.work() as work:
            asked = await service.begin_step_up(work, CHANCE, SITE, self.actor, about)
        return asked.options


async def asked(db: Database) -> tuple[dict[str, Any], str]:
    async with db.work() as work:
        made = await service.begin_sign_in(work, CHANCE, SITE)
    return made.options, made.ticket


async def signs_in(db: Database, device: Authenticator, role: Role = Role.PAYER) -> Actor:
    options, ticket = await asked(db)
    token = await service.finish_sign_in(
        db, CHANCE, SITE, answer=device.get(options), ticket=ticket, role=role
    )
    return await sessions.authenticate(db, token)


def refused(code: str) -> Any:
    return pytest.raises(DomainError, match=rf"passkeys\.{code}")


async def test_somebody_signs_in_with_nothing_but_a_passkey(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    await asha.adds()
    await ravi.adds()
    for person in (asha, ravi, asha):
        actor = await signs_in(db, person.devices[0])
        assert (actor.party, actor.role, actor.assurance) == (person.actor.party, Role.PAYER, 2)
    assert (await signs_in(db, asha.devices[0], Role.GUARDIAN)).role is Role.GUARDIAN
    with pytest.raises(DomainError, match=r"sessions\.role"):
        await signs_in(db, asha.devices[0], Role.MERCHANT)


async def test_several_are_kept_named_and_ended_but_never_the_last(db: Database):
    asha = await Person.new(db)
    one, two = await asha.adds(label="phone"), await asha.adds(label="laptop")
    async with db.work() as work:
        await service.rename(work, asha.actor, one.id, "old phone")
    async with db.reader() as reader:
        assert [o.label for o in await service.mine(reader, asha.actor)] == ["old phone", "laptop"]
    async with db.work() as work:
        await service.end(work, asha.actor, one.id)
    async with db.work() as work:
        assert (await service.end(work, asha.actor, one.id)).ended_at is not None
    with refused("refused"):
        await signs_in(db, asha.devices[0])
    with refused("last"):
        async with db.work() as work:
            await service.end(work, asha.actor, two.id)
    await signs_in(db, asha.devices[1])


async def test_two_that_end_each_other_at_once_leave_one(db: Database):
    asha = await Person.new(db)
    kept = [await asha.adds(), await asha.adds()]

    async def end(one: Owned) -> None:
        async with db.work() as work:
            await service.end(work, asha.actor, one.id)

    done = await asyncio.gather(*(end(one) for one in kept), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["DomainError", "NoneType"]
    async with db.reader() as reader:
        assert len(await service.mine(reader, asha.actor)) == 1


async def test_a_foreign_passkey_is_not_there(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    one = await asha.adds()
    await ravi.adds()
    for act in (
        lambda work: service.rename(work, ravi.actor, one.id, "mine"),
        lambda work: service.end(work, ravi.actor, one.id),
    ):
        with refused("unknown"):
            async with db.work() as work:
                await act(work)


async def test_adding_and_ending_ask_for_a_fresh_proof(db: Database):
    weak = await Person.new(db, assurance=1)
    with pytest.raises(DomainError, match=r"sessions\.step_up_required"):
        await weak.adds()
    asha = await Person.new(db)
    one = await asha.adds()
    db.clock.advance(6 * 60_000)
    with pytest.raises(DomainError, match=r"sessions\.step_up_required"):
        await asha.adds()
    with pytest.raises(DomainError, match=r"sessions\.step_up_required"):
        async with db.work() as work:
            await service.end(work, asha.actor, one.id)


async def test_a_challenge_is_answered_once(db: Database):
    asha = await Person.new(db)
    await asha.adds()
    options, ticket = await asked(db)
    answer = asha.devices[0].get(options)

    async def finish() -> str:
        return await service.finish_sign_in(
            db, CHANCE, SITE, answer=answer, ticket=ticket, role=Role.PAYER
        )

    done = await asyncio.gather(*(finish() for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in done) == 1
    with refused("challenge"):
        await finish()


async def test_a_bad_answer_uses_the_challenge_up(db: Database):
    asha = await Person.new(db)
    await asha.adds()
    options, ticket = await asked(db)
    device = asha.devices[0]
    device.flags = UP
    with refused("refused"):
        await service.finish_sign_in(
            db, CHANCE, SITE, answer=device.get(options), ticket=ticket, role=Role.PAYER
        )
    device.flags = UP | UV
    with refused("challenge"):
        await service.finish_sign_in(
            db, CHANCE, SITE, answer=device.get(options), ticket=ticket, role=Role.PAYER
        )


async def test_a_challenge_is_for_its_screen_its_purpose_and_its_time(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    await asha.adds()
    await ravi.adds()
    device = asha.devices[0]
    options, _ = await asked(db)
    for ticket in ("00" * 16, "", "zz"):
        with refused("challenge"):
            await service.finish_sign_in(
                db, CHANCE, SITE, answer=device.get(options), ticket=ticket, role=Role.PAYER
            )
    again = await asha.asked_again()
    with refused("challenge"):
        await service.finish_step_up(db, SITE, ravi.actor, device.get(again))
    options, ticket = await asked(db)
    with refused("challenge"):
        await service.finish_step_up(db, SITE, asha.actor, device.get(options))
    made = Authenticator(ORIGIN)
    with refused("challenge"):
        await service.finish_registration(
            db, SITE, ravi.actor, made.create(await asha.options()), "mine"
        )
    options, ticket = await asked(db)
    db.clock.advance(CHALLENGE_LIFE_MS)
    with refused("challenge"):
        await service.finish_sign_in(
            db, CHANCE, SITE, answer=device.get(options), ticket=ticket, role=Role.PAYER
        )


async def test_a_proof_is_for_one_thing_and_of_ones_own_passkey(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    await asha.adds()
    await ravi.adds()
    payment, other = bytes(32), bytes(31) + b"1"
    answer = asha.devices[0].get(await asha.asked_again(payment))
    with refused("challenge"):
        await service.finish_step_up(db, SITE, asha.actor, answer, other)
    answer = asha.devices[0].get(await asha.asked_again(payment))
    with refused("challenge"):
        await service.finish_step_up(db, SITE, asha.actor, answer)
    with refused("refused"):
        answer = ravi.devices[0].get(await asha.asked_again(payment))
        await service.finish_step_up(db, SITE, asha.actor, answer, payment)
    answer = asha.devices[0].get(await asha.asked_again(payment))
    assert (await service.finish_step_up(db, SITE, asha.actor, answer, payment)).used_at


async def test_a_general_proof_makes_the_session_fresh_and_one_for_a_thing_does_not(db: Database):
    asha = await Person.new(db)
    await asha.adds()
    db.clock.advance(6 * 60_000)
    answer = asha.devices[0].get(await asha.asked_again(bytes(32)))
    await service.finish_step_up(db, SITE, asha.actor, answer, bytes(32))
    assert await proved_at(db, asha) < db.clock.now_ms()
    await service.finish_step_up(
        db, SITE, asha.actor, asha.devices[0].get(await asha.asked_again())
    )
    assert await proved_at(db, asha) == db.clock.now_ms()


async def proved_at(db: Database, person: Person) -> int:
    async with db.reader() as reader:
        found: int = await reader.value(
            "SELECT authenticated_at FROM session WHERE id = $1", person.actor.session
        )
    return found


async def test_an_ended_session_makes_no_passkey(db: Database):
    asha = await Person.new(db)
    options = await asha.options()
    async with db.work() as work:
        await sessions.end(work, asha.actor)
    with pytest.raises(DomainError, match=r"sessions\.unauthenticated"):
        await service.finish_registration(
            db, SITE, asha.actor, Authenticator(ORIGIN).create(options), "phone"
        )


async def test_a_known_credential_stays_its_first_persons(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    await asha.adds()
    with refused("known"):
        await ravi.adds(Authenticator(ORIGIN, credential=asha.devices[0].credential))
    assert (await signs_in(db, asha.devices[0])).party == asha.actor.party


async def test_a_passkey_under_a_foreign_handle_is_refused(db: Database):
    asha, ravi = await Person.new(db), await Person.new(db, "Ravi")
    await asha.adds()
    await ravi.adds()
    asha.devices[0].handle = ravi.devices[0].handle
    with refused("refused"):
        await signs_in(db, asha.devices[0])


async def test_counts_only_rise_though_two_answers_come_at_once(db: Database):
    asha = await Person.new(db)
    await asha.adds()
    device = asha.devices[0]
    first, second = await asked(db), await asked(db)
    answers = [device.get(first[0]), device.get(second[0])]
    tickets = [first[1], second[1]]

    async def finish(at: int) -> str:
        return await service.finish_sign_in(
            db, CHANCE, SITE, answer=answers[at], ticket=tickets[at], role=Role.PAYER
        )

    await finish(1)
    with refused("refused"):
        await finish(0)


async def test_how_many_there_may_be(db: Database):
    asha = await Person.new(db)
    for number in range(MAX_PASSKEYS):
        await asha.adds(label=f"no. {number}")
    with refused("too_many"):
        await asha.adds()


async def test_a_synced_one_is_known_as_such(db: Database):
    asha = await Person.new(db)
    one = await asha.adds(Authenticator(ORIGIN, flags=UP | UV | BE, counts=False))
    assert one.passkey.synced
    await signs_in(db, asha.devices[0])


@pytest.mark.parametrize("label", ["", "x" * 65, "a\nb"])
async def test_labels_are_printable_and_short(db: Database, label: str):
    asha = await Person.new(db)
    with refused("label"):
        await asha.adds(label=label)


async def test_what_nobody_answers_is_forgotten(db: Database):
    await asked(db)
    assert await jobs.tick(db) == 0
    db.clock.advance(CHALLENGE_LIFE_MS)
    assert await jobs.tick(db) == 1
