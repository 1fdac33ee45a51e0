"""A passkey as its owner has it, and the challenges that answers are for."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from devices.passkeys import Passkey

CHALLENGE_LIFE_MS: Final = 5 * 60 * 1000
STEP_UP_MS: Final = 5 * 60 * 1000
"""Adding or ending a passkey asks for a proof of the person younger than this."""
MAX_LABEL: Final = 64
MAX_PASSKEYS: Final = 20
"""Of one party, those that are not ended."""


class Purpose(StrEnum):
    """What a challenge is for; an answer to one is worth nothing for another."""

    REGISTER = "register"
    SIGN_IN = "sign_in"
    STEP_UP = "step_up"


class Owned(Struct, frozen=True, kw_only=True):
    """One party's passkey. Ended for good by `ended_at`; times in ms."""

    id: UUID
    party: UUID
    passkey: Passkey
    label: str
    made_at: int
    used_at: int | None = None
    ended_at: int | None = None


class Challenge(Struct, frozen=True, kw_only=True):
    """One question, told as `value` and kept as its hash.

    `holder`: who may answer it: the hash of a session's id, or of the ticket that a screen without a
    session was given. `about`: the canonical hash of what a step-up is for.
    """

    value: bytes
    purpose: Purpose
    holder: bytes
    about: bytes | None
    expires_at: int
