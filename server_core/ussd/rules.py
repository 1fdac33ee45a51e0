"""How a USSD text is read, how a terminal is named. Pure."""

import re
from itertools import pairwise
from typing import Final

from offline.ussd import CHALLENGE_DIGITS
from server_core.errors import DomainError, invalid
from server_core.ussd.model import (
    CODE_DIGITS,
    PIN_DIGITS,
    Missing,
    Typed,
)

MAX_TEXT: Final = 200
_MSISDN: Final = re.compile(r"\+?([1-9][0-9]{7,14})", re.ASCII)
_RUPEES: Final = re.compile(r"([1-9][0-9]{0,6})(?:\.([0-9]{2}))?", re.ASCII)


def msisdn(text: str) -> bytes:
    """The number in E.164 (ITU-T), digits only, as its blind index takes it; raises ussd.number."""
    found = _MSISDN.fullmatch(text)
    if found is None:
        raise invalid("ussd.number", "a number is +country code and digits", field="phoneNumber")
    return found[1].encode()


def check_pin(pin: str) -> None:
    """Raises ussd.pin for one that is no PIN, or that a stranger would try first."""
    if not (len(pin) == PIN_DIGITS and pin.isascii() and pin.isdigit()):
        raise invalid("ussd.pin", f"a PIN is {PIN_DIGITS} digits")
    steps = {int(b) - int(a) for a, b in pairwise(pin)}
    if steps in ({0}, {1}, {-1}):
        raise invalid("ussd.pin", "this PIN is too easy to guess")


def read_setup(text: str) -> Typed:
    """The choice of a PIN, typed twice; raises ussd.pin, ussd.pins_differ."""
    parts = _parts(text)
    if not parts:
        return Typed(missing=Missing.NEW_PIN)
    check_pin(parts[0])
    if len(parts) == 1:
        return Typed(missing=Missing.NEW_PIN_AGAIN)
    if parts[0] != parts[1] or len(parts) > 2:
        raise invalid("ussd.pins_differ", "the two PINs are not the same")
    return Typed(missing=None, pin=parts[0])


def read_payment(text: str) -> Typed:
    """`code*rupees*challenge*pin`, as far as it was typed; raises ussd.code, .amount, .challenge."""
    parts = _parts(text)
    if len(parts) > 4:
        raise invalid("ussd.text", "that is more than a payment needs")
    code, rupees, challenge, pin = (*parts, "", "", "", "")[:4]
    if parts and not is_code(code):
        raise invalid("ussd.code", "this is no shop's code")
    amount = _minor(rupees) if len(parts) > 1 else 0
    if len(parts) > 2 and not _digits(challenge, CHALLENGE_DIGITS):
        raise invalid("ussd.challenge", f"the terminal shows {CHALLENGE_DIGITS} digits")
    asked = (Missing.CODE, Missing.AMOUNT, Missing.CHALLENGE, Missing.PIN, None)
    return Typed(missing=asked[len(parts)], code=code, amount=amount, challenge=challenge, pin=pin)


def code_of(number: int) -> str:
    """A terminal's code: six digits and their Luhn digit (ISO/IEC 7812-1), so that a slip is seen."""
    digits = f"{number:0{CODE_DIGITS - 1}}"
    return digits + str(-_luhn(digits + "0") % 10)


def is_code(text: str) -> bool:
    return _digits(text, CODE_DIGITS) and _luhn(text) % 10 == 0


def _parts(text: str) -> list[str]:
    if len(text) > MAX_TEXT:
        raise invalid("ussd.text", "that is more than a payment needs")
    return text.split("*") if text else []


def _minor(rupees: str) -> int:
    found = _RUPEES.fullmatch(rupees)
    if found is None:
        raise _no_amount()
    return int(found[1]) * 100 + int(found[2] or 0)


def _no_amount() -> DomainError:
    return invalid("ussd.amount", "type the amount in rupees, such as 120")


def _digits(text: str, size: int) -> bool:
    return len(text) == size and text.isascii() and text.isdigit()


def _luhn(digits: str) -> int:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total
