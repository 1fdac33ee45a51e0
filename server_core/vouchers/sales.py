"""Where and when a line of offline money happened, for the statements of its payer and its shop."""

from collections.abc import Iterable

from msgspec import Struct

from offline.verdicts import Verdict
from offline.wire import SignedVoucher
from server_core.actor import Actor, Role
from server_core.db.work import Reader
from server_core.terminals import service as terminals
from server_core.terminals.model import Terminal
from server_core.vouchers import store
from server_core.vouchers.model import Seen


class OfflineSale(Struct, frozen=True, kw_only=True):
    """One voucher as a statement tells it; `signed_at` is its device's own clock (Unix s)."""

    terminal: Terminal
    counter: int
    signed_at: int


async def of_references(
    reader: Reader, actor: Actor, references: Iterable[str]
) -> dict[str, OfflineSale]:
    """By transfer reference `aid:counter`, what of it the actor took or paid; the rest is left out.

    Two vouchers may bear one counter: a shop's is its own, a payer's the one that was settled.
    """
    asked = {reference: place for reference in references if (place := _read(reference))}
    rows = await store.seen_at(reader, set(asked.values()))
    own = await store.allowances_owned(reader, actor.party, {aid for aid, _ in rows})
    shops = await terminals.get_many(
        reader, {one.terminal for many in rows.values() for one in many}
    )
    found = {}
    for reference, place in asked.items():
        for one in sorted(rows.get(place, []), key=_settled_first):
            shop = shops[one.terminal]
            mine = shop.party == actor.party if actor.role is Role.MERCHANT else one.aid in own
            if mine:
                found[reference] = OfflineSale(
                    terminal=shop,
                    counter=one.link.counter,
                    signed_at=SignedVoucher.from_bytes(one.wire).voucher.ts,
                )
                break
    return found


def _read(reference: str) -> tuple[bytes, int] | None:
    aid, _, counter = reference.partition(":")
    try:
        return bytes.fromhex(aid), int(counter)
    except ValueError:
        return None


def _settled_first(one: Seen) -> bool:
    return one.verdict != Verdict.ACCEPTED
