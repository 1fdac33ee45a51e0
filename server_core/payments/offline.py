"""A settled voucher as the payment that it is: seen, refunded and told like any other."""

from collections.abc import Collection, Sequence
from uuid import UUID

from msgspec import Struct

from server_core.db.work import Work
from server_core.ids import derived
from server_core.payments import attempts, store
from server_core.payments.model import (
    Attempt,
    AttemptState,
    Intent,
    Method,
    Purpose,
    State,
)


class Sale(Struct, frozen=True, kw_only=True):
    """What a terminal took offline: the voucher whose hash is `h`, its money moved in this Work."""

    h: bytes
    payer: UUID
    payee: UUID
    amount: int
    currency: str

    @property
    def origin(self) -> UUID:
        return origin_of(self.h)


def origin_of(h: bytes) -> UUID:
    """A voucher makes one payment for ever."""
    return derived("intent", "voucher", h.hex())


async def record(work: Work, sales: Sequence[Sale]) -> list[UUID]:
    """Keep settled vouchers as paid intents; their ids, in order. Their money moves in this Work."""
    intents = [_intent(one, work.ids.new(), work.now_ms) for one in sales]
    if intents:
        await store.insert(work, intents)
        await store.save_tried(work, intents, [_attempt(one, work.now_ms) for one in intents])
    return [one.id for one in intents]


async def lock(work: Work, origins: Collection[UUID]) -> dict[UUID, Intent]:
    """The payments of these vouchers, by their origins; one settled before payments were kept has none."""
    ids = await store.by_origin(work, origins)
    found = await store.lock(work, ids.values())
    return {origin: found[key] for origin, key in ids.items()}


def _intent(sale: Sale, id_: UUID, now_ms: int) -> Intent:
    return Intent(
        id=id_,
        purpose=Purpose.PAYMENT,
        state=State.SUCCEEDED,
        payer=sale.payer,
        payee=sale.payee,
        amount=sale.amount,
        currency=sale.currency,
        description="",
        attempts=1,
        created_at=now_ms,
        expires_at=now_ms,
        updated_at=now_ms,
        origin=sale.origin,
        captured=sale.amount,
    )


def _attempt(intent: Intent, now_ms: int) -> Attempt:
    return Attempt(
        id=attempts.attempt_id(intent.id, 1),
        intent=intent.id,
        number=1,
        amount=intent.amount,
        method=Method.OFFLINE,
        state=AttemptState.SUCCEEDED,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None,
        scope=str(intent.payer),
        key="",
        verb="",
        body=b"",
        started_at=intent.created_at,
        ended_at=now_ms,
    )
