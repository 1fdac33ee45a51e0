"""The real server, with one more mutation of confirm's shape whose resolver returns constants."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import strawberry
import uvicorn
import uvloop
from litestar import Litestar
from litestar.datastructures import State
from strawberry.schema.config import StrawberryConfig

from bff.cli.operator import OPERATOR
from bff.problems import HANDLERS
from bff.routes import graphql
from graph.context import Info
from graph.money import MINOR_UNITS, MinorUnits
from graph.mutations import ConfirmPaymentInput, ConfirmPaymentPayload, Mutation
from graph.refusals import InsufficientFunds, LimitExceeded, Refusal
from graph.subscriptions import Subscription
from graph.viewer import Query
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.payments import service as payments
from server_core.payments.model import Create, Intent, Method
from server_core.sessions import service as sessions
from server_core.settings import Settings

PAYERS = SHOPS = 200
_fixed: list[Intent] = []


@strawberry.type
class BenchMutation(Mutation):
    @strawberry.mutation
    async def constant(
        self,
        info: Info,  # noqa: ARG002 - the same signature as confirm's
        data: Annotated[ConfirmPaymentInput, strawberry.argument(name="input")],  # noqa: ARG002
    ) -> ConfirmPaymentPayload:
        return ConfirmPaymentPayload.of(_fixed[0])


SCHEMA = strawberry.Schema(
    query=Query,
    mutation=BenchMutation,
    subscription=Subscription,
    types=[Refusal, InsufficientFunds, LimitExceeded],
    config=StrawberryConfig(scalar_map={MinorUnits: MINOR_UNITS}),
)


async def populate(core: Core, n: int) -> tuple[list[str], list[str]]:
    """Funded payers with their tokens, and `n` intents of as many shops that wait for a payer."""
    async with core.db.work() as work:
        shops = [
            await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name=f"Shop {i}")
            for i in range(SHOPS)
        ]
        tokens = []
        for i in range(PAYERS):
            payer = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=f"Payer {i}")
            tokens.append(
                await sessions.issue(work, core.entropy, OPERATOR, party=payer.id, role=Role.PAYER)
            )
            fund = Transfer(
                id=derived("bench", payer.id),
                debit=account_id(Code.CLEARING, Method.UPI, "INR"),
                credit=parties.money_account(payer, "INR"),
                amount=10**9,
            )
            await ledger.post(work, [fund])

    async def ask(i: int) -> str:
        shop = shops[i % SHOPS]
        actor = Actor(party=shop.id, role=Role.MERCHANT)
        intent = await payments.create(
            core.db, Create(actor=actor, key=f"c{i}", payee=shop.id, amount=10, currency="INR")
        )
        _fixed[:] = [intent]
        return public("pay", intent.id)

    ids = []
    for start in range(0, n, 50):
        ids += await asyncio.gather(*(ask(i) for i in range(start, min(n, start + 50))))
    return tokens, ids


async def main(home: Path, port: int, n: int) -> None:
    settings = Settings.read({"HUNDI_HOME": str(home), "HUNDI_PORT": str(port)})
    async with open_core(settings) as core:
        tokens, ids = await populate(core, n)
        (home / "load.json").write_text(json.dumps({"tokens": tokens, "ids": ids}))

        @asynccontextmanager
        async def following(_: Litestar) -> AsyncIterator[None]:
            async with core.following():
                yield

        app = Litestar(
            route_handlers=graphql.routes(core, schema=SCHEMA),
            state=State({"core": core}),
            exception_handlers=HANDLERS,
            lifespan=[following],
            logging_config=None,
        )
        config = uvicorn.Config(app, port=port, log_config=None, access_log=False)
        print("ready", flush=True)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
