"""A small demo population: payers funded by top-ups through the rail, and two merchants."""

from dataclasses import dataclass

from bff.cli.operator import OPERATOR
from server_core.actor import Actor, Role
from server_core.app import Core
from server_core.errors import DomainError
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import service as payments
from server_core.payments.model import Confirm, Create, Method, Purpose, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    name: str
    bank: str
    funds: int


PEOPLE = (
    Person(name="Asha", bank="asha@okbank", funds=500_000),
    Person(name="Ravi", bank="ravi@okbank", funds=500_000),
)
SHOPS = (("Chai Point", "5814"), ("Kirana Corner", "5411"))


async def settle_in(core: Core, people: tuple[Person, ...] = PEOPLE) -> dict[str, Party]:
    """Everybody by name, made where missing; a second run finds them as they are."""
    found = {}
    for name, mcc in SHOPS:
        found[name] = await _party(core, name, Kind.MERCHANT, mcc)
    for person in people:
        party = found[person.name] = await _party(core, person.name, Kind.PERSON, "0000")
        await _top_up(core, party, person)
    return found


async def _party(core: Core, name: str, kind: Kind, mcc: str) -> Party:
    async with core.db.work() as work:
        try:
            return await parties.by_name(work, name)
        except DomainError:
            return await parties.add(work, OPERATOR, kind=kind, name=name, mcc=mcc)


async def _top_up(core: Core, party: Party, person: Person) -> None:
    """Money comes in by a top-up intent over UPI, once: the key says which."""
    actor = Actor(party=party.id, role=Role.PAYER, assurance=2)
    intent = await payments.create(
        core.db,
        Create(
            actor=actor,
            key=f"demo-top-up-{party.id}",
            payee=party.id,
            amount=person.funds,
            currency="INR",
            purpose=Purpose.TOP_UP,
            description="first money",
        ),
    )
    async with core.db.reader() as reader:
        intent = await payments.get(reader, actor, intent.id)
    if intent.state is State.SUCCEEDED:
        return
    await payments.confirm(
        core.db,
        core.confirmations,
        core.rails,
        Confirm(
            actor=actor,
            key=f"demo-fund-{party.id}",
            intent=intent.id,
            method=Method.UPI,
            instrument=person.bank,
        ),
    )
