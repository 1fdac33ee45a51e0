"""A shop with endpoints, a courier of its own, and a consumer on a real socket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from devices.keystore import fields
from devices.keystore.fields import FieldKeys
from server_core.actor import Actor, Role
from server_core.db.work import Database, Emitted
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.webhooks import reading, service
from server_core.webhooks.courier import Courier
from server_core.webhooks.fanning import fan_out
from server_core.webhooks.model import Draft, Endpoint, Made, Message
from server_core.webhooks.sending import Sender
from tests.conftest import NOW_MS
from tests.server_core.webhooks.receiver import Receiver

OPERATOR = Actor(party=None, role=Role.OPERATOR)


@dataclass(slots=True)
class World:
    """`shop` and `other` are merchants; `asha` pays."""

    db: Database
    clock: ManualClock
    fields: FieldKeys
    receiver: Receiver
    sender: Sender
    courier: Courier
    shop: Party
    other: Party
    asha: Party
    keys: int = 0
    couriers: list[Courier] = field(default_factory=list)

    def actor(self, party: Party | None = None) -> Actor:
        return Actor(party=(party or self.shop).id, role=Role.MERCHANT)

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    async def endpoint(
        self, path: str = "/hook", *events: str, party: Party | None = None, **more: Any
    ) -> Made:
        draft = Draft(url=self.receiver.url(path), events=list(events) or ["payment.*"])
        async with self.db.work() as work:
            return await service.create(
                work, self.fields, SystemEntropy(), self.actor(party), draft,
                **{"key": self.key(), "allow_private": True} | more,
            )  # fmt: skip

    async def pay(
        self, *names: str, payment: UUID | None = None, payee: Party | None = None, **facts: Any
    ) -> UUID:
        """Emit events of one payment in one commit; its id."""
        async with self.db.work() as work:
            payment = payment or work.ids.new()
            for name in names or ("succeeded",):
                work.emit(
                    Emitted(
                        aggregate_type="payment",
                        aggregate_id=payment,
                        type=f"payment.{name}",
                        payload={
                            "state": name, "purpose": "sale", "amount": "15000", "currency": "INR",
                            "payee": str((payee or self.shop).id), "payer": str(self.asha.id),
                            "attempt": "1", "method": "upi", "outcome": "declined", "code": "Z9",
                        } | facts,
                    )
                )  # fmt: skip
        return payment

    async def deliver(self, courier: Courier | None = None) -> int:
        """Fan out and deliver until nothing is due; how many attempts were begun by ticks."""
        courier, begun = courier or self.courier, 0
        while await fan_out(self.db):
            pass
        while (now := await courier.tick()) > 0:
            begun += now
            await courier.idle()
        await courier.idle()
        return begun

    def another(self, **limits: int) -> Courier:
        """One more worker's courier on the same database."""
        made = Courier(self.db, self.sender, fields=self.fields, entropy=SystemEntropy(), **limits)
        self.couriers.append(made)
        return made

    async def messages(self, endpoint: Endpoint, **more: Any) -> list[Message]:
        async with self.db.reader() as reader:
            return await reading.pull(reader, OPERATOR, endpoint.id, **more)

    async def states(self, endpoint: Endpoint) -> list[str]:
        return [one.state.value for one in await self.messages(endpoint)]

    async def get(self, endpoint: Endpoint) -> Endpoint:
        async with self.db.reader() as reader:
            return await service.get(reader, OPERATOR, endpoint.id)

    async def events(self, *names: str) -> list[Any]:
        async with self.db.reader() as reader:
            return await reader.rows(
                "SELECT type, payload FROM event WHERE type = ANY($1) ORDER BY seq", list(names)
            )


@pytest.fixture
async def world(db: Database, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(NOW_MS)
    db.clock = clock
    async with db.work() as work:
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point")
        other = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Kirana")
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
    ring = fields.load(tmp_path, entropy=SystemEntropy(), clock=clock, passphrase=None)
    receiver = Receiver()
    await receiver.start()
    async with Sender(clock, allow_private=True, deadline_s=0.5) as sender:
        courier = Courier(db, sender, fields=ring, entropy=SystemEntropy())
        made = World(db, clock, ring, receiver, sender, courier, shop, other, asha)
        yield made
        for one in (courier, *made.couriers):
            await one.close(patience_s=0)
    await receiver.stop()
