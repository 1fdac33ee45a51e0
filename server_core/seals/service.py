"""Seal what the journal gained, give receipts, and find what was altered since it was sealed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server_core.db.work import Reader, Row, Work
from server_core.errors import DomainError, conflict, not_found
from server_core.events import cursors
from server_core.events import store as events
from server_core.ids import parse
from server_core.ledger import history
from server_core.ledger.model import Finding
from server_core.ledger.service import JOURNAL, POSTED
from server_core.seals import receipts, rules, store
from server_core.seals.keys import JournalKey
from server_core.seals.model import HASH, TILE, Head, Receipt, Tile

CURSOR = "seals"
_TILES: Final = "every tile holds the hashes of its rows"
_KEPT: Final = "the journal agrees with the head that was kept"
PAGE = 5_000
"""Events looked through at once."""

ROWS = 20_000
"""Transfers sealed at once, but for the last event's own."""


async def seal(work: Work, key: JournalKey, origin: str) -> int:
    """Seal the next page of the journal under one signed head; how many events that passed.

    0 while another process is sealing, and when nothing is left.
    """
    position = await cursors.hold(work, CURSOR)
    if position is None:
        return 0
    ids, upto = await _next_ids(work, position)
    if upto == position:
        return 0
    if ids:
        before = await store.last_head(work)
        tree = await _grown_from(work, before.size if before else 0)
        if before is not None and not (
            before.root == tree.root() and before.key == key.public and receipts.is_signed(before)
        ):
            raise RuntimeError("the tree is not what was signed last: see `hundi ledger verify`")
        start = tree.size
        rows = await history.journal_rows(work, ids)
        for row in rows:
            tree.add(receipts.leaf_of(row))
        await store.put_tiles(work, _tiles(tree, start, [row["recorded_at"] for row in rows]))
        head = Head(
            origin=origin,
            size=tree.size,
            root=tree.root(),
            signed_at=work.now_ms,
            key=key.public,
        )
        await store.add_head(work, signed(head, key))
    await cursors.move(work, CURSOR, upto)
    return upto - position


def signed(head: Head, key: JournalKey) -> Head:
    return Head(
        origin=head.origin,
        size=head.size,
        root=head.root,
        signed_at=head.signed_at,
        key=head.key,
        signature=key.sign(rules.said(head)),
    )


async def _next_ids(reader: Reader, position: int) -> tuple[list[UUID], int]:
    """The journal's next transfers in order, and the number of the last event looked at."""
    upto = min(position + PAGE, await events.head(reader))
    ids: list[UUID] = []
    for event in await events.of_type(reader, POSTED, position, upto):
        ids += [UUID(one) for one in event.payload["transfers"]]
        if len(ids) >= ROWS:
            return ids, event.seq
    return ids, upto


async def _grown_from(reader: Reader, size: int) -> rules.Tree:
    edges = rules.edges_of(size)
    found = await store.tiles(reader, [(level, place) for level, place, count in edges if count])
    grown = [
        _hashes(found[level, place]["hashes"]) if (level, place) in found else []
        for level, place, _ in edges
    ]
    if [len(one) for one in grown] != [count for _, _, count in edges]:
        raise RuntimeError("a tile is not as long as the tree: see `hundi ledger verify`")
    return rules.Tree(size, grown)


def _tiles(tree: rules.Tree, start: int, times: Sequence[int]) -> list[Tile]:
    grown = []
    for (level, place), hashes in sorted(tree.tiles().items()):
        span = times[max(0, place * TILE - start) : (place + 1) * TILE - start] if not level else ()
        grown.append(
            Tile(
                level=level,
                place=place,
                hashes=hashes,
                from_ms=min(span, default=0),
                to_ms=max(span, default=0),
            )
        )
    return grown


def _hashes(data: bytes) -> list[bytes]:
    return [data[i : i + HASH] for i in range(0, len(data), HASH)]


def transfer_id(text: str) -> UUID:
    """A transfer's id as statements (`trf_…`) or events (a UUID) name it.

    Raises seals.transfer_unknown.
    """
    try:
        return parse("trf", text) if text.startswith("trf_") else UUID(text)
    except (ValueError, DomainError):
        raise _unknown() from None


async def latest(reader: Reader) -> UUID:
    """A transfer of the journal's last event. Raises seals.not_sealed while there is none."""
    found = await events.last_of_aggregate(reader, JOURNAL)
    if found is None:
        raise _nothing()
    return UUID(found.payload["transfers"][-1])


async def newest(reader: Reader) -> Head:
    """The newest signed head. Raises seals.not_sealed while there is none."""
    found = await store.last_head(reader)
    if found is None:
        raise _nothing()
    return found


