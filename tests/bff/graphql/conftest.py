"""A real server with /graphql on it, a payer with money, a shop, and their sessions."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from websockets.asyncio.client import connect

from bff.problems import HANDLERS
from bff.routes import graphql
from devices.clock import ManualClock
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.db.work import Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import service as payments
from server_core.payments.model import Create, Intent, Method
from server_core.sessions import service as sessions
from server_core.settings import Settings

OPERATOR = Actor(party=None, role=Role.OPERATOR)


@dataclass(slots=True)
class Served:
    """A running server with a payer who has money, a shop, and their sessions' tokens."""

    core: Core
    url: str
    http: httpx.AsyncClient
    asha: Party
    shop: Party
    tokens: dict[Role, str]
    keys: int = 0

    def bearer(self, role: Role = Role.PAYER) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    async def post(self, body: Any, role: Role = Role.PAYER, **headers: str) -> httpx.Response:
        return await self.http.post("/graphql", json=body, headers=self.bearer(role) | headers)

    async def mutate(self, text: str, role: Role = Role.PAYER, **given: Any) -> dict[str, Any]:
        self.keys += 1
        asked = {"idempotencyKey": f"key-{self.keys}"} | given
        answer = await self.post({"query": text, "variables": {"input": asked}}, role)
        assert answer.status_code == 200, answer.text
        [payload] = answer.json()["data"].values()
        return payload

    async def bill(self, amount: int = 15_000) -> Intent:
        self.keys += 1
        actor = Actor(party=self.shop.id, role=Role.MERCHANT)
        return await payments.create(
            self.core.db,
            Create(
                actor=actor, key=f"bill-{self.keys}", payee=self.shop.id, amount=amount,
                currency="INR",
            ),
        )  # fmt: skip

    @asynccontextmanager
    async def another(self, *, dev: bool = False) -> AsyncIterator[tuple["Served", uvicorn.Server]]:
        """A second server over the same Core, for one test."""
        self.core.bus = type(self.core.bus)()
        async with (
            serving(self.core, dev=dev) as (url, server),
            httpx.AsyncClient(base_url=url) as http,
        ):
            yield replace(self, url=url, http=http), server

    @asynccontextmanager
    async def socket(self, role: Role | None = Role.PAYER, **more: Any) -> AsyncIterator[Any]:
        """A socket; with `role`, one that is signed in."""
        options = {"subprotocols": ["graphql-transport-ws"]} | more
        async with connect(self.url.replace("http", "ws") + "/graphql", **options) as made:
            if role is not None:
                token = f"Bearer {self.tokens[role]}"
                init = {"type": "connection_init", "payload": {"authorization": token}}
                await made.send(json.dumps(init))
                assert json.loads(await made.recv()) == {"type": "connection_ack"}
            yield made


@asynccontextmanager
async def serving(core: Core, *, dev: bool = False) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with core.following():
            yield

    app = Litestar(
        route_handlers=graphql.routes(core, dev=dev, init_wait_s=0.3),
        state=State({"core": core}),
        exception_handlers=HANDLERS,
        lifespan=[lifespan],
        logging_config=None,
    )
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, ws="websockets-sansio",
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.wait({task}, timeout=0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
async def core(database_url: str, tmp_path_factory: Any) -> AsyncIterator[Core]:
    env = {"HUNDI_HOME": str(tmp_path_factory.mktemp("home")), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env), clock=ManualClock(1_790_000_000_000)) as made:
        yield made


@pytest.fixture
async def served(core: Core) -> AsyncIterator[Served]:
    core.bus = type(core.bus)()  # the last server closed its own
    async with core.db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point")
        fund = Transfer(
            id=derived("fund", asha.id),
            debit=account_id(Code.CLEARING, Method.UPI, "INR"),
            credit=parties.money_account(asha, "INR"),
            amount=100_000,
        )
        assert (await ledger.post(work, [fund]))[0].ok
        tokens = {
            Role.PAYER: await signed_in(work, core, asha, Role.PAYER),
            Role.MERCHANT: await signed_in(work, core, shop, Role.MERCHANT),
        }
    async with serving(core) as (url, _), httpx.AsyncClient(base_url=url) as http:
        yield Served(core, url, http, asha, shop, tokens)


async def signed_in(work: Work, core: Core, party: Party, role: Role) -> str:
    return await sessions.issue(work, core.entropy, OPERATOR, party=party.id, role=role)
