"""Replays the journal: an account's totals made again from its transfers alone. Pure.

Written apart from `rules.decide`, which it checks: it decides nothing, it only adds up.
"""

from typing import NamedTuple
from uuid import UUID

from msgspec import Struct, field

from server_core.ledger.model import Mode


class Said(NamedTuple):
    """One side of a created transfer, and the running totals that its entry claims."""

    account: UUID
    version: int
    transfer: UUID
    mode: str
    amount: int
    pending_id: UUID | None
    final: bool
    is_debit: bool
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


class Replay(Struct):
    """One account, fed its sides in the order of their versions."""

    account: UUID
    version: int = 0
    totals: tuple[int, int, int, int] = (0, 0, 0, 0)
    holds: dict[UUID, int] = field(default_factory=dict)

    def add(self, said: Said) -> str | None:
        """Take one side; what is wrong with it, or None.

        A hold that is not open here any more moves nothing: its end would then claim too much.
        """
        self.version += 1
        pending, posted = self._moved(said)
        dp, dx, cp, cx = self.totals
        if said.is_debit:
            dp, dx = dp + pending, dx + posted
        else:
            cp, cx = cp + pending, cx + posted
        self.totals = (dp, dx, cp, cx)
        claimed = said[8:]
        if said.version != self.version:
            return f"version {said.version} follows {self.version - 1}"
        if claimed != self.totals:
            return f"its entry says {claimed}, the journal {self.totals}"
        return None

    def _moved(self, said: Said) -> tuple[int, int]:
        if said.mode == Mode.SINGLE:
            return 0, said.amount
        if said.mode == Mode.PENDING:
            self.holds[said.transfer] = said.amount
            return said.amount, 0
        hold = said.pending_id
        open_ = self.holds.get(hold, 0) if hold is not None else 0
        posted = said.amount if said.mode == Mode.POST else 0
        if hold is not None and (said.mode != Mode.POST or said.final or posted == open_):
            self.holds.pop(hold, None)
            return -open_, posted
        if hold is not None:
            self.holds[hold] = open_ - posted
        return -posted, posted
