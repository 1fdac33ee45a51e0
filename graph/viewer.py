"""Queries: the viewer's own balances, statement and payments, and one payment by its id."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from graph.context import Info, described
from graph.money import Money, instant
from graph.pages import (
    DEFAULT_PAGE,
    MAX_PAGE,
    PageInfo,
    bad_cursor,
    cursor,
    page_info,
    page_size,
    place_of,
)
from graph.parties import Party
from graph.payments import Payment
from server_core.actor import Role
from server_core.errors import DomainError, Kind
from server_core.ids import parse, public
from server_core.ledger import model as books
from server_core.ledger import service as ledger
from server_core.money import known_currency
from server_core.parties import service as parties
from server_core.payments import service as payments
from server_core.payments.model import Purpose
from server_core.vouchers import sales

_OFFLINE = frozenset({"voucher", "void", "claim", "unclaimed", "late"})
"""Codes of transfers whose reference names a voucher."""

strawberry.enum(books.Code, name="AccountCode", description="The chart of accounts.")

First = Annotated[int, strawberry.argument(description=f"Page size, at most {MAX_PAGE}.")]
After = Annotated[str | None, strawberry.argument(description="The cursor that ended a page.")]


@strawberry.type(description="One account of the viewer's.")
class Balance:
    account: books.Code
    posted: Money
    available: Money = strawberry.field(description="Posted, less what is reserved.")

    @classmethod
    def of(cls, account: books.Account) -> Self:
        return cls(
            account=account.code,
            posted=Money.of(account.balance, account.ledger),
            available=Money.of(account.available, account.ledger),
        )


@strawberry.type(description="Where a line of offline money happened.")
class OfflineSale:
    shop: strawberry.Private[UUID]
    terminal: str = strawberry.field(description="The shop's terminal, 8 hex digits.")
    number: int = strawberry.field(description="Which payment under its allowance it was.")
    signed_at: datetime = strawberry.field(description="By the clock of the payer's device.")

    @strawberry.field
    async def payee(self, info: Info) -> Party:
        return Party.of(await info.context.party_of(self.shop))

    @classmethod
    def of(cls, sale: sales.OfflineSale) -> Self:
        return cls(
            shop=sale.terminal.party,
            terminal=sale.terminal.id.hex(),
            number=sale.counter,
            signed_at=instant(sale.signed_at * 1000),
        )


@strawberry.type(description="One movement of the viewer's money.")
class StatementLine:
    id: strawberry.ID
    code: str = strawberry.field(description="What moved it, such as `payment` or `top_up`.")
    change: Money = strawberry.field(description="Positive when money came.")
    balance: Money = strawberry.field(description="What was posted right after.")
    payment_id: strawberry.ID | None
    sale: OfflineSale | None = strawberry.field(description="Of offline money: where it happened.")
    recorded_at: datetime

    @classmethod
    def of(cls, line: ledger.StatementLine, currency: str, sale: sales.OfflineSale | None) -> Self:
        return cls(
            id=strawberry.ID(public("trf", line.transfer)),
            code=line.code,
            change=Money.of(line.change, currency),
            balance=Money.of(line.balance, currency),
            payment_id=_payment_id(line),
            sale=None if sale is None else OfflineSale.of(sale),
            recorded_at=instant(line.recorded_at),
        )


@strawberry.type
class StatementEdge:
    cursor: str
    node: StatementLine


@strawberry.type(description="Newest first.")
class StatementConnection:
    edges: list[StatementEdge]
    page_info: PageInfo


@strawberry.type
class PaymentEdge:
    cursor: str
    node: Payment


@strawberry.type(description="Newest first, sent and received.")
class PaymentConnection:
    edges: list[PaymentEdge]
    page_info: PageInfo


@strawberry.type(description="Whoever is signed in, and what is theirs.")
class Viewer:
    role: Role

    @strawberry.field
    async def party(self, info: Info) -> Party:
        return Party.of(await info.context.party_of(info.context.party))

    @strawberry.field
    async def balances(self, info: Info) -> list[Balance]:
        async with info.context.db.reader() as reader:
            accounts = await ledger.accounts_of(reader, info.context.party)
        return [Balance.of(account) for account in accounts]

    @described("The money account's movements in one currency.")
    async def statement(
        self,
        info: Info,
        currency: str = "INR",
        first: First = DEFAULT_PAGE,
        after: After = None,
    ) -> StatementConnection:
        known_currency(currency)
        size, kind = page_size(first), f"statement {currency}"
        before = _version(place_of(kind, after))
        async with info.context.db.reader() as reader:
            party = await parties.get(reader, info.context.party)
            lines = await ledger.statement(
                reader, parties.money_account(party, currency), before=before, limit=size + 1
            )
            sold = await sales.of_references(
                reader,
                info.context.actor,
                [line.reference for line in lines if line.code in _OFFLINE],
            )
        edges = [
            StatementEdge(
                cursor=cursor(kind, str(line.version)),
                node=StatementLine.of(line, currency, sold.get(line.reference)),
            )
            for line in lines[:size]
        ]
        said = page_info([edge.cursor for edge in edges], more=len(lines) > size, after=after)
        return StatementConnection(edges=edges, page_info=said)

    @strawberry.field
    async def payments(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> PaymentConnection:
        size = page_size(first)
        before = _id(place_of("payments", after))
        async with info.context.db.reader() as reader:
            found = await payments.mine(reader, info.context.actor, before=before, limit=size + 1)
        edges = [
            PaymentEdge(cursor=cursor("payments", intent.id.hex), node=Payment.of(intent))
            for intent in found[:size]
        ]
        said = page_info([edge.cursor for edge in edges], more=len(found) > size, after=after)
        return PaymentConnection(edges=edges, page_info=said)


@strawberry.type
class Query:
    @strawberry.field
    def viewer(self, info: Info) -> Viewer:
        return Viewer(role=info.context.actor.role)

    @described("Null when there is none, or none that is the viewer's to see.")
    async def payment(self, info: Info, id: strawberry.ID) -> Payment | None:  # noqa: A002
        try:
            intent = parse("pay", id)
            async with info.context.db.reader() as reader:
                return Payment.of(await payments.get(reader, info.context.actor, intent))
        except DomainError as refused:
            if refused.kind is Kind.NOT_FOUND:
                return None
            raise


def _payment_id(line: ledger.StatementLine) -> strawberry.ID | None:
    """A payment's transfers carry its intent as their reference."""
    if line.code not in set(Purpose):
        return None
    try:
        return strawberry.ID(public("pay", UUID(line.reference)))
    except ValueError:
        return None


def _version(place: str | None) -> int | None:
    if place is None:
        return None
    if not (place.isdecimal() and len(place) <= 18):
        raise bad_cursor()
    return int(place)


def _id(place: str | None) -> UUID | None:
    if place is None:
        return None
    try:
        return UUID(hex=place)
    except ValueError:
        raise bad_cursor() from None
