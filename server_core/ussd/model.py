"""A phone line that pays by USSD, what its user has typed so far, and what is said back."""

from enum import Enum, auto
from typing import Final
from uuid import UUID

from msgspec import Struct

PROFILE: Final = "ussd"
"""Limits `each` (minor), `pin_tries`, `pin_lock_s`."""

PIN_DIGITS: Final = 6
CODE_DIGITS: Final = 7


class Line(Struct, frozen=True, kw_only=True):
    """A subscriber's number, known by its blind index only, and the PIN that pays from its party.

    `pin` is None until its user has chosen one. Times in Unix ms.
    """

    number: bytes
    party: UUID
    pin: str | None = None
    wrong: int = 0
    locked_until: int = 0


class Payment(Struct, frozen=True, kw_only=True):
    """One challenge of one terminal, taken by one payer for one amount; `id` keys its payment."""

    id: UUID
    terminal: bytes
    day: int
    challenge: str
    party: UUID
    amount: int


class Missing(Enum):
    """What is asked for next."""

    NEW_PIN = auto()
    NEW_PIN_AGAIN = auto()
    CODE = auto()
    AMOUNT = auto()
    CHALLENGE = auto()
    PIN = auto()


class Typed(Struct, frozen=True, kw_only=True):
    """What a payer has typed, read as far as it goes. `amount` in minor units."""

    missing: Missing | None
    code: str = ""
    amount: int = 0
    challenge: str = ""
    pin: str = ""


class Said(Struct, frozen=True, kw_only=True):
    """A page of a USSD session: `ends` closes it."""

    text: str
    ends: bool


class AskKeys(Struct, frozen=True, kw_only=True):
    """A terminal asks for its code and its keys."""

    terminal: bytes
    server_nonce: bytes
    sig: bytes


class TerminalKeys(Struct, frozen=True, kw_only=True):
    """A terminal's code, and by day (since 1970, UTC) the key (32 B) that checks its answers."""

    code: str
    keys: dict[int, bytes]
