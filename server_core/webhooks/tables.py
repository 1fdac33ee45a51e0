"""The webhook tables' rows."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import SQLModel

from server_core.db import columns as col

_PENDING = text("state = 'pending'")


class EndpointRow(SQLModel, table=True):
    """Where one party's events go; deleted ones stay, for the history of what was sent there."""

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("webhook_endpoint_owner", "owner"),)
    id: UUID = col.key()
    owner: UUID = col.uuid()
    url: str = col.string()
    description: str = col.string()
    filters: Any = col.json()
    state: str = col.string()
    reason: str | None = col.string(null=True)
    from_seq: int = col.big()
    failing_since: int | None = col.big(null=True)
    slow: bool = col.flag(server_default=text("false"))
    rest_until: int = col.big()
    created_at: int = col.big()
    changed_at: int = col.big()


class SecretRow(SQLModel, table=True):
    """A signing secret, sealed; taken away when it is over."""

    __tablename__ = "webhook_secret"
    endpoint: UUID = col.key()
    number: int = col.big(primary=True)
    sealed: bytes = col.blob()
    created_at: int = col.big()
    expires_at: int | None = col.big(null=True)


class SigningKeyRow(SQLModel, table=True):
    """An ed25519 key of the house, its private part sealed; taken away when it is over."""

    __tablename__ = "webhook_key"
    kid: str = col.string(primary=True)
    public: bytes = col.blob()
    sealed: bytes = col.blob()
    created_at: int = col.big()
    expires_at: int | None = col.big(null=True)


class MessageRow(SQLModel, table=True):
    """One event for one endpoint. While an attempt runs, `due_at` is the end of its `lease`."""

    __tablename__ = "webhook_message"
    __table_args__ = (
        Index("webhook_message_seq", "endpoint", "seq", unique=True),
        Index("webhook_message_order", "endpoint", "aggregate", "seq"),
        Index("webhook_message_due", "endpoint", "due_at", "seq", postgresql_where=_PENDING),
        Index("webhook_message_dead", "endpoint", "seq", postgresql_where=text("state = 'dead'")),
    )
    id: UUID = col.key()
    endpoint: UUID = col.uuid()
    event: UUID = col.uuid()
    seq: int = col.big()
    aggregate: UUID = col.uuid()
    sequence: int = col.big()
    type: str = col.string()
    body: bytes = col.blob()
    state: str = col.string()
    tries: int = col.small()
    attempts: int = col.small()
    lease: UUID | None = col.uuid(null=True)
    due_at: int = col.big()
    ready_at: int = col.big()
    created_at: int = col.big()
    done_at: int | None = col.big(null=True)


class AttemptRow(SQLModel, table=True):
    """Append-only: what one attempt got. The answer's body is not kept."""

    __tablename__ = "webhook_attempt"
    message: UUID = col.key()
    number: int = col.big(primary=True)
    started_at: int = col.big()
    status: int | None = col.small(null=True)
    error: str | None = col.string(null=True)
    duration_ms: int = col.big()
