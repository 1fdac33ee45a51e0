"""A claim to a key, and what claiming it found."""

from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from server_core.errors import DomainError

T = TypeVar("T")

TTL_MS: Final = 24 * 3600 * 1000
"""How long an answer is kept for replay; the intent's own state guards after that."""

LEASE_MS: Final = 90_000
"""How long a `running` claim is its owner's: longer than a rail call's deadline, and no sooner
over than a switch may first be asked about a transaction (NPCI: 90 s)."""

WAIT_MS: Final = 10_000
"""How long a duplicate waits for the first one's rail call before it is told to come again."""

MAX_KEY: Final = 255


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"


class Claim(Struct, frozen=True, kw_only=True):
    """`scope` is the caller, `key` theirs, `verb` the command, `body` its canonical hash."""

    scope: str
    key: str
    verb: str
    body: bytes


class Fresh(Struct, frozen=True, kw_only=True):
    """Nobody did this before: do it. `fence` grows with every take-over."""

    fence: int = 1


class Replay(Struct, frozen=True, kw_only=True):
    """It was done: answer what was answered."""

    answer: Any


class Mismatch(Struct, frozen=True, kw_only=True):
    """The key was used for something else."""


class Running(Struct, frozen=True, kw_only=True):
    """Another holds the lease until `until` (Unix ms), under `fence`."""

    until: int
    fence: int


Found = Fresh | Replay | Mismatch | Running


class Answer(Struct, Generic[T], frozen=True, kw_only=True):
    """What a command with a key came to; `replayed` when an earlier request was answered so."""

    value: T
    replayed: bool = False


class Repeated(DomainError):  # noqa: N818 - a refusal told again, not a failure of its own
    """A refusal that was the answer to this key before."""

    __slots__ = ()

    @classmethod
    def of(cls, said: DomainError) -> "Repeated":
        return cls(said.kind, said.code, said.message, field=said.field, **said.facts)
