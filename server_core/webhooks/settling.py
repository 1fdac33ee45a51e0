"""What attempts make of their messages and endpoints, many in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server_core.db.work import Work
from server_core.errors import DomainError
from server_core.ids import public
from server_core.webhooks import catalogue, messages, rules, service, store
from server_core.webhooks.model import (
    SLOW_MS,
    Attempt,
    Claimed,
    Endpoint,
    Failure,
    Heard,
    MessageState,
    Reason,
    Settled,
)

_NOTHING: Final = (Failure.STATUS, Failure.REDIRECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """One attempt that ended; `chance` (0..1) is for the jitter of the next."""

    claimed: Claimed
    heard: Heard
    chance: float


async def finish_many(work: Work, ended: Sequence[Finish]) -> Sequence[bool | DomainError]:
    """Store attempts and what follows from each; whether there is more to claim behind it."""
    ids = sorted({one.claimed.endpoint for one in ended})
    endpoints = {one.id: one for one in await store.many(work, ids)}
    settled = [(one, _settle(one, endpoints[one.claimed.endpoint], work)) for one in ended]
    ours = await messages.settle(
        work,
        [
            (one.claimed.id, one.claimed.lease, made.state, made.tries, made.due_at)
            for one, made in sorted(settled, key=lambda pair: pair[0].claimed.id)
        ],
    )
    await messages.insert_attempts(work, [_attempt(one) for one in ended])
    await messages.follow(work, [one.claimed.id for one in ended])
    await store.mark(
        work,
        [one.claimed.endpoint for one in ended if not one.heard.ok],
        [one.claimed.endpoint for one in ended if one.heard.ok],
    )
    slow = {one.claimed.endpoint for one in ended if one.heard.duration_ms >= SLOW_MS}
    await store.mark_slow(work, sorted(slow), sorted(set(ids) - slow))
    counted = [(one, made) for one, made in settled if one.claimed.id in ours]
    _tell_of_dead(work, counted, endpoints)
    # What was said of a place that is no longer the endpoint's disables nothing.
    await _judge_endpoints(
        work,
        [
            (one, made)
            for one, made in counted
            if one.claimed.url == endpoints[one.claimed.endpoint].url
        ],
    )
    return [True] * len(ended)


def _settle(one: Finish, endpoint: Endpoint, work: Work) -> Settled:
    return rules.settle(
        one.heard,
        tries=one.claimed.tries,
        now_ms=work.now_ms,
        failing_since=endpoint.failing_since,
        chance=one.chance,
    )


def _attempt(one: Finish) -> Attempt:
    """The row of history: the kind of failure where no status says it."""
    failure = one.heard.failure
    return Attempt(
        message=one.claimed.id,
        number=one.claimed.number,
        started_at=one.heard.started_at,
        status=one.heard.status,
        error=None if failure is None or failure in _NOTHING else failure.value,
        duration_ms=one.heard.duration_ms,
    )


def _tell_of_dead(
    work: Work, counted: Sequence[tuple[Finish, Settled]], endpoints: dict[UUID, Endpoint]
) -> None:
    for one, made in counted:
        # What tells of webhooks is not told of when it dies: two dead endpoints would talk for ever.
        if made.state is MessageState.DEAD and one.claimed.type not in catalogue.OWN:
            work.emit(
                service.about(
                    "message.attempt.exhausted",
                    endpoints[one.claimed.endpoint],
                    message=public("msg", one.claimed.id),
                    event=public("evt", one.claimed.event),
                    type=one.claimed.type,
                    attempts=one.claimed.number,
                )
            )


async def _judge_endpoints(work: Work, counted: Sequence[tuple[Finish, Settled]]) -> None:
    well = {one.claimed.endpoint for one, _ in counted if one.heard.ok}
    rests: dict[UUID, int] = {}
    stops: dict[UUID, Reason] = {}
    for one, made in counted:
        endpoint = one.claimed.endpoint
        if made.rest_until:
            rests[endpoint] = max(rests.get(endpoint, 0), made.rest_until)
        # One that said yes in this very group does not only fail; one that said 410 meant it.
        if made.disable is Reason.GONE or (made.disable is not None and endpoint not in well):
            stops[endpoint] = made.disable
    for endpoint in sorted({one.claimed.endpoint for one, _ in counted}):
        if endpoint in stops:
            found = await store.lock(work, endpoint)
            if found is not None:
                await service.stop(work, found, stops[endpoint])
        elif endpoint in rests:
            await store.rest(work, endpoint, rests[endpoint])
