"""A party: a person or a merchant."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from server_core.ledger.model import Code

MAX_NAME_BYTES: Final = 32
"""A merchant's name travels in OV1 certificates: 1..32 bytes of UTF-8."""


class Kind(StrEnum):
    PERSON = "person"
    MERCHANT = "merchant"


MONEY_ACCOUNT: Final[dict[Kind, Code]] = {Kind.PERSON: Code.WALLET, Kind.MERCHANT: Code.PAYABLE}
"""Where a party's money stands: what we owe a person, what we owe a shop until settlement."""


class Party(Struct, frozen=True, kw_only=True):
    """`mcc` (ISO 18245) is a merchant's category; `payee` its 8-byte OV1 id, never re-used."""

    id: UUID
    kind: Kind
    name: str
    mcc: str = "0000"
    payee: bytes | None = None
    created_at: int = 0
