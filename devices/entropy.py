"""The system's randomness, wrapped once, so that a simulation can hand in its own."""

import random
import secrets
from typing import Protocol


class Entropy(Protocol):
    """A source of bytes and of fair choices."""

    def bytes(self, n: int) -> bytes: ...
    def below(self, n: int) -> int: ...
    def unit(self) -> float: ...


class SystemEntropy:
    """The operating system's generator; the only one that keys and tokens may come from."""

    __slots__ = ("_random",)

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def bytes(self, n: int) -> bytes:
        return secrets.token_bytes(n)

    def below(self, n: int) -> int:
        return secrets.randbelow(n)

    def unit(self) -> float:
        return self._random.random()


class SeededEntropy:
    """A repeatable stream for the sandbox, tests and simulations; never for keys that guard money."""

    __slots__ = ("_random",)

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def below(self, n: int) -> int:
        return self._random.randrange(n)

    def unit(self) -> float:
        return self._random.random()
