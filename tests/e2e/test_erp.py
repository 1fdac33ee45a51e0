"""The ERP's example as a process against a real Hundi: killed, away, told twice; its books are Hundi's."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.events import store as event_store
from server_core.ids import public
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import service as sessions
from tests.e2e.test_programs import BIN, ROOT, environment, free_port, hundi

ERP = ROOT / "docs" / "examples" / "erp_refunds.py"
EVENTS = ["payment.captured@1", "payment.succeeded@1", "refund.*@1"]
CLOCK = SystemClock()
OPERATOR = Actor(party=None, role=Role.OPERATOR)


@dataclass(slots=True)
class Erp:
    """One ERP: its port, its books, and the process while it runs."""

    port: int
    books: Path
    secret: str = ""
    child: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        words = [sys.executable, str(ERP), "--port", str(self.port), "--books", str(self.books)]
        env = os.environ | {"HUNDI_WEBHOOK_SECRET": self.secret}
        self.child = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
        assert self.said() == "ready"

    def said(self) -> str:
        assert self.child is not None
        return self.child.stdout.readline().strip()

    def kill(self) -> None:
        """As a lost machine: whatever it was at."""
        if self.child is not None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait(30)
            self.child.stdout.close()
            self.child = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        books = sqlite3.connect(self.books)
        try:
            return books.execute(sql).fetchall()
        finally:
            books.close()

    def stands(self) -> tuple[dict[str, int], dict[str, str]]:
        """Balance of each invoice, and state of each refund."""
        balances = dict(self.rows("SELECT payment, balance FROM invoice"))
        return balances, dict(self.rows("SELECT id, state FROM subject WHERE id LIKE 'ref_%'"))


@dataclass(slots=True)
class Market:
    """Server, worker and sandbox that run; a shop, and a payer with money."""

    env: dict[str, str]
    tokens: dict[str, str]
    shop: str
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    endpoint: str = ""
    keys: int = 0

    def start(self, *words: str) -> None:
        self.children.append(
            subprocess.Popen([str(BIN / "hundi"), *words], env=self.env, stdout=subprocess.DEVNULL)
        )

    def call(self, method: str, path: str, body: Any = None, by: str = "shop") -> httpx.Response:
        self.keys += 1
        headers = {"Authorization": f"Bearer {self.tokens[by]}", "Idempotency-Key": f"k{self.keys}"}
        url = self.env["HUNDI_ADDRESS"]
        return httpx.request(method, f"{url}{path}", json=body, headers=headers, timeout=30)

    def good(self, method: str, path: str, body: Any = None, by: str = "shop") -> Any:
        answer = self.call(method, path, body, by)
        assert answer.is_success, answer.text
        return answer.json()

    def pay(self, amount: int, method: str, **more: str) -> str:
        by_bank = {"payer_vpa": "asha@okbank"} if method == "upi" else {}
        body = {"payee_id": self.shop, "amount": str(amount), "method": method}
        return self.good("POST", "/payments", body | by_bank | more, "asha")["id"]

    def refund(self, payment: str, amount: int | None = None, note: str = "") -> httpx.Response:
        part = {} if amount is None else {"amount": str(amount)}
        return self.call("POST", "/refunds", {"payment_id": payment, "note": note} | part)

    def listed(self, path: str) -> list[dict[str, Any]]:
        found, after = [], ""
        while True:
            said = self.good("GET", f"{path}?limit=3{after}")
            found += said[path.strip("/")]
            if said["next"] is None:
                return found
            after = f"&after={said['next']}"

    def stands(self) -> tuple[dict[str, int], dict[str, str]]:
        """What an ERP's books must say: of each captured payment what is left, of each refund its state."""
        left = {
            one["id"]: int(one["amount_captured"]) - int(one["amount_refunded"])
            for one in self.listed("/intents")
            if one["amount_captured"] != "0"
        }
        return left, {one["id"]: one["state"] for one in self.listed("/refunds")}

    def replay(self, **what: Any) -> None:
        self.good("POST", f"/webhooks/endpoints/{self.endpoint}/replay", what)

    def quiet(self) -> bool:
        """No refund waits for its bank, and no message for its ERP."""
        pending = self.good("GET", f"/webhooks/endpoints/{self.endpoint}/messages?state=pending")
        return not pending["messages"] and "pending" not in self.stands()[1].values()

    def hasten(self) -> None:
        """What failed while its ERP was away is due now, and not in five seconds."""
        path = f"/webhooks/endpoints/{self.endpoint}"
        for one in self.good("GET", f"{path}/messages?state=pending")["messages"]:
            self.replay(message=one["id"])

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        path = f"/webhooks/endpoints/{self.endpoint}/messages?limit=100"
        while some := self.good("GET", path + (f"&after={found[-1]['id']}" if found else "")):
            if not some["messages"]:
                return found
            found += some["messages"]
        return found


def until(true: Callable[[], bool], what: str) -> None:
    over = CLOCK.monotonic_ms() + 60_000
    while not true():
        assert CLOCK.monotonic_ms() < over, what
        Event().wait(0.1)


def up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


async def people(database_url: str) -> tuple[dict[str, str], str]:
    """A session of the shop and one of the payer; the shop's public id."""
    db = await Database.connect(
        database_url, clock=CLOCK, entropy=SystemEntropy(), flush=event_store.flush
    )
    async with db.work() as work:
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        tokens = {
            name: await sessions.issue(work, SystemEntropy(), OPERATOR, party=party.id, role=role)
            for name, party, role in (("shop", shop, Role.MERCHANT), ("asha", asha, Role.PAYER))
        }
    await db.close()
    return tokens, public("pty", shop.id)


