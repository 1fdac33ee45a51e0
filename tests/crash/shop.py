"""People who pay over GraphQL while the server's world breaks: every step with a key, repeated."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from bff.cli.operator import OPERATOR
from server_core.actor import Role
from server_core.db.work import Database, Work
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import service as sessions
from tests.crash.programs import ROOT
from tests.crash.waiting import CLOCK

DOCUMENTS = ROOT / "bff" / "documents"
BOUND_MS = 45_000
PATIENCE_S = 3
"""How long a payer waits for the answer to a confirm whose first request is still at work."""
AMOUNT = 500
FUND = 10**9
LATER = frozenset({"idempotency.still_running", "payments.in_progress"})
"""The first request with this key is still at work: its answer is asked for again at the end."""


@dataclass(slots=True)
class Till:
    """One shop and its payers; what they asked for and what they were told."""

    address: str
    seed: int
    shop: str = ""
    shop_token: str = ""
    payer_tokens: list[str] = field(default_factory=list)
    asked: int = 0
    told: dict[int, tuple[str, str]] = field(default_factory=dict)
    """A sale's number to its payment's id and the state that its confirm told."""
    put_off: dict[int, tuple[str, int]] = field(default_factory=dict)
    """A sale's number to its payment's id and its payer: asked again at the end."""
    unanswered: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    stopping: bool = False

    async def open(self, db: Database, entropy: Any, payers: int) -> None:
        async def do(work: Work) -> None:
            shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Till", mcc="5411")
            self.shop = public("pty", shop.id)
            self.shop_token = await sessions.issue(
                work, entropy, OPERATOR, party=shop.id, role=Role.MERCHANT
            )
            for number in range(payers):
                one = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=f"Payer {number}")
                token = await sessions.issue(
                    work, entropy, OPERATOR, party=one.id, role=Role.PAYER, assurance=2
                )
                self.payer_tokens.append(token)
                money = Transfer(
                    id=derived("till fund", number), amount=FUND,
                    debit=account_id(Code.CLEARING, "upi", "INR"),
                    credit=account_id(Code.WALLET, one.id, "INR"),
                )  # fmt: skip
                [outcome] = await ledger.post(work, [money])
                assert outcome.ok, outcome

        await db.transact(do)

    async def trade(self) -> None:
        """Every payer at once, until `stopping`."""
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http, asyncio.TaskGroup() as group:
            for number in range(len(self.payer_tokens)):
                group.create_task(self._payer(http, number))

    async def _payer(self, http: httpx.AsyncClient, payer: int) -> None:
        while not self.stopping:
            number, self.asked = self.asked, self.asked + 1
            sale = {
                "idempotencyKey": f"sale-{self.seed}-{number}", "payeeId": self.shop,
                "amount": str(AMOUNT), "description": f"sale {number}",
            }  # fmt: skip
            made = await self._until_told(http, self.shop_token, "create_payment", sale)
            assert made is not None, "a new sale is never put off"
            await self.confirm(http, number, made["id"], payer)

    async def confirm(self, http: httpx.AsyncClient, number: int, payment: str, payer: int) -> None:
        over_upi = number % 4 == 3
        ask = {"idempotencyKey": f"pay-{self.seed}-{number}", "id": payment, "method": "BOOK"}
        if over_upi:
            # A third without a clear answer: of more, the rail's breaker would let nothing through.
            vpa = f"pending.{number % 2}@bank" if number % 3 == 0 else "asha@bank"
            ask |= {"method": "UPI", "payerVpa": vpa}
        token = self.payer_tokens[payer]
        paid = await self._until_told(http, token, "confirm_payment", ask)
        if paid is None:
            self.put_off[number] = (payment, payer)
        else:
            self.told[number] = (payment, paid["state"])

    async def _until_told(
        self, http: httpx.AsyncClient, token: str, name: str, given: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The same key again until there is an outcome; None when the server says: come back."""
        query = (DOCUMENTS / f"{name}.graphql").read_text()
        until = CLOCK.monotonic_ms() + BOUND_MS
        last: object = None
        while CLOCK.monotonic_ms() < until:
            try:
                answer = await http.post(
                    f"{self.address}/graphql",
                    json={"query": query, "variables": {"input": given}},
                    headers={"Authorization": f"Bearer {token}"},
                )
            except httpx.TransportError as error:
                self.unanswered += 1
                if isinstance(error, httpx.ReadTimeout) and given.get("method") == "UPI":
                    return None
                last = repr(error)
                await CLOCK.sleep(0.05)
                continue
            found, last = _read(answer)
            if found is not None:
                return found
            self.codes[str(last)] = self.codes.get(str(last), 0) + 1
            if last in LATER:
                return None
            assert str(last).startswith("db."), f"{name} {given}: {answer.text}"
            await CLOCK.sleep(0.05)
        raise AssertionError(f"no outcome in {BOUND_MS} ms for {given}: {last}")


def _read(answer: httpx.Response) -> tuple[dict[str, Any] | None, object]:
    """The payment that an answer holds, or the code of why there is none."""
    said = answer.json()
    if said.get("errors"):
        return None, said["errors"][0].get("extensions", {}).get("code")
    if "data" not in said:
        return None, said.get("code", answer.text)
    [(_, payload)] = said["data"].items()
    if payload["userErrors"]:
        return None, payload["userErrors"][0]["code"]
    payment: dict[str, Any] = payload["payment"]
    return payment, None
