"""A stray: money that a rail took and that no payment is waiting for."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct


class State(StrEnum):
    """`found` until its rail has given it back."""

    FOUND = "found"
    GIVEN_BACK = "given_back"


RETRY_MS: Final = 15 * 60 * 1000
"""How long before a rail that did not give it back is asked again."""


class Found(Struct, frozen=True, kw_only=True):
    """A debit of `amount` minor units that a rail says it made for `attempt`, which had ended.

    `debit` is the rail's own id of it where a payer's app made it; None when it is the attempt's.
    """

    attempt: UUID
    intent: UUID
    rail: str
    debit: str | None
    amount: int
    currency: str
    code: str | None
    rail_reference: str | None


class Stray(Struct, frozen=True, kw_only=True):
    """What was found, and how far it is on its way back.

    `refusals` counts how often the rail refused for good to give it back: each time is asked for under
    an id of its own, and an unclear answer under the same one.
    """

    id: UUID
    attempt: UUID
    intent: UUID
    rail: str
    debit: str | None
    amount: int
    currency: str
    state: State
    code: str | None
    rail_reference: str | None
    asked: int
    refusals: int
    next_check_at: int | None
    found_at: int
    ended_at: int | None
