"""What a step of a world is: its kind, its batches, the limits that it sets."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct, field

from server_core.ids import derived
from server_core.ledger.model import Mode, Transfer
from tests.sim.dice import Dice

KINDS = {
    "post": 30, "twice": 4, "queue": 8, "race": 8, "limits": 7, "tick": 6,
    "raised": 3, "killed": 2, "lost": 3, "unsent": 2, "poisoned": 3,
}  # fmt: skip
"""The steps of a world and how often they come; every seed bends these weights."""


AT_ONCE = ("queue", "poisoned", "race")


class Limits(Struct, frozen=True):
    """What an account is to allow from now on; a floor above the cap is refused as it stands."""

    account: UUID
    floor: int | None
    cap: int | None
    closed: bool

    @property
    def sound(self) -> bool:
        return self.floor is None or self.cap is None or self.floor <= self.cap


class Step(Struct):
    """One thing that happens: `groups` are the batches of its Works, or the commands of a queue."""

    kind: str
    now: int
    groups: list[list[Transfer]] = field(default_factory=list)
    limits: Limits | None = None
    dice: Dice = field(default_factory=lambda: Dice(0))


def expiries(due: Sequence[Transfer]) -> list[Transfer]:
    """What the expiry job asks for; each id is its hold's, so that two jobs ask for one thing."""
    return [
        Transfer(
            id=derived("expire", hold.id), mode=Mode.EXPIRE, pending_id=hold.id, code="expire",
            ledger=hold.ledger,
        )
        for hold in due
    ]  # fmt: skip
