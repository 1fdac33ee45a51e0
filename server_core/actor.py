"""Who asks: every command takes an Actor, and the slice decides what it may do."""

from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class Role(StrEnum):
    """In what capacity a party acts."""

    PAYER = "payer"
    MERCHANT = "merchant"
    GUARDIAN = "guardian"
    DELEGATE = "delegate"
    TERMINAL = "terminal"
    OPERATOR = "operator"
    SYSTEM = "system"


class Actor(Struct, frozen=True, kw_only=True):
    """Made only by sessions, terminals, the command line and jobs.

    `assurance` is the authenticator assurance level (1 or 2); `authenticated_at` is Unix ms of
    the last proof, so that a command may ask for a fresh one.
    """

    party: UUID | None
    role: Role
    device: UUID | None = None
    session: UUID | None = None
    on_behalf_of: UUID | None = None
    assurance: int = 1
    authenticated_at: int = 0


SYSTEM = Actor(party=None, role=Role.SYSTEM, assurance=2)
"""Jobs act as the system itself."""
