"""The limit_profile table's rows and SQL."""

from sqlalchemy import PrimaryKeyConstraint
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader


class LimitProfileRow(SQLModel, table=True):
    """One limit from its first day on; a change is a new row, so that the past stays readable."""

    __tablename__ = "limit_profile"
    __table_args__ = (
        PrimaryKeyConstraint("profile", "name", "effective_from", name="limit_profile_pkey"),
    )
    profile: str = col.string()
    name: str = col.string()
    value: int = col.big()
    unit: str = col.string()
    effective_from: int = col.big()
    source: str = col.string()


async def in_force(reader: Reader, profile: str) -> dict[str, int]:
    found = await reader.rows(
        "SELECT DISTINCT ON (name) name, value FROM limit_profile"
        " WHERE profile = $1 AND effective_from <= $2 ORDER BY name, effective_from DESC",
        profile,
        reader.now_ms,
    )
    return {row["name"]: row["value"] for row in found}
