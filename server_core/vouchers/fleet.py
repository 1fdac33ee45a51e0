"""How terminals stand: when each was last heard, and what may be on it that is not here."""

from msgspec import Struct

from server_core.actor import Actor
from server_core.db.work import Reader
from server_core.terminals import service as terminals
from server_core.terminals.model import State, Terminal
from server_core.vouchers import journals, store


class Standing(Struct, frozen=True, kw_only=True):
    """One terminal as the server knows it.

    `behind` counts journal rows that it told of and has not sent, `unapplied` the stops of
    allowances that it has not taken over, `unsent` is by currency what payers showed us and it has
    not: at least so much is unsettled there. `synced_at` in Unix ms, its enrolment until it synced.
    """

    terminal: Terminal
    synced_at: int
    behind: int
    unapplied: int
    unsent: dict[str, int]


async def page(
    reader: Reader, actor: Actor, *, state: State | None = None, after: bytes = b"", limit: int
) -> list[Standing]:
    """Terminals in the order of their ids, from `after` on: an operator's all, a shop's own."""
    found = await terminals.page(reader, actor, state=state, after=after, limit=limit)
    ids = {one.id for one, _ in found}
    stand, unsent = await journals.standings(reader, ids), await store.unsent(reader, ids)
    every = 0 if len(stand) == len(ids) else await journals.revoked(reader)
    return [
        Standing(
            terminal=one,
            synced_at=synced_at,
            behind=stand.get(one.id, (0, every))[0],
            unapplied=stand.get(one.id, (0, every))[1],
            unsent=unsent.get(one.id, {}),
        )
        for one, synced_at in found
    ]
