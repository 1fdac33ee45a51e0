"""What was queued for an endpoint, read by a cursor, and sent again on request."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server_core.actor import Actor, Role
from server_core.db.work import Reader, Work
from server_core.errors import denied, invalid
from server_core.webhooks import messages, rules, store
from server_core.webhooks.model import MAX_PAGE, MAX_REPLAY, Attempt, Message, MessageState

FOREVER: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many are pending again; `more` when the next call goes on after `last`."""

    count: int
    more: bool
    last: UUID | None = None


async def pull(
    reader: Reader,
    actor: Actor,
    endpoint: UUID,
    *,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
    state: str | None = None,
) -> list[Message]:
    """A page of an endpoint's messages after that one, oldest first, whatever became of them.

    Raises webhooks.page_size, webhooks.state, webhooks.message_unknown, webhooks.unknown.
    """
    rules.check_owner(actor, await store.get(reader, endpoint))
    if not 0 < limit <= MAX_PAGE:
        raise invalid("webhooks.page_size", f"limit must be 1 to {MAX_PAGE}", field="limit")
    if state is not None and state not in set(MessageState):
        raise invalid("webhooks.state", f"state is one of {', '.join(MessageState)}", field="state")
    position = await _seq(reader, endpoint, after)
    return await messages.page(
        reader, endpoint, position, limit, MessageState(state) if state else None
    )


async def attempts(reader: Reader, actor: Actor, endpoint: UUID, message: UUID) -> list[Attempt]:
    """Every attempt at a message, oldest first."""
    rules.check_owner(actor, await store.get(reader, endpoint))
    if await messages.by_id(reader, endpoint, message) is None:
        raise rules.message_unknown()
    return await messages.attempts(reader, message)


async def dead(reader: Reader, actor: Actor, limit: int = MAX_PAGE) -> list[Message]:
    """Messages that nobody took, of every endpoint. Operators only."""
    if actor.role is not Role.OPERATOR:
        raise denied("webhooks.role", "only an operator sees every endpoint's messages")
    return await messages.dead(reader, limit)


async def replay_one(work: Work, actor: Actor, endpoint: UUID, message: UUID) -> Replayed:
    """Send one message again, now, with its whole schedule before it."""
    rules.check_enabled(rules.check_owner(actor, await store.lock(work, endpoint)))
    if await messages.by_id(work, endpoint, message) is None:
        raise rules.message_unknown()
    return Replayed(count=await messages.replay_one(work, message), more=False, last=message)


async def replay(
    work: Work,
    actor: Actor,
    endpoint: UUID,
    *,
    since: int = 0,
    until: int = FOREVER,
    missing: bool = False,
    after: UUID | None = None,
) -> Replayed:
    """Send again what was made in [since, until) (Unix ms); only what was never taken if `missing`.

    In the log's order, so that each aggregate's messages keep theirs; 10,000 at most a call.
    Raises webhooks.window, webhooks.disabled, webhooks.unknown, webhooks.message_unknown.
    """
    rules.check_enabled(rules.check_owner(actor, await store.lock(work, endpoint)))
    if since >= until:
        raise invalid("webhooks.window", "since must be before until", field="since")
    found = await messages.replay(
        work,
        endpoint,
        after=await _seq(work, endpoint, after),
        since=since,
        until=until,
        missing=missing,
        limit=MAX_REPLAY,
    )
    last = await messages.at(work, endpoint, found[-1]) if found else None
    return Replayed(count=len(found), more=len(found) == MAX_REPLAY, last=last)


async def _seq(reader: Reader, endpoint: UUID, after: UUID | None) -> int:
    if after is None:
        return 0
    found = await messages.by_id(reader, endpoint, after)
    if found is None:
        raise rules.message_unknown()
    return found.seq
