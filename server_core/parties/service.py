"""Add parties with their accounts, and find them."""

from collections.abc import Iterable
from uuid import UUID

from server_core.actor import Actor, Role
from server_core.db.work import Emitted, Reader, Work
from server_core.errors import denied, invalid, not_found
from server_core.ledger import service as ledger
from server_core.ledger.model import account_id
from server_core.money import known_currency
from server_core.parties import rules, store
from server_core.parties.model import MONEY_ACCOUNT, Kind, Party


async def add(
    work: Work, actor: Actor, *, kind: Kind, name: str, mcc: str = "0000", currency: str = "INR"
) -> Party:
    """Add a person or a merchant and open its money account. Operators only."""
    if actor.role is not Role.OPERATOR:
        raise denied("parties.operators_only", "only an operator may add a party")
    made = work.ids.new()
    party = Party(
        id=made,
        kind=kind,
        name=rules.check_name(name),
        mcc=rules.check_mcc(mcc),
        payee=made.bytes[8:] if kind is Kind.MERCHANT else None,
        created_at=work.now_ms,
    )
    await store.insert(work, party)
    await ledger.open_accounts(
        work, [ledger.account(MONEY_ACCOUNT[kind], party.id, known_currency(currency))]
    )
    work.emit(
        Emitted(
            aggregate_type="party",
            aggregate_id=party.id,
            type="party.added",
            payload={"kind": kind, "mcc": party.mcc},
            actor=actor,
        )
    )
    return party


async def get(reader: Reader, party: UUID) -> Party:
    found = await store.parties(reader, [party])
    if party not in found:
        raise not_found("parties.unknown", "no such party")
    return found[party]


async def get_many(reader: Reader, ids: Iterable[UUID]) -> dict[UUID, Party]:
    return await store.parties(reader, ids)


async def by_name(reader: Reader, name: str) -> Party:
    """The one party of that name, for the operator's command line; raises when it is not one."""
    found = await store.named(reader, name)
    if not found:
        raise not_found("parties.unknown", f"no party is called {name!r}")
    if len(found) > 1:
        raise invalid("parties.ambiguous", f"{len(found)} parties are called {name!r}: give the id")
    return found[0]


def money_account(party: Party, currency: str) -> UUID:
    """The ledger account in which the party's money stands."""
    return account_id(MONEY_ACCOUNT[party.kind], party.id, currency)
