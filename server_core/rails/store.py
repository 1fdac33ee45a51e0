"""Which rails a payee would rather be paid over: rows and SQL."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work


class RailPreferenceRow(SQLModel, table=True):
    """A payee's wishes, the dearest first, joined by commas; a wish, never a promise."""

    __tablename__ = "rail_preference"
    party: UUID = col.key()
    rails: str = col.string()


async def preferred(reader: Reader, parties: Iterable[UUID]) -> dict[UUID, tuple[str, ...]]:
    """The wishes of those who have any."""
    found = await reader.rows(
        "SELECT party, rails FROM rail_preference WHERE party = ANY($1::uuid[])", list(parties)
    )
    return {row["party"]: tuple(row["rails"].split(",")) for row in found}


async def prefer(work: Work, party: UUID, rails: Sequence[str]) -> None:
    """Keep a payee's wishes; none forgets them."""
    if not rails:
        await work.execute("DELETE FROM rail_preference WHERE party = $1", party)
        return
    await work.execute(
        "INSERT INTO rail_preference (party, rails) VALUES ($1, $2)"
        " ON CONFLICT (party) DO UPDATE SET rails = excluded.rails",
        party,
        ",".join(rails),
    )
