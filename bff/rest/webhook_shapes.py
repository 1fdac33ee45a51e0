"""What webhooks look like over REST: the bodies that are taken and given."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bff.rest.bodies import Body
from graph.money import instant
from server_core.ids import public
from server_core.webhooks import signing
from server_core.webhooks.model import Attempt, Endpoint, Message, SigningKey

_EVENTS: Final = Meta(
    description="Types (`payment.succeeded`), families (`payment.*`) or `*`; `@1` after one asks"
    " for that payload version only.",
    examples=[["payment.succeeded"]],
)


class CreateEndpoint(Body):
    """Where events go, and which."""

    url: Annotated[str, Meta(examples=["https://shop.example.com/hooks/hundi"])]
    events: Annotated[list[str], _EVENTS]
    description: str = ""


class UpdateEndpoint(Body):
    """What is left out stays as it is."""

    url: str | UnsetType = UNSET
    events: Annotated[list[str], _EVENTS] | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Rotate(Body):
    """Nothing more is said."""


class Replay(Body):
    """One `message`, or all of [`since`, `until`), after `after`; undelivered only if `missing`."""

    message: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    missing: bool = False
    after: str | None = None


class WebhookEndpoint(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """`secret` is shown once, when it is made."""

    id: str
    owner_id: str
    url: str
    description: str
    events: list[str]
    state: str
    reason: str | None
    failing_since: datetime | None
    created_at: datetime
    changed_at: datetime
    secret: str | None = None

    @classmethod
    def of(cls, one: Endpoint, secret: str | None = None) -> "WebhookEndpoint":
        return cls(
            id=public("ep", one.id),
            owner_id=public("pty", one.owner),
            url=one.url,
            description=one.description,
            events=list(one.filters),
            state=one.state,
            reason=one.reason,
            failing_since=instant(one.failing_since) if one.failing_since else None,
            created_at=instant(one.created_at),
            changed_at=instant(one.changed_at),
            secret=secret,
        )


class WebhookEndpoints(msgspec.Struct, kw_only=True, frozen=True):
    endpoints: list[WebhookEndpoint]


class WebhookMessage(msgspec.Struct, kw_only=True, frozen=True):
    """`body` is the signed JSON, the same as was or will be posted."""

    id: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    body: msgspec.Raw

    @classmethod
    def of(cls, one: Message) -> "WebhookMessage":
        return cls(
            id=public("msg", one.id),
            state=one.state,
            attempts=one.attempts,
            next_attempt_at=instant(one.due_at) if one.state == "pending" else None,
            created_at=instant(one.created_at),
            body=msgspec.Raw(one.body),
        )


class WebhookMessages(msgspec.Struct, kw_only=True, frozen=True):
    """`next` is the `after` of the next page; ask again with it also when this page is short."""

    messages: list[WebhookMessage]
    next: str | None


class WebhookAttempt(msgspec.Struct, kw_only=True, frozen=True):
    number: int
    started_at: datetime
    status: int | None
    error: str | None
    duration_ms: int

    @classmethod
    def of(cls, one: Attempt) -> "WebhookAttempt":
        return cls(
            number=one.number,
            started_at=instant(one.started_at),
            status=one.status,
            error=one.error,
            duration_ms=one.duration_ms,
        )


class WebhookAttempts(msgspec.Struct, kw_only=True, frozen=True):
    attempts: list[WebhookAttempt]


class WebhookReplay(msgspec.Struct, kw_only=True, frozen=True):
    """How many go out again; `next` is the `after` of the next call when there are more."""

    replayed: int
    next: str | None


class PublicKey(msgspec.Struct, kw_only=True, frozen=True):
    """An ed25519 key of v1a signatures; `expires_at` null for the current one."""

    kid: str
    key: str
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, one: SigningKey) -> "PublicKey":
        return cls(
            kid=one.kid,
            key=signing.public_text(one.public),
            created_at=instant(one.created_at),
            expires_at=instant(one.expires_at) if one.expires_at else None,
        )


class PublicKeys(msgspec.Struct, kw_only=True, frozen=True):
    keys: list[PublicKey]
