"""People who pay over REST at a seeded Poisson pace, whatever the server does: each key until it is told."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from bff.cli.operator import OPERATOR
from devices.clock import SystemClock
from devices.entropy import SeededEntropy, SystemEntropy
from server_core.actor import Role
from server_core.db.work import Database, Work
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.payments import service as payments
from server_core.sessions import service as sessions

CLOCK: Final = SystemClock()
PATIENCE_S: Final = 20
TRIES: Final = 5
VPAS: Final = ("asha", "asha", "asha", "asha", "asha", "pending.1", "deemed", "decline.Z9", "late")
"""No `contradict`: a debit after a decline is found by the switch's callback alone, and none is set up."""
AGAIN: Final = frozenset({409, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Load:
    """What was asked under each key, and what it was told: the payment's id, or the refusal."""

    address: str
    switch: str
    entropy: SeededEntropy
    rate: float
    tokens: list[str] = field(default_factory=list)
    shop: str = ""
    shop_token: str = ""
    asked: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    payments: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    late_ms: list[int] = field(default_factory=list)
    stopping: bool = False
    under_way: int = 0

    async def open(self, db: Database, payers: int = 20) -> None:
        async def do(work: Work) -> None:
            shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Soak", mcc="5411")
            self.shop = public("pty", shop.id)
            self.shop_token = await sessions.issue(
                work, SystemEntropy(), OPERATOR, party=shop.id, role=Role.MERCHANT
            )
            await payments.open_rail_account(work, "fund", "INR")
            for number in range(payers):
                one = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=f"Payer {number}")
                self.tokens.append(
                    await sessions.issue(
                        work, SystemEntropy(), OPERATOR, party=one.id, role=Role.PAYER, assurance=2
                    )
                )
                fund = Transfer(
                    id=derived("soak fund", number), amount=10**10,
                    debit=account_id(Code.CLEARING, "fund", "INR"),
                    credit=account_id(Code.WALLET, one.id, "INR"),
                )  # fmt: skip
                [outcome] = await ledger.post(work, [fund])
                assert outcome.ok, outcome

        await db.transact(do)

    async def subscribe(self, port: int) -> str:
        """An endpoint for all that the shop may hear; its secret."""
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            made = await http.post(
                f"{self.address}/webhooks/endpoints",
                json={"url": f"http://127.0.0.1:{port}/", "events": ["payment.*", "refund.*"]},
                headers={"Authorization": f"Bearer {self.shop_token}", "Idempotency-Key": "hook"},
            )
        assert made.is_success, made.text
        return str(made.json()["secret"])

    async def run(self, until_ms: int) -> None:
        """Arrivals do not wait for answers."""
        async with (
            httpx.AsyncClient(timeout=PATIENCE_S, limits=httpx.Limits(max_connections=300)) as http,
            asyncio.TaskGroup() as group,
        ):
            due = float(CLOCK.monotonic_ms())
            number = 0
            while due < until_ms and not self.stopping:
                due += -math.log(1 - self.entropy.unit()) / self.rate * 1000
                wait = due - CLOCK.monotonic_ms()
                if wait > 0:
                    await CLOCK.sleep(wait / 1000)
                group.create_task(self._one(http, number))
                number += 1

    async def _one(self, http: httpx.AsyncClient, number: int) -> None:
        draw = SeededEntropy(f"soak {number} {self.rate}").below(100)
        token = self.tokens[number % len(self.tokens)]
        amount = str(100 * (1 + number % 9))
        if draw >= 97:
            await self._link(http, number, amount)
            return
        body = {"amount": amount, "payee_id": self.shop, "method": "book"}
        if draw < 25:
            vpa = VPAS[number % len(VPAS)]
            body |= {"method": "upi", "payer_vpa": f"{vpa}@bank"}
        paid = await self.send(http, f"pay-{number}", "/payments", token, body)
        if paid and paid.get("state") == "succeeded" and draw % 10 == 0:
            back = {"payment_id": paid["id"]}
            await self.send(http, f"back-{number}", "/refunds", self.shop_token, back)

    async def _link(self, http: httpx.AsyncClient, number: int, amount: str) -> None:
        made = await self.send(
            http,
            f"ask-{number}",
            "/intents",
            self.shop_token,
            {"amount": amount, "payee_id": self.shop},
        )
        if not made:
            return
        path = f"/intents/{made['id']}/confirm"
        shown = await self.send(
            http, f"show-{number}", path, self.shop_token, {"method": "upi_link"}
        )
        if shown and shown.get("next_action"):
            scan = {"link": shown["next_action"]["url"], "payer_vpa": "ravi@bank"}
            try:
                await http.post(f"{self.switch}/upi/admin/scan", json=scan)
            except httpx.TransportError:
                self.counts["scans lost"] += 1

    async def send(
        self, http: httpx.AsyncClient, key: str, path: str, token: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The answer to a key; a repeat while the server does not answer."""
        self.asked[key] = (path, token, body)
        self.under_way += 1
        began = CLOCK.monotonic_ms()
        try:
            for _ in range(TRIES):
                said = await self._once(http, key)
                if said is not None:
                    self.late_ms.append(CLOCK.monotonic_ms() - began)
                    return said
                await CLOCK.sleep(0.3)
        finally:
            self.under_way -= 1
        return None

    async def _once(self, http: httpx.AsyncClient, key: str) -> dict[str, Any] | None:
        path, token, body = self.asked[key]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        try:
            answer = await http.post(self.address + path, json=body, headers=headers)
            said = answer.json()
        except (httpx.TransportError, ValueError) as error:
            self.counts[type(error).__name__] += 1
            return None
        code = str(said.get("code", said.get("state", answer.status_code)))
        self.counts[f"{answer.status_code} {code}"] += 1
        settled = answer.status_code < 300 or code in {
            "payments.declined", "payments.state", "refunds.failed", "payments.insufficient_funds",
            "payments.rail_unavailable", "refunds.rail_unavailable",
        }  # fmt: skip
        if not settled:
            if answer.status_code not in AGAIN and len(self.wrong) < 20:
                self.wrong.append(f"{key}: {answer.status_code} {answer.text[:300]}")
            return None
        self.told[key] = code
        if answer.status_code < 300:
            known = self.payments.setdefault(key, said["id"])
            if known != said["id"]:
                self.wrong.append(f"{key} made two: {known} and {said['id']}")
        return dict(said)

    async def ask_again(self) -> None:
        """Every key that was never told, and some that were."""
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            for place, key in enumerate(list(self.asked)):
                if key not in self.told or place % 20 == 0:
                    for _ in range(TRIES):
                        if await self._once(http, key) is not None:
                            break
                        await CLOCK.sleep(0.2)
