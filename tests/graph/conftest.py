"""Two people and a shop on one Core, and a way to ask the schema as one of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devices.clock import ManualClock
from graph.context import Context
from graph.schema import SCHEMA
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import service as payments
from server_core.payments.model import Create, Intent, Method
from server_core.settings import Settings

OPERATOR = Actor(party=None, role=Role.OPERATOR)


@dataclass(slots=True)
class World:
    core: Core
    asha: Party
    ravi: Party
    shop: Party
    keys: int = 0

    def actor(self, party: Party) -> Actor:
        role = Role.PAYER if party.kind is Kind.PERSON else Role.MERCHANT
        return Actor(party=party.id, role=role)

    def context(self, party: Party, *, batched: bool = True) -> Context:
        core = self.core
        return Context(
            db=core.db, bus=core.bus, rails=core.rails, confirmations=core.confirmations,
            actor=self.actor(party), batched=batched,
        )  # fmt: skip

    async def ask(self, who: Party, text: str, **variables: Any) -> dict[str, Any]:
        """What `who` is answered; raises the first error's cause."""
        result = await SCHEMA.execute(
            text, variable_values=variables, context_value=self.context(who)
        )
        for error in result.errors or []:
            raise error.original_error or error
        return result.data

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    async def bill(self, amount: int = 15_000, by: Party | None = None) -> Intent:
        payee = by or self.shop
        command = Create(
            actor=self.actor(payee), key=self.key(), payee=payee.id, amount=amount, currency="INR"
        )
        return await payments.create(self.core.db, command)

    async def pay(self, who: Party, intent: Intent, **changes: Any) -> dict[str, Any]:
        """The payload of a confirm from the wallet."""
        given = {"id": public("pay", intent.id), "method": "BOOK", "idempotencyKey": self.key()}
        return (await self.ask(who, CONFIRM, input=given | changes))["confirmPayment"]


CONFIRM = """mutation ($input: ConfirmPaymentInput!) { confirmPayment(input: $input) {
  payment { id state payer { name } amount { minor currency exponent } }
  userErrors { __typename code message field
    ... on InsufficientFunds { available { minor currency exponent } } } } }"""


@pytest.fixture(scope="module")
async def _core(database_url: str, tmp_path_factory: Any) -> AsyncIterator[Core]:
    home: Path = tmp_path_factory.mktemp("home")
    settings = Settings.read({"HUNDI_HOME": str(home), "HUNDI_DATABASE_URL": database_url})
    async with open_core(settings, clock=ManualClock(1_790_000_000_000)) as core:
        yield core


@pytest.fixture
async def world(_core: Core) -> World:
    """Fresh people; `asha` has 1,000.00 in her wallet."""
    async with _core.db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        ravi = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Ravi")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        fund = Transfer(
            id=derived("fund", asha.id),
            debit=account_id(Code.CLEARING, Method.UPI, "INR"),
            credit=parties.money_account(asha, "INR"),
            amount=100_000,
            code="top_up",
        )
        assert (await ledger.post(work, [fund]))[0].ok
    return World(_core, asha, ravi, shop)
