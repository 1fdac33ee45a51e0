"""A part of a world: forked before it is changed, then named by one hash of all that is in it."""

from copy import copy
from typing import Self


class Broken(Exception):  # noqa: N818 - a law, broken
    """A law does not hold; the message says which, and by what."""


def law(holds: bool, sentence: str) -> None:
    if not holds:
        raise Broken(sentence)


class Part:
    """Slots hold values that can be hashed, or dicts and sets of such values."""

    __slots__ = ("_name",)

    def fork(self) -> Self:
        made = object.__new__(type(self))
        for slot in self.__slots__:
            value = getattr(self, slot)
            setattr(made, slot, copy(value) if isinstance(value, (dict, set)) else value)
        made._name = None
        return made

    def name(self) -> int:
        """One 64-bit fingerprint; only asked once nothing changes any more."""
        if self._name is None:
            values = (getattr(self, slot) for slot in self.__slots__)
            self._name = hash(tuple(map(_frozen, values)))
        return self._name


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return frozenset(value.items())
    return frozenset(value) if isinstance(value, set) else value
