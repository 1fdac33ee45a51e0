"""Subscriptions: how a payment stands, from now on until nothing more can happen to it."""

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

import strawberry
from msgspec.structs import replace

from graph.context import Context, Info, described
from graph.payments import Payment
from server_core.errors import unavailable
from server_core.events.model import Event
from server_core.ids import parse
from server_core.payments import rules
from server_core.payments import service as payments
from server_core.payments.model import OVER, Intent, State

_STEP: Final = {
    State.REQUIRES_CONFIRMATION: 0,
    State.PROCESSING: 1,
    State.REQUIRES_PAYMENT_METHOD: 2,
    State.REQUIRES_CAPTURE: 2,
}
_OVER: Final = 3


@strawberry.type
class Subscription:
    @described(
        "First how the payment stands, then each change; ends when it is final.", subscription=True
    )
    async def payment_status(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002
    ) -> AsyncGenerator[Payment, None]:
        context = info.context
        intent_id = parse("pay", id)
        # Before the first read, so that no change falls between the two.
        with context.bus.subscribe(intent_id) as events:
            intent = await _read(context, intent_id)
            yield Payment.of(intent)
            if final(intent):
                return
            async for event in events:
                if events.lagged:
                    events.lagged = False
                    later = await _read(context, intent_id)
                else:
                    later = after(intent, event)
                if later == intent:
                    continue
                # Whoever was shown a payment without a payer is a stranger once another pays it.
                intent = rules.visible(later, context.actor)
                yield Payment.of(intent)
                if final(intent):
                    return
        raise unavailable("graphql.closing", "the server is stopping: subscribe again")


def final(intent: Intent) -> bool:
    return intent.state in OVER


def after(intent: Intent, event: Event) -> Intent:
    """The intent as `event` left it; unchanged by what it has in it already.

    A change that was committed between subscribing and reading is in both. Times cannot tell
    (they are those of a transaction's begin, and of several machines): an intent's life can, try
    by try and step by step.
    """
    said = event.payload
    try:
        state = State(said["state"])
    except (KeyError, ValueError):
        return intent  # an event of another kind: nothing of the intent itself changed
    attempts = int(said.get("attempt") or intent.attempts)
    if (attempts, _STEP.get(state, _OVER)) <= (intent.attempts, _STEP.get(intent.state, _OVER)):
        return intent
    payer = said.get("payer")
    return replace(
        intent,
        state=state,
        attempts=attempts,
        payer=UUID(payer) if payer else None,
        updated_at=event.recorded_at,
    )


async def _read(context: Context, intent: UUID) -> Intent:
    async with context.db.reader() as reader:
        return await payments.get(reader, context.actor, intent)
