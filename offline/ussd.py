"""What a terminal and the server agree on about a payment by USSD: challenge, day, and the digits of the answer. Pure.

The money moves online; the digits only tell a terminal without a network that it has moved. A challenge is 6 digits,
the first of which is the last one of its day (days since 1970, UTC), so that both ends take the same day's key.
"""

import hashlib
import hmac
from typing import Final

DAY_S: Final = 86_400
KEY_SIZE: Final = 32
CHALLENGE_DIGITS: Final = 6
ANSWER_DIGITS: Final = 8
ASKED_KEYS: Final = b"OV1U"
"""What a terminal signs (S) in the place of a sync's body when it asks for its keys."""


def challenge(day: int, drawn: int) -> str:
    """The challenge of a day; `drawn` is 0..99999, by chance."""
    return f"{day % 10}{drawn:0{CHALLENGE_DIGITS - 1}}"


def day_of(asked: str, today: int) -> int | None:
    """The day that a challenge was made on: yesterday, today or tomorrow by our clock.

    None says that the other clock is wrong.
    """
    near = (today, today - 1, today + 1)
    return next((day for day in near if day % 10 == int(asked[0])), None)


def answer(key: bytes, terminal: bytes, asked: str, amount: int, day: int) -> str:
    """The 8 digits: HMAC-SHA256 of fixed-width fields, its first 8 bytes modulo 10^8.

    `OV1U`, terminal (4 B), challenge (6 ASCII digits), amount in minor units (8 B), day (4 B), big-endian.
    """
    said = ASKED_KEYS + terminal + asked.encode() + amount.to_bytes(8) + day.to_bytes(4)
    tag = hmac.digest(key, said, hashlib.sha256)
    return f"{int.from_bytes(tag[:8]) % 10**ANSWER_DIGITS:0{ANSWER_DIGITS}}"
