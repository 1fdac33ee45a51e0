"""A claim to a key, and what claiming it found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

TTL_MS: Final = 24 * 3600 * 1000
"""How long an answer is kept for replay; the intent's own state guards after that."""

LEASE_MS: Final = 90_000
"""How long a `running` claim is its owner's: longer than a rail call's deadline, and no sooner
over than a switch may first be asked about a transaction (NPCI: 90 s)."""

MAX_KEY: Final = 255


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`scope` is the caller, `key` theirs, `verb` the command, `body` its canonical hash."""

    scope: str
    key: str
    verb: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Nobody did this before: do it. `fence` grows with every take-over."""

    fence: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """It was done: answer what was answered."""

    answer: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The key was used for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Another holds the lease until `until` (Unix ms), under `fence`."""

    until: int
    fence: int


Found = Fresh | Replay | Mismatch | Running
