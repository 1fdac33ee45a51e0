"""When an attempt is made again, when an endpoint is given up, who may do what. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from server_core.actor import Actor, Role
from server_core.errors import DomainError, conflict, denied, invalid, not_found
from server_core.webhooks.model import (
    DELAYS_S,
    GIVE_UP_MS,
    GIVE_UP_TRIES,
    JITTER,
    OLD_SECRETS,
    OVERLAP_MS,
    Endpoint,
    EndpointState,
    Heard,
    MessageState,
    Reason,
    Secret,
    Settled,
)

THROTTLES: Final = frozenset({429, 502, 504})
GONE: Final = 410
MAX_DESCRIPTION: Final = 140
_MAX_DATE: Final = 64


def owner_of(actor: Actor, party: UUID | None) -> UUID:
    """Whose endpoints the actor works on: a merchant's own, or those an operator names."""
    if actor.role is Role.MERCHANT and actor.party is not None and party in {None, actor.party}:
        return actor.party
    if actor.role is Role.OPERATOR and party is not None:
        return party
    raise denied("webhooks.role", "only a merchant has webhook endpoints, and only its own")


def check_role(actor: Actor) -> None:
    if actor.role is not Role.OPERATOR:
        owner_of(actor, None)


def check_owner(actor: Actor, endpoint: Endpoint | None) -> Endpoint:
    """The endpoint, if it is the actor's; else webhooks.unknown, as if it did not exist."""
    check_role(actor)
    theirs = endpoint is not None and actor.role is Role.OPERATOR
    theirs = theirs or (endpoint is not None and endpoint.owner == actor.party)
    if endpoint is None or not theirs or endpoint.state is EndpointState.DELETED:
        raise unknown()
    return endpoint


def unknown() -> DomainError:
    return not_found("webhooks.unknown", "no such webhook endpoint")


def message_unknown() -> DomainError:
    return not_found("webhooks.message_unknown", "no such message at this endpoint")


def check_enabled(endpoint: Endpoint) -> None:
    if endpoint.state is not EndpointState.ENABLED:
        raise conflict("webhooks.disabled", "the endpoint is disabled: enable it first")


def check_description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION or not text.isprintable():
        raise invalid(
            "webhooks.description",
            f"a description is at most {MAX_DESCRIPTION} printable characters",
            field="description",
        )
    return text


def settle(
    heard: Heard, *, tries: int, now_ms: int, failing_since: int | None, chance: float
) -> Settled:
    """What an attempt makes of its message, which failed `tries` times before it.

    `chance` is 0..1 for the jitter; `failing_since` is since when its endpoint only failed.
    """
    if heard.ok:
        return Settled(state=MessageState.DELIVERED, tries=tries, due_at=now_ms)
    if heard.status == GONE:
        return Settled(
            state=MessageState.MISSED, tries=tries + 1, due_at=now_ms, disable=Reason.GONE
        )
    # A first hiccup after a quiet month is no month of failure: the message itself must have failed.
    long = failing_since is not None and now_ms - failing_since >= GIVE_UP_MS
    over = long and tries + 1 >= GIVE_UP_TRIES
    give_up = Reason.FAILING if over else None
    if tries + 1 >= len(DELAYS_S):
        return Settled(state=MessageState.DEAD, tries=tries + 1, due_at=now_ms, disable=give_up)
    wait_ms = delay_ms(tries + 1, chance, heard.retry_after_s)
    return Settled(
        state=MessageState.PENDING,
        tries=tries + 1,
        due_at=now_ms + wait_ms,
        disable=give_up,
        rest_until=now_ms + min(wait_ms, 60_000) if heard.status in THROTTLES else 0,
    )


def delay_ms(number: int, chance: float, retry_after_s: int | None = None) -> int:
    """The wait before attempt `number` (0 is the first): the schedule ±20 %.

    What the endpoint asked for is honoured between once and twice the schedule's own wait: less
    would be a hammer, more a way to hold messages for ever.
    """
    base = DELAYS_S[number]
    if retry_after_s is not None:
        return 1000 * min(max(retry_after_s, base), 2 * base)
    return int(1000 * base * (1 - JITTER + 2 * JITTER * chance))


def retry_after(text: str, now_ms: int) -> int | None:
    """Seconds behind a Retry-After header (RFC 9110 §10.2.3), or None when it is not one."""
    text = text.strip()
    if len(text) > _MAX_DATE:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of more digits than a date has
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait = moment - datetime.fromtimestamp(now_ms / 1000, UTC)
    return max(0, round(wait.total_seconds()))


def signing(secrets: list[Secret], now_ms: int) -> list[Secret]:
    """Those that sign now, newest first: an endpoint's current one and ten at most before it."""
    live = [one for one in secrets if one.expires_at is None or one.expires_at > now_ms]
    newest: dict[UUID, int] = {}
    for one in live:
        newest[one.endpoint] = max(newest.get(one.endpoint, 0), one.number)
    kept = [one for one in live if one.number >= newest[one.endpoint] - OLD_SECRETS]
    return sorted(kept, key=lambda one: -one.number)


def ends_at(now_ms: int) -> int:
    """When a secret that is rotated now stops to sign."""
    return now_ms + OVERLAP_MS