async def receipt(reader: Reader, transfer: UUID) -> Receipt:
    """The transfer's receipt under the newest head. Hand in a snapshot's Reader.

    Raises seals.transfer_unknown, seals.not_sealed (not yet, or altered since).
    """
    row = next(iter(await history.journal_rows(reader, [transfer])))
    if row["mode"] is None:
        raise _unknown()
    leaf = receipts.leaf_of(row)
    index = await store.find_leaf(reader, leaf, row["recorded_at"])
    head = await store.last_head(reader)
    if index is None or head is None or index >= head.size:
        raise conflict(
            "seals.not_sealed",
            "this row is in no sealed tile: it is too new (sealing runs each second), or it was"
            " altered since (`hundi ledger verify` tells)",
            field="transfer",
        )
    wanted: set[tuple[int, int]] = set()

    def note(height: int, run: int) -> bytes:
        level, place, _, _ = rules.tile_of(height, run)
        wanted.add((level, place))
        return rules.EMPTY

    rules.path(index, head.size, note)
    found = await store.tiles(reader, wanted)

    def node(height: int, run: int) -> bytes:
        level, place, start, end = rules.tile_of(height, run)
        return rules.whole_root(_hashes(found[level, place]["hashes"])[start:end])

    path = rules.path(index, head.size, node)
    return Receipt(record=receipts.record(row), index=index, path=tuple(path), head=head)


def _nothing() -> DomainError:
    return conflict("seals.not_sealed", "nothing is sealed yet: sealing runs each second")


def _unknown() -> DomainError:
    return not_found("seals.transfer_unknown", "there is no such transfer", field="transfer")


async def findings(
    reader: Reader, key: bytes, origin: str, kept: tuple[int, bytes] | None = None
) -> AsyncIterator[Finding | int]:
    """Recompute the whole tree from the rows: a Finding for the first thing that is wrong.

    Every row against its tile, every signed head against the rows and against `origin`; `kept` is
    the size and root of a head that somebody kept elsewhere: who may write every table can make
    all heads anew, but not one that agrees with that. Yields the number of rows looked at now and
    then, for who shows progress. Hand in a snapshot's Reader.
    """
    tree, position, end = rules.Tree(), 0, await events.head(reader)
    asked = _Asked(key=key, origin=origin, kept=kept)
    last = await store.last_head(reader)
    sealed, written = (last.size if last else 0), 0
    while position < end:
        ids, position = await _next_ids(reader, position)
        written += len(ids)
        rows = await history.journal_rows(reader, ids[: sealed - tree.size])
        finding = await _page(reader, tree, rows, asked)
        if finding is not None:
            yield finding
            return
        yield tree.size
    open_tiles = tree.tiles()
    stored = await store.tiles(reader, open_tiles)
    for place, hashes in sorted(open_tiles.items()):
        if place not in stored or stored[place]["hashes"] != hashes:
            yield Finding(law=_TILES, row=f"tree_tile {place[0]} {place[1]}")
    if kept is not None and kept[0] > tree.size:
        yield Finding(law=_KEPT, row=f"sealed row {tree.size}")
    passed = (await cursors.positions(reader)).get(CURSOR, 0)
    if tree.size < sealed:
        yield Finding(law="what was sealed stands in the journal", row=f"sealed row {tree.size}")
    elif await store.named_upto(reader, POSTED, passed) != sealed:
        yield Finding(law="what the sealing has passed is sealed", row=f"event_cursor {CURSOR}")
    if written != await history.transfer_count(reader):
        row = await store.unwritten(reader, POSTED)
        yield Finding(law="every transfer stands in the journal", row=f"transfer {row}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who must have signed each head, of which books, and the head that somebody kept."""

    key: bytes
    origin: str
    kept: tuple[int, bytes] | None

    def wrong(self, head: Head, root: bytes) -> Finding | None:
        if head.key != self.key or not receipts.is_signed(head):
            law = "every head is signed by the journal's key"
        elif head.origin != self.origin:
            law = "every head is of these books"
        elif head.root != root:
            law = "every signed head is that of the rows"
        else:
            return None
        return Finding(law=law, row=f"tree_head {head.size}")


async def _page(
    reader: Reader, tree: rules.Tree, rows: Sequence[Row], asked: _Asked
) -> Finding | None:
    start = tree.size
    heads = {one.size: one for one in await store.heads_between(reader, start, start + len(rows))}
    places = range(start // TILE, (start + len(rows)) // TILE + 1)
    stored = await store.tiles(reader, [(0, place) for place in places])
    for row in rows:
        leaf, place = receipts.leaf_of(row), tree.size % TILE
        tile = stored.get((0, tree.size // TILE))
        if tile is None or tile["hashes"][place * HASH : (place + 1) * HASH] != leaf:
            return Finding(law="a sealed row is what it was", row=f"transfer {row['id']}")
        tree.add(leaf)
        if asked.kept is not None and asked.kept[0] == tree.size and asked.kept[1] != tree.root():
            return Finding(law=_KEPT, row=f"tree_head {tree.size}")
        head = heads.get(tree.size)
        wrong = None if head is None else asked.wrong(head, tree.root())
        if wrong is not None:
            return wrong
    return await _finished(reader, tree)


async def _finished(reader: Reader, tree: rules.Tree) -> Finding | None:
    """Tiles of every level that became full, against those that are stored; forgets them then."""
    stored = await store.tiles(reader, tree.changed)
    for place, hashes in sorted(tree.changed.items()):
        if place not in stored or stored[place]["hashes"] != hashes:
            return Finding(law=_TILES, row=f"tree_tile {place[0]} {place[1]}")
    tree.changed.clear()
    return None
