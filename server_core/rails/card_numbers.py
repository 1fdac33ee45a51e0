"""Finds what looks like a card's number, so that none is ever sent, stored or logged."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_SEPARATOR: Final = r"[ \t.,/_-]"
_RUN: Final = re.compile(rf"\d(?:{_SEPARATOR}{{0,2}}\d){{11,}}")
_SHORTEST, _LONGEST = 12, 19
_ID: Final = re.compile(
    r"\b(?:[A-Z]{3}[0-9A-F]{32}|[0-9A-Fa-f]{32}"
    r"|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})\b"
)
"""Ids of ours, whose hexadecimal digits may be decimal by chance."""


def holds_card_number(text: str) -> bool:
    """Whether 12 to 19 digits of it pass Luhn's check (ISO/IEC 7812-1), in any script of digits.

    Digits may stand in groups, set apart by spaces, dots, dashes and the like; of a run of groups,
    any that follow each other may be the number. None begins with 0. An id of ours is passed over
    when it stands by itself and has a letter.
    """
    plain = _ID.sub(_without_id, unicodedata.normalize("NFKC", text))
    return any(_is_number(number) for run in _RUN.finditer(plain) for number in _numbers_of(run[0]))


def _numbers_of(run: str) -> Iterator[str]:
    groups = re.findall(r"\d+", run)
    for first in range(len(groups)):
        number = ""
        for group in groups[first:]:
            number += group
            if len(number) > _LONGEST:
                break
            yield number


def _is_number(digits: str) -> bool:
    values = [int(one) for one in digits]
    return len(values) >= _SHORTEST and values[0] != 0 and _luhn(values)


def _without_id(found: re.Match[str]) -> str:
    return found[0] if found[0].isdecimal() else "|"


def _luhn(digits: list[int]) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
