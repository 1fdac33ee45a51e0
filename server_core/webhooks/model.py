"""Endpoints, their messages and what became of each attempt, as values."""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

DELAYS_S: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Standard Webhooks' schedule: the wait before each attempt, counted from the end of the last."""
JITTER: Final = 0.2
STALL_MS: Final = 10 * 60 * 1000
"""How long a message waits at most behind an earlier one of its aggregate that keeps failing."""
DEADLINE_S: Final = 15.0
SLOW_MS: Final = 2_000
"""An endpoint that took so long shares its room with those that fail."""

LEASE_MS: Final = 30_000
"""How long an attempt is its worker's: twice the deadline, so that only a dead worker loses it."""
OVERLAP_MS: Final = 24 * 3600 * 1000
"""How long a rotated secret still signs beside the new one."""
OLD_SECRETS: Final = 10
GIVE_UP_MS: Final = 120 * 3600 * 1000
"""An endpoint that only failed for so long is disabled,"""

GIVE_UP_TRIES: Final = 5
"""by a message that failed so often: over seven hours of the schedule."""
MAX_ENDPOINTS: Final = 50
MAX_PAGE: Final = 100
MAX_REPLAY: Final = 10_000
PER_ENDPOINT: Final = 16
IN_ALL: Final = 256


class EndpointState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


class Reason(StrEnum):
    """Why an endpoint is disabled."""

    OWNER = "owner"
    GONE = "gone"
    FAILING = "failing"


class MessageState(StrEnum):
    """`missed`: its endpoint was disabled. `dead`: the schedule is exhausted."""

    PENDING = "pending"
    DELIVERED = "delivered"
    MISSED = "missed"
    DEAD = "dead"


class Failure(StrEnum):
    """What went wrong in an attempt that got no 2xx."""

    STATUS = "status"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    DNS = "dns"
    ADDRESS = "address_refused"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    SECRET = "secret"  # noqa: S105 - a name


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where one party's events go. Times are Unix ms; `from_seq` is the log's head at creation."""

    id: UUID
    owner: UUID
    url: str
    description: str
    filters: tuple[str, ...]
    state: EndpointState
    reason: Reason | None
    from_seq: int
    failing_since: int | None
    rest_until: int
    created_at: int
    changed_at: int


class Secret(Struct, frozen=True, kw_only=True):
    """One signing secret of an endpoint; `expires_at` None means the current one."""

    endpoint: UUID
    number: int
    sealed: bytes
    created_at: int
    expires_at: int | None


class SigningKey(Struct, frozen=True, kw_only=True):
    """One ed25519 key of the house, by which every message is signed too."""

    kid: str
    public: bytes
    sealed: bytes
    created_at: int
    expires_at: int | None


class Message(Struct, frozen=True, kw_only=True):
    """One event for one endpoint. `tries` counts failures since it was made or replayed."""

    id: UUID
    endpoint: UUID
    event: UUID
    seq: int
    aggregate: UUID
    sequence: int
    type: str
    body: bytes
    state: MessageState
    tries: int
    attempts: int
    due_at: int
    ready_at: int
    created_at: int
    done_at: int | None


class Claimed(Struct, frozen=True, kw_only=True):
    """A message whose next attempt is this worker's, until the lease is over."""

    id: UUID
    endpoint: UUID
    event: UUID
    owner: UUID
    url: str
    type: str
    body: bytes
    tries: int
    number: int
    lease: UUID


class Heard(Struct, frozen=True, kw_only=True):
    """What one attempt got: a status or a failure; `retry_after_s` as the endpoint asked."""

    started_at: int
    duration_ms: int
    status: int | None = None
    failure: Failure | None = None
    retry_after_s: int | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None and self.status is not None and 200 <= self.status < 300


class Attempt(Struct, frozen=True, kw_only=True):
    """A row of history: what the answer held is not kept, it may be secret."""

    message: UUID
    number: int
    started_at: int
    status: int | None
    error: str | None
    duration_ms: int


class Settled(Struct, frozen=True, kw_only=True):
    """What an attempt makes of its message. `disable` and `rest_until` are for the endpoint."""

    state: MessageState
    tries: int
    due_at: int
    disable: Reason | None = None
    rest_until: int = 0


class Made(Struct, frozen=True, kw_only=True):
    """An endpoint with the secret that is shown now; `replayed` when the key was used before."""

    endpoint: Endpoint
    secret: str
    replayed: bool = False


class Draft(Struct, frozen=True, kw_only=True):
    """What a new endpoint is to be, as it was asked for."""

    url: str
    events: list[str]
    description: str = ""

    def body(self) -> dict[str, Any]:
        return {"url": self.url, "events": self.events, "description": self.description}
