"""Which events leave the house, to whom, and what of each its hearer may see. Pure; fails closed.

A type that is not listed is never sent; a party that no listed field names hears nothing; a field
that its audience does not list is not shown. An event is for a party when one of its audiences'
fields holds that party's id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from server_core.errors import invalid
from server_core.events.model import Event
from server_core.ids import public

MAX_FILTERS: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED: Final = dict.fromkeys(("payee", "payer", "merchant", "party", "owner"), "pty") | {
    "payment": "pay"
}
"""Fields that hold an id, and what it is of: public ids outside."""
_PREFIXES: Final = {
    "allowance": "alw", "device": "dev", "endpoint": "ep", "payment": "pay", "refund": "ref",
    "terminal": "trm",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who is named by `field`, and the members of the payload that they see."""

    field: str
    shows: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One type of event: its payload versions, and who hears of it."""

    versions: frozenset[int]
    audiences: tuple[Audience, ...]


def _kind(*audiences: tuple[str, str]) -> Kind:
    return Kind(
        versions=frozenset({1}),
        audiences=tuple(
            Audience(field=field, shows=frozenset(shows.split())) for field, shows in audiences
        ),
    )


_SALE = "state purpose amount captured capturable currency payee payer"
# What a bank said of a try is its payer's alone, as it is everywhere else.
_PAYMENT = _kind(("payee", _SALE), ("payer", f"{_SALE} attempt method outcome code"))
_BACK = "state payment amount currency reason payee payer"
_REFUND = _kind(("payee", f"{_BACK} method code"), ("payer", _BACK))
_ALLOWANCE = _kind(
    ("payer", "aid payer currency hold settled state frozen claimed unclaimed returned")
)
# How much a payer has set aside is not the shop's to know.
_VOUCHER = _kind(
    ("merchant", "aid counter amount currency merchant terminal payment"),
    ("payer", "aid counter amount currency merchant payer hold settled state frozen to payment"),
)
_TERMINAL = _kind(("merchant", "terminal merchant"))
_DEVICE = _kind(("party", "party tier"))
_PASSKEY = _kind(("party", "party synced"))
# What an operator looked at is not the payer's to see.
_TIER = _kind(("party", "party before after"))

KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        (
            "payment.created", "payment.processing", "payment.authorized", "payment.captured",
            "payment.succeeded", "payment.attempt_failed", "payment.canceled", "payment.expired",
            "payment.requires_action", "payment.capture_failed", "payment.conflicted",
            "payment.conflict_decided",
            "payment.conflict_over",
        ),
        _PAYMENT,
    ),
    **dict.fromkeys(("refund.created", "refund.succeeded", "refund.failed"), _REFUND),
    **dict.fromkeys(
        (
            "allowance.issued", "allowance.surrendered", "allowance.frozen", "allowance.unfrozen",
            "allowance.closed",
        ),
        _ALLOWANCE,
    ),
    **dict.fromkeys(
        (
            "voucher.settled", "voucher.voided", "voucher.claimed", "voucher.claim_opened",
            "voucher.claim_refused",
        ),
        _VOUCHER,
    ),
    **dict.fromkeys(
        ("terminal.enrolled", "terminal.quarantined", "terminal.released", "terminal.revoked"),
        _TERMINAL,
    ),
    **dict.fromkeys(("device.linked", "device.revoked"), _DEVICE),
    **dict.fromkeys(("passkey.added", "passkey.ended", "passkey.signed_in"), _PASSKEY),
    "device.tier_changed": _TIER,
    "endpoint.disabled": _kind(("owner", "owner endpoint reason failing_since")),
    "message.attempt.exhausted": _kind(("owner", "owner endpoint message event type attempts")),
}  # fmt: skip
"""Every type that an endpoint may ask for."""

OWN: Final = frozenset({"endpoint.disabled", "message.attempt.exhausted"})
"""Types about webhooks themselves; never sent to the endpoint that they are about."""


def check_filters(filters: Sequence[object]) -> tuple[str, ...]:
    """The filters, each once, in order; raises webhooks.event_type, webhooks.filters.

    A filter is a known type (`payment.succeeded`), a family (`payment.*`) or everything (`*`),
    with a payload version after it if only that one is wanted (`payment.succeeded@1`).
    """
    if not 0 < len(filters) <= MAX_FILTERS:
        raise invalid("webhooks.filters", f"name 1 to {MAX_FILTERS} event types", field="events")
    for one in filters:
        if not isinstance(one, str) or not _known(one):
            raise invalid(
                "webhooks.event_type",
                f"there is no event {str(one)[:64]!r}: choose of {', '.join(KINDS)}",
                field="events",
                known=list(KINDS),
            )
    return tuple(dict.fromkeys(str(one) for one in filters))


def _known(text: str) -> bool:
    name, at, version = text.partition("@")
    matched = [kind for one, kind in KINDS.items() if _matches(name, one)]
    if at and not (
        version.isascii() and version.isdigit() and version[0] != "0" and len(version) < 9
    ):
        return False
    return any(not at or int(version) in kind.versions for kind in matched)


def _matches(pattern: str, name: str) -> bool:
    if pattern in {"*", name}:
        return True
    return pattern.endswith(".*") and name.startswith(pattern[:-1])


def wanted(filters: Sequence[str], name: str, version: int) -> bool:
    """Whether one of the filters asks for this type in this payload version."""
    for one in filters:
        pattern, at, number = one.partition("@")
        if _matches(pattern, name) and (not at or number == str(version)):
            return True
    return False


def hearers(event: Event) -> set[UUID]:
    """The parties that an event is about; nobody for a type that is not listed."""
    kind = KINDS.get(event.type)
    if kind is None or event.version not in kind.versions:
        return set()
    found = (event.payload.get(audience.field) for audience in kind.audiences)
    return {party for party in map(_party, found) if party is not None}


def shown(event: Event, owner: UUID) -> dict[str, Any] | None:
    """The payload as `owner` may see it; None when the event is not theirs to hear of."""
    if owner not in hearers(event):
        return None
    visible: set[str] = set()
    for audience in KINDS[event.type].audiences:
        if _party(event.payload.get(audience.field)) == owner:
            visible |= audience.shows
    return {name: _outside(name, value) for name, value in event.payload.items() if name in visible}


def about(event: Event) -> str | None:
    """The public id of the endpoint that one of our own events is about."""
    found = event.payload.get("endpoint")
    return found if event.type in OWN and isinstance(found, str) else None


def body(event: Event, data: dict[str, Any], *, endpoint: UUID, previous: int) -> bytes:
    """The signed JSON: made once, the same bytes on every attempt and over the pull API.

    `previous` is the `sequence` of the message before it in its aggregate at this endpoint, 0 for
    the first: who has not seen that one knows that it is on its way, or asks for it.
    """
    return msgspec.json.encode(
        {
            "type": event.type,
            "timestamp": iso(event.recorded_at),
            "data": {"id": subject(event)} | data,
            "id": public("evt", event.id),
            "version": event.version,
            "subject": subject(event),
            "sequence": event.sequence,
            "previous": previous,
            "endpoint": public("ep", endpoint),
        }
    )


class _Subject(msgspec.Struct):
    subject: str


def subject_of(body: bytes) -> str:
    """The public id of what a signed body tells of."""
    return msgspec.json.decode(body, type=_Subject).subject


def subject(event: Event) -> str:
    return public(_PREFIXES.get(event.aggregate_type, event.aggregate_type), event.aggregate_id)


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC to the millisecond."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _outside(name: str, value: Any) -> Any:
    known = _party(value) if name in _NAMED else None
    return value if known is None else public(_NAMED[name], known)


def _party(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
