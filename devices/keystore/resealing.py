"""Seal again what a retired key sealed: one bounded step of a walk over a sealed column.

Who owns the column brings the two doors to its rows; here is no database.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from devices.keystore.fields import FieldDamaged, FieldKeys, FieldKeyUnknown

STEP_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRow:
    """One sealed field: its row's key, the sealed bytes, and the context that they were sealed in."""

    row: bytes
    sealed: bytes
    context: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What one step did. `last` is where the next one begins; None when the column is at its end."""

    read: int
    changed: int
    broken: tuple[bytes, ...]
    last: bytes | None


Page = Callable[[bytes, int], Awaitable[Sequence[SealedRow]]]
Put = Callable[[bytes, bytes, bytes], Awaitable[bool]]


async def reseal(
    fields: FieldKeys, page: Page, put: Put, *, after: bytes = b"", limit: int = 200
) -> Resealed:
    """Walk at most `limit` (1 to 1,000) rows after `after`, in the order of their keys.

    `page(after, limit)` gives rows with a greater key, in order. `put(row, old, new)` writes `new`
    where `old` still stands and says whether it did: a value that its owner changed meanwhile is
    left alone. A stale row that does not open is named in `broken` and does not stop the walk.
    """
    limit = max(1, min(limit, STEP_MAX))
    rows = (await page(after, limit))[:limit]
    changed, broken = 0, []
    for one in rows:
        try:
            if not fields.is_stale(one.sealed):
                continue
            plain = fields.open(one.sealed, context=one.context)
        except (FieldDamaged, FieldKeyUnknown):
            broken.append(one.row)
            continue
        changed += await put(one.row, one.sealed, fields.seal(plain, context=one.context))
    last = rows[-1].row if len(rows) == limit else None
    return Resealed(read=len(rows), changed=changed, broken=tuple(broken), last=last)