@pytest.fixture
def market(tmp_path: Path, database_url: str) -> Iterator[Market]:
    env = environment(
        tmp_path / "home",
        HUNDI_DATABASE_URL=database_url, HUNDI_ALLOW_PRIVATE_WEBHOOKS="1", HUNDI_RAIL_PACE="0.001",
    )  # fmt: skip
    tokens, shop = asyncio.run(people(database_url))
    made = Market(env, tokens, shop)
    try:
        made.start("sandbox", "--port", env["HUNDI_UPI_URL"].rpartition(":")[2])
        made.start("serve", "--no-workers")
        made.start("work")
        for url in (f"{env['HUNDI_UPI_URL']}/health", f"{env['HUNDI_ADDRESS']}/health/ready"):
            until(partial(up, url), f"{url} does not come up")
        top_up = {"amount": "500000", "purpose": "top_up", "method": "upi"}
        made.good("POST", "/payments", top_up | {"payer_vpa": "asha@okbank"}, "asha")
        yield made
    finally:
        for child in reversed(made.children):
            child.send_signal(signal.SIGTERM)
        for child in made.children:
            child.wait(60)


@pytest.fixture
def erp(market: Market, tmp_path: Path) -> Iterator[Erp]:
    made = Erp(free_port(), tmp_path / "books.db")
    said = market.good("POST", "/webhooks/endpoints", {"url": made.url, "events": EVENTS})
    market.endpoint, made.secret = said["id"], said["secret"]
    made.start()
    yield made
    made.kill()


def deliver(erp: Erp, message: dict[str, Any], *, age_s: int = 0, secret: str = "") -> int:
    """What Hundi's courier does, by another's hand: the status of one delivery."""
    text = json.dumps(message["body"], separators=(",", ":"))
    at = datetime.fromtimestamp(CLOCK.now_ms() // 1000 - age_s, tz=UTC)
    headers = {
        "webhook-id": message["id"], "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret or erp.secret).sign(message["id"], at, text),
    }  # fmt: skip
    return httpx.post(erp.url, content=text, headers=headers, timeout=10).status_code


def test_books_equal_hundi_s_through_kills_repeats_and_disorder(
    market: Market, erp: Erp, tmp_path: Path
) -> None:
    whole, parts = market.pay(15_000, "book"), market.pay(20_000, "upi")
    held = market.pay(30_000, "book", capture_method="manual_multiple")
    for amount, final in (("10000", False), ("5000", True)):
        market.good("POST", f"/intents/{held}/capture", {"amount": amount, "final": final})
    assert [erp.said().split()[0] for _ in range(4)] == ["booked"] * 4

    assert market.refund(whole).status_code == 201
    assert market.refund(parts, 5_000).status_code == 201
    refused = market.refund(parts, 4_000, "decline.Z9")
    assert (refused.status_code, refused.json()["code"]) == (409, "refunds.failed")
    # Killed as it books: what was not answered comes again, whether it was committed or not.
    assert erp.said().startswith("booked")
    erp.kill()
    over = market.refund(parts, 20_000)
    assert (over.status_code, over.json()["code"]) == (409, "refunds.exceeds_captured")
    late = [market.refund(parts, 3_000, "pending.1"), market.refund(parts, 2_000, "fails")]
    assert [one.status_code for one in late] == [202, 202]
    assert market.refund(held, 4_000).status_code == 201
    erp.start()
    market.hasten()
    until(market.quiet, "something stays pending")
    assert erp.stands() == market.stands()
    left, states = erp.stands()
    assert left == {whole: 0, parts: 12_000, held: 11_000}
    assert sorted(states.values()) == ["failed"] * 2 + ["succeeded"] * 4

    # Killed twice more while all of it is told anew; in between each message comes through, for
    # one that fails twice in a row is tried again only after five minutes.
    postings = erp.rows("SELECT * FROM posting ORDER BY message")
    for _ in range(2):
        erp.restart()  # what it said before is not read as said now
        market.replay(since="2020-01-01T00:00:00Z")
        assert erp.said().startswith("again")
        erp.restart()
        market.hasten()
        until(market.quiet, "something stays pending")
    assert erp.rows("SELECT * FROM posting ORDER BY message") == postings
    assert erp.stands() == market.stands()

    # Another ERP with empty books pulls all of it, and takes it backwards, twice over.
    second = Erp(free_port(), tmp_path / "second.db", erp.secret)
    second.start()
    try:
        pulled = market.messages()
        for message in [*pulled[::-1], *pulled]:
            assert deliver(second, message) == 204
        assert second.stands() == market.stands()
        # A stranger's, an old one and a changed one have no effect.
        assert deliver(second, pulled[0], secret="whsec_" + "A" * 44) == 401
        assert deliver(second, pulled[0], age_s=600) == 401
        unread = {"id": "msg_new", "body": pulled[-1]["body"] | {"version": 2}}
        assert deliver(second, unread) == 422
        assert second.stands() == market.stands()
    finally:
        second.kill()
    said = subprocess.run(
        [sys.executable, str(ERP), "--books", str(second.books), "--report"],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert f"{parts} INR 12000\n" in said
    assert said.count("failed: the customer has nothing") == 2
    proved = hundi(market.env, "ledger", "verify")
    assert proved.returncode == 0, proved.stdout + proved.stderr
