"""A payer with money, a shop, and the queue in which confirms are committed together."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest

from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.ids import derived
from server_core.ledger import audit
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import service
from server_core.payments.model import Confirm, Create, Intent, Method
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails
from server_core.rails.model import Rail

OPERATOR = Actor(party=None, role=Role.OPERATOR)
NO_RAILS = Rails(by_name={})
WITH_UPI = Rails(by_name={"upi": cast("Rail", None)})
"""Enough to choose by: the rail that is called is another argument."""


@dataclass(slots=True)
class World:
    """Two people and a shop on one database; `asha` starts with 1,000.00."""

    db: Database
    queue: Confirmations
    asha: Party
    ravi: Party
    shop: Party
    keys: int = 0

    def actor(self, party: Party) -> Actor:
        role = Role.PAYER if party.kind is Kind.PERSON else Role.MERCHANT
        return Actor(party=party.id, role=role)

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    async def ask(self, amount: int = 15_000, by: Party | None = None, **more: object) -> Intent:
        payee = by or self.shop
        return await service.create(
            self.db,
            Create(
                actor=self.actor(payee), key=self.key(), payee=payee.id, amount=amount,
                currency="INR", **more,
            ),
        )  # fmt: skip

    def pay(self, intent: Intent, payer: Party | None = None, **more: object) -> Confirm:
        return Confirm(
            **{
                "actor": self.actor(payer or self.asha),
                "key": self.key(),
                "intent": intent.id,
                "method": Method.BOOK,
            }
            | more
        )

    async def confirm(self, command: Confirm, rails: Rails = NO_RAILS) -> Intent:
        return await service.confirm(self.db, self.queue, rails, command)

    async def balance(self, party: Party) -> int:
        account = parties.money_account(party, "INR")
        async with self.db.reader() as reader:
            return (await ledger.balances(reader, [account]))[account].balance


@pytest.fixture
async def world(db: Database) -> AsyncIterator[World]:
    async with db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        ravi = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Ravi")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        await service.open_rail_account(work, Method.UPI, "INR")
        fund = Transfer(
            id=derived("fund"),
            debit=account_id(Code.CLEARING, Method.UPI, "INR"),
            credit=parties.money_account(asha, "INR"),
            amount=100_000,
        )
        assert (await ledger.post(work, [fund]))[0].ok
    queue = Confirmations(db, WITH_UPI)
    yield World(db, queue, asha, ravi, shop)
    await queue.close()
    async with db.snapshot() as reader:
        assert await audit.findings(reader) == []
