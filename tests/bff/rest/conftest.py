"""A real server over real sockets with the sandbox switch behind it, a payer with money and a shop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn

from bff.app import create_app
from devices.clock import SystemClock
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.ids import derived, public
from server_core.ledger import audit
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments.model import Method
from server_core.sessions import service as sessions
from server_core.settings import Settings
from tests.server_core.sandbox.running import sandbox

OPERATOR = Actor(party=None, role=Role.OPERATOR)
CALLBACK_KEY = bytes(range(32))
USSD_KEY = bytes(range(32, 64))


class HeldBackClock(SystemClock):
    """The machine's clock, `ahead_ms` later: leases and lives run out without waiting."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass(slots=True)
class Door:
    """The server's address and who is signed in; `asha` has 1,000.00."""

    core: Core
    clock: HeldBackClock
    http: httpx.AsyncClient
    asha: Party
    ravi: Party
    shop: Party
    tokens: dict[str, str] = field(default_factory=dict)
    keys: int = 0

    async def sign_in(self) -> None:
        """Everybody anew; `again` is a second sign-in of Asha's."""
        entropy = self.core.entropy
        async with self.core.db.work() as work:
            for name, party, role in (
                ("asha", self.asha, Role.PAYER),
                ("again", self.asha, Role.PAYER),
                ("ravi", self.ravi, Role.PAYER),
                ("shop", self.shop, Role.MERCHANT),
            ):
                self.tokens[name] = await sessions.issue(
                    work, entropy, OPERATOR, party=party.id, role=role
                )

    async def later(self, ms: int) -> None:
        """Time passes; sessions end, and everybody signs in again."""
        self.clock.ahead_ms += ms
        await self.sign_in()

    def key(self) -> str:
        self.keys += 1
        return f"rest-{self.asha.id}-{self.keys}"

    async def post(
        self, path: str, body: Any = None, *, key: str | None = None, by: str = "asha", **more: str
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}"}
        headers["Idempotency-Key"] = self.key() if key is None else key
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
            return await self.http.post(path, content=body, headers=headers | more)
        return await self.http.post(path, json=body, headers=headers | more)

    async def get(self, path: str, by: str = "asha") -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {self.tokens[by]}"})

    async def bill(self, amount: str = "15000", **more: Any) -> str:
        """The shop asks; the intent's public id."""
        body = {"payee_id": public("pty", self.shop.id), "amount": amount} | more
        answer = await self.post("/intents", body, by="shop")
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def payment(self, **changes: Any) -> dict[str, Any]:
        body = {"payee_id": public("pty", self.shop.id), "amount": "15000", "method": "book"}
        return body | changes

    async def balance(self, party: Party) -> int:
        account = parties.money_account(party, "INR")
        async with self.core.db.reader() as reader:
            return (await ledger.balances(reader, [account]))[account].balance

    async def sql(self, text: str, *values: object) -> list[Any]:
        async with self.core.db.work() as work:
            return await work.rows(text, *values)


@pytest.fixture(scope="module")
def upi_core() -> Iterator[str]:
    with sandbox(callback_key=CALLBACK_KEY) as address:
        yield address


@pytest.fixture(scope="module")
async def _served(
    database_url: str, upi_core: str, tmp_path_factory: Any
) -> AsyncIterator[tuple[Core, HeldBackClock, str]]:
    key = tmp_path_factory.mktemp("key") / "callbacks"
    key.write_bytes(CALLBACK_KEY)
    ussd = tmp_path_factory.mktemp("key") / "ussd"
    ussd.write_bytes(USSD_KEY)
    env = {
        "HUNDI_HOME": str(tmp_path_factory.mktemp("home")),
        "HUNDI_DATABASE_URL": database_url, "HUNDI_UPI_URL": upi_core,
        "HUNDI_CALLBACK_KEY": str(key), "HUNDI_USSD_KEY": str(ussd),
    }  # fmt: skip
    clock = HeldBackClock()
    async with open_core(Settings.read(env), clock=clock) as core:
        config = uvicorn.Config(create_app(core), port=0, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.wait({task}, timeout=0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield core, clock, f"http://127.0.0.1:{port}"
        server.should_exit = True
        await task


@pytest.fixture
async def door(_served: tuple[Core, HeldBackClock, str]) -> AsyncIterator[Door]:
    core, clock, url = _served
    async with core.db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        ravi = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Ravi")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        fund = Transfer(
            id=derived("fund", asha.id),
            debit=account_id(Code.CLEARING, Method.UPI, "INR"),
            credit=parties.money_account(asha, "INR"),
            amount=100_000,
        )
        assert (await ledger.post(work, [fund]))[0].ok
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as http:
        made = Door(core, clock, http, asha, ravi, shop)
        await made.sign_in()
        yield made
    async with core.db.snapshot() as reader:
        assert await audit.findings(reader) == []
