"""What people do: each payment is a story, told by its number and the seed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from server_core.errors import DomainError
from server_core.parties.model import Party
from server_core.payments import asking, commands, service
from server_core.payments.model import (
    Cancel,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Pay,
    Purpose,
    State,
)
from server_core.refunds import service as refunds
from server_core.refunds.model import Ask
from tests.sim.dice import Dice

if TYPE_CHECKING:
    from tests.sim_payments.world import World

MIX: Final = {
    "book twice": 20, "upi": 20, "upi twice": 10, "top up": 10, "two keys": 10,
    "card later": 10, "book later": 8, "link": 8, "cancel": 8, "refunds": 16,
}  # fmt: skip
"""What is told of the payments that are more than one from wallet to shop."""
PAID: Final = frozenset({State.SUCCEEDED, State.REQUIRES_CAPTURE})


class Story:
    """One payment and what is done with it; what has a key is done in a task, and may be killed."""

    def __init__(self, world: "World", number: int) -> None:
        self.world, self.number = world, number
        self.dice = Dice("story", world.seed, number)
        self.payer: Party = self.dice.pick(world.people)
        self.shop: Party = self.dice.pick(world.shops)
        self.amount = self.dice.between(1, 9) * 100
        self.keys = 0

    async def tell(self) -> None:
        plain = self.dice.between(1, 1000) > self.world.stories
        kind = "book" if plain else self.dice.weighted(MIX)
        self.world.counts[f"story: {kind}"] += 1
        await getattr(self, "_" + kind.replace(" ", "_"))()

    def key(self) -> str:
        self.keys += 1
        return f"{self.number}-{self.keys}"

    def instrument(self, method: Method) -> str | None:
        if method is Method.UPI:
            return f"s{self.number}@{self.dice.pick(['okbank', 'yesbank', 'hdfc'])}"
        return f"tok_{self.number}" if method is Method.CARD else None

    def offer(self, method: Method, **more: object) -> Pay:
        given = {
            "actor": self.world.actor(self.payer), "key": self.key(), "payee": self.shop.id,
            "amount": self.amount, "currency": "INR",
        }  # fmt: skip
        offer = Create(**given | more)  # type: ignore[arg-type]
        return Pay(offer=offer, method=method, instrument=self.instrument(method))

    def confirmation(self, intent: Intent, method: Method) -> Confirm:
        return Confirm(
            actor=self.world.actor(self.payer), key=self.key(), intent=intent.id, method=method,
            instrument=self.instrument(method),
        )  # fmt: skip

    async def ask(self, **more: object) -> Intent:
        given = {
            "actor": self.world.actor(self.shop), "key": self.key(), "payee": self.shop.id,
            "amount": self.amount, "currency": "INR",
        }  # fmt: skip
        return await service.create(self.world.db, Create(**given | more))  # type: ignore[arg-type]

    async def pay(self, command: Confirm | Pay) -> Intent | None:
        world = self.world
        return await self.do(
            lambda: service.confirm(world.db, world.queue, world.rails, command), command.key
        )

    async def do(self, act: Callable[[], Awaitable[Intent]], key: str = "") -> Intent | None:
        """The intent, or None when it was refused or its task was killed."""
        task = asyncio.ensure_future(act())
        try:
            found = await task
        except DomainError as refused:
            self.world.counts[f"told: {refused.code}"] += 1
            return None
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            self.world.counts["killed"] += 1
            return None
        self.world.heard(found, self.number, key)
        return found

    def later(self, act: Callable[[], Awaitable[object]]) -> None:
        self.world.later.append(act)

    async def _book(self) -> None:
        await self.pay(self.offer(Method.BOOK))

    async def _book_twice(self) -> None:
        command = self.offer(Method.BOOK)
        await asyncio.gather(self.pay(command), self.pay(command))
        self.later(lambda: self.pay(command))

    async def _upi(self) -> None:
        await self.pay(self.offer(self._from_bank()))

    async def _upi_twice(self) -> None:
        command = self.offer(self._from_bank())
        await asyncio.gather(self.pay(command), self.pay(command))
        self.later(lambda: self.pay(command))

    async def _top_up(self) -> None:
        method = self._from_bank()
        await self.pay(self.offer(method, payee=self.payer.id, purpose=Purpose.TOP_UP))

    async def _two_keys(self) -> None:
        intent = await self.ask()
        ways = [self.dice.pick([Method.BOOK, Method.UPI, Method.CARD]) for _ in range(3)]
        first, second, third = (self.confirmation(intent, way) for way in ways)
        await asyncio.gather(self.pay(first), self.pay(second))
        self.later(lambda: self.pay(third))

    async def _cancel(self) -> None:
        intent = await self.ask()
        command = self.confirmation(intent, self.dice.pick([Method.BOOK, Method.UPI]))
        await asyncio.gather(self.pay(command), self.cancel(intent))

    async def _card_later(self) -> None:
        await self._aside(Method.CARD)

    async def _book_later(self) -> None:
        await self._aside(Method.BOOK)

    async def _aside(self, method: Method) -> None:
        how = self.dice.pick([CaptureMethod.MANUAL, CaptureMethod.MANUAL_MULTIPLE])
        command = self.offer(method, capture_method=how)
        intent = await self.pay(command)

        async def after() -> None:
            now = intent if intent is not None else await self.pay(command)
            if now is not None:
                await self._take(now, how)

        self.later(after)

    async def _take(self, intent: Intent, how: CaptureMethod) -> None:
        what = self.dice.pick(["all", "parts", "at once", "cancel", "both", "nothing"])
        final = how is CaptureMethod.MANUAL
        part = max(1, self.amount // 3)
        if what == "all":
            await self.take(intent, None, final=True)
        elif what == "parts":
            command = await self.take(intent, part, final=final)
            self.later(lambda: self.capture(command))
            self.later(lambda: self.take(intent, part, final=True))
        elif what == "at once":
            await asyncio.gather(*(self.take(intent, 2 * part, final=final) for _ in range(3)))
        elif what == "cancel":
            await self.take(intent, part, final=final)
            await self.cancel(intent, self.shop)
        elif what == "both":
            await asyncio.gather(
                self.take(intent, None, final=True), self.cancel(intent, self.shop)
            )

    async def take(self, intent: Intent, amount: int | None, *, final: bool) -> Capture:
        command = Capture(
            actor=self.world.actor(self.shop), key=self.key(), intent=intent.id, amount=amount,
            final=final,
        )  # fmt: skip
        await self.capture(command)
        return command

    async def capture(self, command: Capture) -> None:
        world = self.world
        await self.do(lambda: service.capture(world.db, world.rails, command), command.key)

    async def cancel(self, intent: Intent, by: Party | None = None) -> None:
        world = self.world
        who = world.actor(by or self.shop)

        async def act() -> Intent:
            command = Cancel(actor=who, intent=intent.id)
            return (await commands.cancel(world.db, world.rails, command)).value

        await self.do(act)

    async def _link(self) -> None:
        world, intent = self.world, await self.ask()
        shown = await self.pay(
            Confirm(
                actor=world.actor(self.shop), key=self.key(), intent=intent.id,
                method=Method.UPI_LINK,
            )
        )  # fmt: skip
        if shown is None or shown.action is None:
            return
        reference = next(
            one.removeprefix("tr=") for one in shown.action.replace("?", "&").split("&")
            if one.startswith("tr=")
        )  # fmt: skip
        scans = self.dice.pick([0, 1, 1, 1, 2, 3])
        late = [self.dice.chance(3) for _ in range(scans)]
        for place in range(scans):
            paid = (reference, self.amount + (place == 2))
            if late[place]:
                world.scans.append(paid)
            else:
                world.books.scan(*paid)
        if self.dice.chance(4):
            await self.cancel(intent)
        attempt = UUID(reference[3:])
        if scans and self.dice.chance(2):
            await self.do(lambda: asking.ask(world.db, world.rails, attempt))

    async def _refunds(self) -> None:
        command = self.offer(self.dice.pick([Method.BOOK, Method.UPI, Method.CARD]))
        intent = await self.pay(command)
        if intent is not None and intent.state is State.SUCCEEDED:
            await self._give_back(intent)

    async def _give_back(self, intent: Intent) -> None:
        half, whole = max(1, self.amount // 2), self.amount
        wishes = self.dice.pick([[None], [half], [half, half], [whole, whole], [half, whole, half]])
        asks = [self.back(intent, amount) for amount in wishes]
        if self.dice.chance(2):
            asks.append(asks[0])  # the same key at once
        await asyncio.gather(*(self.refund(one) for one in asks))
        self.later(lambda: self.refund(asks[0]))

    def back(self, intent: Intent, amount: int | None) -> Ask:
        actor = self.world.actor(self.shop)
        return Ask(actor=actor, key=self.key(), intent=intent.id, amount=amount)

    async def refund(self, command: Ask) -> None:
        world = self.world
        try:
            made = await refunds.refund(world.db, world.rails, command)
        except DomainError as refused:
            world.counts[f"told: {refused.code}"] += 1
        else:
            world.counts[f"refund: {made.value.state}"] += 1

    def _from_bank(self) -> Method:
        return self.dice.pick([Method.UPI, Method.UPI, Method.CARD])
