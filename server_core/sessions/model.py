"""A session and a one-time link to one."""

from typing import Final
from uuid import UUID

from msgspec import Struct

from server_core.actor import Actor, Role

LIFE_MS: Final = 12 * 3600 * 1000
IDLE_MS: Final = 30 * 60 * 1000
TOUCH_MS: Final = 60 * 1000
LINK_LIFE_MS: Final = 10 * 60 * 1000


class Session(Struct, frozen=True, kw_only=True):
    """`assurance` and `authenticated_at` say how and when the person was last proved."""

    id: UUID
    party: UUID
    role: Role
    device: UUID | None
    assurance: int
    authenticated_at: int
    seen_at: int
    expires_at: int
    ended_at: int | None = None

    def actor(self) -> Actor:
        return Actor(
            party=self.party,
            role=self.role,
            device=self.device,
            session=self.id,
            assurance=self.assurance,
            authenticated_at=self.authenticated_at,
        )
