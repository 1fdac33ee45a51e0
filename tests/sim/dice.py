"""A seed's chances: everything random in a world comes from here, so that a seed is a world."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from devices.entropy import SeededEntropy

T = TypeVar("T")


class Dice:
    """A named stream: step 7 of a seed throws the same whatever the steps before it threw."""

    def __init__(self, *name: object) -> None:
        self._entropy = SeededEntropy(":".join(str(part) for part in name))

    def chance(self, one_in: int) -> bool:
        return self._entropy.below(one_in) == 0

    def between(self, low: int, high: int) -> int:
        return low + self._entropy.below(high - low + 1)

    def pick(self, some: Sequence[T]) -> T:
        return some[self._entropy.below(len(some))]

    def some(self, among: Sequence[T], count: int) -> list[T]:
        rest, taken = list(among), []
        while rest and len(taken) < count:
            taken.append(rest.pop(self._entropy.below(len(rest))))
        return taken

    def weighted(self, weights: Mapping[T, int]) -> T:
        at = self._entropy.below(sum(weights.values()))
        for value, weight in weights.items():
            at -= weight
            if at < 0:
                return value
        raise AssertionError("unreachable")
