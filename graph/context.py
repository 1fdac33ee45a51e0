"""What every resolver is handed: the parts it needs, who asks, and how many rows are fetched at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.types.field import StrawberryField

from server_core.actor import Actor
from server_core.db.work import Database
from server_core.errors import denied
from server_core.events.bus import InProcessBus
from server_core.parties import service as parties
from server_core.parties.model import Party
from server_core.payments import service as payments
from server_core.payments.model import Attempt
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails
from server_core.refunds import service as refunds
from server_core.refunds.model import Refund

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Context:
    """One request's, or one subscription's for as long as its socket lives.

    `batched` collects a request's look-ups into one read each. A socket's context is not batched:
    it lives long, and a loader that remembers would answer with the past.
    """

    db: Database
    bus: InProcessBus
    rails: Rails
    confirmations: Confirmations
    actor: Actor
    batched: bool = True
    _parties: "DataLoader[UUID, Party] | None" = field(default=None, init=False)
    _attempts: "DataLoader[UUID, list[Attempt]] | None" = field(default=None, init=False)
    _refunds: "DataLoader[UUID, list[Refund]] | None" = field(default=None, init=False)

    @property
    def party(self) -> UUID:
        """The actor's own party; raises graphql.no_party for one that acts for nobody."""
        if self.actor.party is None:
            raise denied("graphql.no_party", "this session belongs to no person and no shop")
        return self.actor.party

    async def party_of(self, party: UUID) -> Party:
        if not self.batched:
            return _one(await self._read_parties([party]))
        if self._parties is None:
            self._parties = DataLoader(self._read_parties)
        return await self._parties.load(party)

    async def attempts_of(self, intent: UUID) -> list[Attempt]:
        if not self.batched:
            return _one(await self._read_attempts([intent]))
        if self._attempts is None:
            self._attempts = DataLoader(self._read_attempts)
        return await self._attempts.load(intent)

    async def refunds_of(self, intent: UUID) -> list[Refund]:
        if not self.batched:
            return _one(await self._read_refunds([intent]))
        if self._refunds is None:
            self._refunds = DataLoader(self._read_refunds)
        return await self._refunds.load(intent)

    async def _read_parties(self, ids: list[UUID]) -> Sequence[Party | BaseException]:
        async with self.db.reader() as reader:
            found = await parties.get_many(reader, ids)
        return [found.get(one) or _missing(one) for one in ids]

    async def _read_attempts(self, ids: list[UUID]) -> Sequence[list[Attempt] | BaseException]:
        async with self.db.reader() as reader:
            found = await payments.attempts_of(reader, self.actor, ids)
        return [found.get(one, []) for one in ids]

    async def _read_refunds(self, ids: list[UUID]) -> Sequence[list[Refund] | BaseException]:
        async with self.db.reader() as reader:
            found = await refunds.of_intents(reader, self.actor, ids)
        return [found[one] for one in ids]


Info = strawberry.Info[Context, None]


def _one(found: Sequence[T | BaseException]) -> T:
    [only] = found
    if isinstance(only, BaseException):
        raise only
    return only


def _missing(party: UUID) -> BaseException:
    return LookupError(f"party {party} is named by a payment and is not there")


def described(
    text: str, *, subscription: bool = False
) -> Callable[[Callable[..., Any]], StrawberryField]:
    """A field with a resolver and a description, in a form that keeps the resolver's types."""

    def decorate(resolver: Callable[..., Any]) -> StrawberryField:
        return strawberry.field(resolver, description=text, is_subscription=subscription)

    return decorate
