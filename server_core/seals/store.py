"""The tiles, the signed heads, and their SQL."""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.db.work import columns as unnested
from server_core.seals.model import HASH, Head, Tile


class TreeTileRow(SQLModel, table=True):
    """256 hashes a row; the last of each level is rewritten until it is full."""

    __tablename__ = "tree_tile"
    __table_args__ = (
        PrimaryKeyConstraint("level", "place", name="tree_tile_pkey"),
        Index("tree_tile_time", "to_ms", postgresql_where=sql("level = 0")),
    )
    level: int = col.small()
    place: int = col.big()
    hashes: bytes = col.blob()
    from_ms: int = col.big()
    to_ms: int = col.big()


class TreeHeadRow(SQLModel, table=True):
    """Append-only: every head that was signed."""

    __tablename__ = "tree_head"
    size: int = col.big(primary=True)
    origin: str = col.string()
    root: bytes = col.blob()
    signed_at: int = col.big()
    key: bytes = col.blob()
    signature: bytes = col.blob()


_HEAD = "origin, size, root, signed_at, key, signature"


async def last_head(reader: Reader) -> Head | None:
    row = await reader.row(f"SELECT {_HEAD} FROM tree_head ORDER BY size DESC LIMIT 1")
    return Head(**dict(row)) if row is not None else None


async def heads_between(reader: Reader, above: int, upto: int) -> list[Head]:
    """Heads with `above` < size <= `upto`, by size."""
    rows = await reader.rows(
        f"SELECT {_HEAD} FROM tree_head WHERE size > $1 AND size <= $2 ORDER BY size", above, upto
    )
    return [Head(**dict(row)) for row in rows]


async def add_head(work: Work, head: Head) -> None:
    await work.execute(
        f"INSERT INTO tree_head ({_HEAD}) VALUES ($1, $2, $3, $4, $5, $6)",
        head.origin, head.size, head.root, head.signed_at, head.key, head.signature,
    )  # fmt: skip


async def tiles(reader: Reader, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], Row]:
    """Tiles by (level, place)."""
    found = await reader.rows(
        "SELECT t.level, t.place, t.hashes, t.from_ms, t.to_ms FROM tree_tile t"
        " JOIN unnest($1::int[], $2::bigint[]) AS u(level, place)"
        " ON t.level = u.level AND t.place = u.place",
        *unnested(list(places), 2),
    )
    return {(row["level"], row["place"]): row for row in found}


async def put_tiles(work: Work, grown: Iterable[Tile]) -> None:
    """Write tiles; one that was there has grown, and its span of time with it."""
    rows = [(one.level, one.place, one.hashes, one.from_ms, one.to_ms) for one in grown]
    await work.execute(
        "INSERT INTO tree_tile (level, place, hashes, from_ms, to_ms)"
        " SELECT * FROM unnest($1::int[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[])"
        " ON CONFLICT (level, place) DO UPDATE SET hashes = excluded.hashes,"
        " from_ms = least(tree_tile.from_ms, excluded.from_ms),"
        " to_ms = greatest(tree_tile.to_ms, excluded.to_ms)",
        *unnested(rows, 5),
    )


async def find_leaf(reader: Reader, leaf: bytes, recorded_at: int) -> int | None:
    """The place of a leaf among the tiles whose rows were recorded around that time."""
    found = await reader.rows(
        "SELECT place, hashes FROM tree_tile WHERE level = 0 AND to_ms >= $1 AND from_ms <= $1"
        " AND position($2::bytea IN hashes) > 0 ORDER BY place",
        recorded_at,
        leaf,
    )
    for row in found:
        hashes: bytes = row["hashes"]
        for place in range(len(hashes) // HASH):
            if hashes[place * HASH : (place + 1) * HASH] == leaf:
                return int(row["place"]) * 256 + place
    return None


async def named_upto(reader: Reader, type_: str, seq: int) -> int:
    """How many transfers the journal's events name up to that one."""
    found: int = await reader.value(
        "SELECT coalesce(sum(jsonb_array_length(payload -> 'transfers')), 0)::bigint FROM event"
        " WHERE type = $1 AND seq <= $2",
        type_,
        seq,
    )
    return found


async def unwritten(reader: Reader, type_: str) -> UUID | None:
    """A transfer that no event of the journal names; reads everything, so asked only in need."""
    found: UUID | None = await reader.value(
        "SELECT t.id FROM transfer t LEFT JOIN (SELECT jsonb_array_elements_text("
        "  payload -> 'transfers')::uuid AS id FROM event WHERE type = $1) j ON j.id = t.id"
        " WHERE j.id IS NULL ORDER BY t.id LIMIT 1",
        type_,
    )
    return found
