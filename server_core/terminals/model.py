"""A terminal: one key, one payee, for ever."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from server_core.actor import Actor, Role

PAIRING_LIFE_MS: Final = 10 * 60 * 1000
CERTIFICATE_LIFE_S: Final = 365 * 86_400


class State(StrEnum):
    """A quarantined or revoked terminal may still drain; its payout waits for an operator."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


class Terminal(Struct, frozen=True, kw_only=True):
    """`id` (4 B) is never re-used and belongs to `payee` (8 B) of merchant `party`."""

    id: bytes
    party: UUID
    payee: bytes
    key: bytes
    kid: bytes
    cert: bytes
    sig_cert: bytes
    state: State
    enrolled_at: int

    def actor(self) -> Actor:
        return Actor(party=self.party, role=Role.TERMINAL)
