"""Money on the wire: minor units as a string of digits, because GraphQL's Int has 32 bits."""

from datetime import UTC, datetime, timedelta
from typing import Final, NewType, Self

import strawberry
from strawberry.types.scalar import ScalarDefinition

from server_core.errors import invalid
from server_core.money import EXPONENTS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MinorUnits = NewType("MinorUnits", str)


def _written(value: object) -> str:
    """What a client wrote, if it is a string; which digits make an amount is the core's to say."""
    if not isinstance(value, str):
        raise invalid("money.amount", 'minor units are a string of digits, such as "15000"')
    return value


MINOR_UNITS: Final[ScalarDefinition] = strawberry.scalar(
    name="MinorUnits",
    description=(
        'A whole number of minor units as a string of digits: "15000" is INR 150.00. '
        "An amount that is sent is 1 to 9007199254740991, without sign or leading zero; "
        "a balance that is answered may be negative."
    ),
    serialize=str,
    parse_value=_written,
)


@strawberry.type(description="An amount of one currency.")
class Money:
    minor: MinorUnits
    currency: str = strawberry.field(description="ISO 4217.")
    exponent: int = strawberry.field(description="Decimals of the currency (ISO 4217).")

    @classmethod
    def of(cls, minor: int, currency: str) -> Self:
        return cls(minor=MinorUnits(str(minor)), currency=currency, exponent=EXPONENTS[currency])


def instant(ms: int) -> datetime:
    """Unix milliseconds as the API says them: ISO 8601 with an offset."""
    return _EPOCH + timedelta(milliseconds=ms)
