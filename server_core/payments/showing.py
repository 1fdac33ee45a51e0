"""What of a payment's attempts each side may see: one rule for every face."""

from collections.abc import Iterable
from uuid import UUID

from msgspec import Struct

from server_core.actor import Actor
from server_core.db.work import Reader
from server_core.payments import rules, store
from server_core.payments.model import Attempt, AttemptState, Intent, Method, Operation


class Shown(Struct, frozen=True, kw_only=True):
    """An attempt as one side sees it: a face takes this and never the attempt itself.

    `amount` in minor units, times in Unix ms; `code` (the rail's own, verbatim) and `hint` (of what
    paid) are None for all but who tried to pay.
    """

    number: int
    operation: Operation
    amount: int
    method: Method
    state: AttemptState
    code: str | None
    rail_reference: str | None
    hint: str | None
    started_at: int
    ended_at: int | None


async def attempts(reader: Reader, actor: Actor, intent: UUID) -> list[Shown]:
    """The tries at a payment that the actor may know of, oldest first; raises payments.unknown."""
    known = rules.visible(await store.get(reader, intent), actor)
    return shown(actor, known, await store.attempts(reader, intent))


def shown(actor: Actor, intent: Intent, tried: Iterable[Attempt]) -> list[Shown]:
    """As payee all, without what banks said of them; as a payer one's own."""
    if actor.party is None:
        return []
    scope = str(actor.party)
    return [
        _shown(one, own=one.scope == scope)
        for one in tried
        if one.scope == scope or actor.party == intent.payee
    ]


def _shown(attempt: Attempt, *, own: bool) -> Shown:
    return Shown(
        number=attempt.number,
        operation=attempt.operation,
        amount=attempt.amount,
        method=attempt.method,
        state=attempt.state,
        code=attempt.code if own else None,
        rail_reference=attempt.rail_reference,
        hint=attempt.hint if own else None,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
    )
