"""From the event log to each endpoint's queue: messages and cursor move in one commit."""

from typing import Final
from uuid import UUID

from server_core.db.work import Database, Work
from server_core.events import cursors
from server_core.events import store as events
from server_core.events.model import Event
from server_core.ids import derived, public
from server_core.webhooks import catalogue, messages, store
from server_core.webhooks.model import Endpoint, EndpointState, MessageState

CURSOR: Final = "webhooks"
PAGE: Final = 500


async def fan_out(db: Database) -> int:
    """Queue what happened after the cursor for every endpoint that asks for it; events read.

    One process at a time holds the cursor; the others find it held and do nothing. A message's id
    is derived from its endpoint and its event, so that nothing is queued twice.
    """
    async with db.work() as work:
        position = await cursors.hold(work, CURSOR)
        if position is None:
            return 0
        found = await events.after(work, position, PAGE)
        if not found:
            return 0
        if await _queue(work, found):
            # What delivers follows the log's channel: a new message is news as a new event is.
            await work.execute("SELECT pg_notify($1, '')", events.CHANNEL)
        await cursors.move(work, CURSOR, found[-1].seq)
        return len(found)


async def _queue(work: Work, found: list[Event]) -> int:
    heard_by = {event.id: catalogue.hearers(event) for event in found}
    owners = {party for parties in heard_by.values() for party in parties}
    if not owners:
        return 0
    endpoints: dict[UUID, list[Endpoint]] = {}
    for one in await store.listening(work, owners):
        endpoints.setdefault(one.owner, []).append(one)
    meant = [
        (event, endpoint)
        for event in found
        for owner in sorted(heard_by[event.id])
        for endpoint in endpoints.get(owner, ())
        if _asks(endpoint, event)
    ]
    if not meant:
        return 0
    pairs = {(endpoint.id, event.aggregate_id) for event, endpoint in meant}
    last = await messages.last_of(work, sorted(pairs))
    rows = []
    for event, endpoint in meant:
        data = catalogue.shown(event, endpoint.owner)
        if data is None:
            continue
        pair = (endpoint.id, event.aggregate_id)
        body = catalogue.body(event, data, endpoint=endpoint.id, previous=last.get(pair, 0))
        last[pair] = event.sequence
        enabled = endpoint.state is EndpointState.ENABLED
        rows.append(
            (
                derived("webhook", endpoint.id, event.id), endpoint.id, event.id, event.seq,
                event.aggregate_id, event.sequence, event.type, body,
                MessageState.PENDING if enabled else MessageState.MISSED,
            )
        )  # fmt: skip
    return await messages.insert(work, rows)


def _asks(endpoint: Endpoint, event: Event) -> bool:
    return (
        event.seq > endpoint.from_seq
        and catalogue.wanted(endpoint.filters, event.type, event.version)
        and catalogue.about(event) != public("ep", endpoint.id)
    )
