"""What may stop a payment in transaction 1, before any money moves: authority, limits, risk.

Each gate sees the whole batch at once, as the earlier commands of it left the intents, and answers in
order: None, or the refusal. It may read and write by one statement a table, and locks only rows of
the slices below, each by id. The first gate that refuses decides.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec import Struct

from server_core.db.work import Work
from server_core.errors import DomainError
from server_core.parties.model import Party
from server_core.payments.model import Confirm, Intent


class Proposed(Struct, frozen=True, kw_only=True):
    """A confirm that the rules of payments let through: who pays what to whom, by which method."""

    command: Confirm
    intent: Intent
    payee: Party


Judged = list[DomainError | None]
Gate = Callable[[Work, Sequence[Proposed]], Awaitable[Judged]]


async def authority(work: Work, proposed: Sequence[Proposed]) -> Judged:  # noqa: ARG001 - a gate
    """May this actor spend this money? Everybody spends their own; `rules` let nobody else through."""
    return [None] * len(proposed)


async def limits(work: Work, proposed: Sequence[Proposed]) -> Judged:  # noqa: ARG001 - a gate
    """Does the payer's limit hold it? One payment's bound was checked when its intent was made."""
    return [None] * len(proposed)


async def risk(work: Work, proposed: Sequence[Proposed]) -> Judged:  # noqa: ARG001 - a gate
    """Is it likely to be fraud? No model judges yet."""
    return [None] * len(proposed)


GATES: Final[tuple[Gate, ...]] = (authority, limits, risk)


async def judge(work: Work, proposed: Sequence[Proposed], gates: Sequence[Gate] = GATES) -> Judged:
    """What the gates say of each, in order; those that one has refused are not shown to the next."""
    judged: Judged = [None] * len(proposed)
    for gate in gates:
        open_ = [i for i, refused in enumerate(judged) if refused is None]
        if not open_:
            break
        for i, said in zip(open_, await gate(work, [proposed[i] for i in open_]), strict=True):
            judged[i] = said
    return judged
