"""What a load process attempted and what it was told, on lines that outlive its kill.

A line is one write to the kernel, which keeps it when the process is killed; only the power going
would need fsync, and no fault here takes the power away.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from server_core.ledger.model import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    id: UUID
    debit: UUID
    credit: UUID
    amount: int

    def transfer(self) -> Transfer:
        return Transfer(
            id=self.id, debit=self.debit, credit=self.credit, amount=self.amount, code="crash"
        )


class Writer:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def line(self, *words: object) -> None:
        os.write(self._file, (" ".join(str(word) for word in words) + "\n").encode())


class Journal:
    """Read as it grows: `attempts` by id, `told` the outcomes in order, `errors` by code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at, self._rest = 0, b""
        self.attempts: dict[UUID, Attempt] = {}
        self.told: dict[UUID, str] = {}
        self.errors: dict[str, int] = {}
        self.bugs: list[str] = []

    def read(self) -> "Journal":
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._at)
                found = file.read()
            self._at += len(found)
            *lines, self._rest = (self._rest + found).split(b"\n")
            for line in lines:
                self._line(line.decode())
        return self

    def _line(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "try":
            one, debit, credit, amount = rest.split(" ")
            attempt = Attempt(
                id=UUID(one), debit=UUID(debit), credit=UUID(credit), amount=int(amount)
            )
            self.attempts[attempt.id] = attempt
        elif kind == "told":
            one, outcome = rest.split(" ")
            self.told[UUID(one)] = outcome
        elif kind == "error":
            self.errors[rest] = self.errors.get(rest, 0) + 1
        else:
            self.bugs.append(line)

    @property
    def open(self) -> list[Attempt]:
        """Attempted, and no outcome told: exactly these may or may not be in the books."""
        return [one for one in self.attempts.values() if one.id not in self.told]

    def lost(self) -> int:
        """How often a caller had no answer from the database."""
        return self.errors.get("db.unreachable", 0) + self.errors.get("db.commit_unknown", 0)
