"""What must hold of a world of vouchers: of the rows at any time, and of everybody's money at the end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offline.verdicts import Verdict
from server_core.db.work import Reader
from server_core.ledger import audit
from server_core.ledger.model import Code, account_id
from server_core.vouchers import remedies

if TYPE_CHECKING:
    from tests.sim_offline.world import World

GOOD = frozenset({str(Verdict.ACCEPTED), str(Verdict.DUPLICATE)})


@dataclass(frozen=True, slots=True)
class Broken:
    """A law that did not hold, and the story of what broke it."""

    law: str
    why: str
    story: tuple[str, ...] = ()


ALWAYS = (
    (
        "settled + claimed + unclaimed + returned is within the hold, and all of it when closed",
        "SELECT encode(aid, 'hex') FROM allowance WHERE settled + claimed + unclaimed + returned > hold"
        " OR (state = 'closed' AND settled + claimed + unclaimed + returned <> hold) LIMIT 1",
    ),
    (
        "no counter and no challenge settles twice",
        "SELECT min(n)::text FROM (SELECT count(*) AS n FROM voucher_settled GROUP BY aid, counter"
        " UNION ALL SELECT count(*) FROM voucher_settled GROUP BY terminal, nonce) t HAVING max(n) > 1",
    ),
    (
        "what was refused takes no counter",
        "SELECT encode(s.h, 'hex') FROM voucher_settled s JOIN voucher_seen v USING (h)"
        " WHERE v.verdict <> 'OV_ACCEPTED' LIMIT 1",
    ),
    (
        "what is settled is what the allowances say",
        "SELECT encode(a.aid, 'hex') FROM allowance a LEFT JOIN (SELECT aid, sum(amount) AS paid"
        " FROM voucher_settled GROUP BY aid) s USING (aid) WHERE a.settled <> coalesce(s.paid, 0) LIMIT 1",
    ),
)  # fmt: skip


async def after_a_step(reader: Reader) -> Broken | None:
    """The rows of the server, after each step that it took part in."""
    for law, sql in ALWAYS:
        found = await reader.value(sql)
        if found is not None:
            return Broken(law, str(found))
    return None


async def of_the_holds(reader: Reader) -> Broken | None:
    """What an allowance has left lies in its account, to the paisa."""
    row: Any
    for row in await reader.rows(
        "SELECT aid, hold - settled - claimed - unclaimed - returned AS rest FROM allowance"
    ):
        account = account_id(Code.OFFLINE, row["aid"].hex(), "INR")
        lies = await reader.value(
            "SELECT credits_posted - debits_posted FROM account WHERE id = $1", account
        )
        if lies != row["rest"]:
            return Broken("the rest of a hold lies in its account", f"{row['aid'].hex()}: {lies}")
    return None


async def told(world: "World", reader: Reader) -> Broken | None:
    """Of what honest terminals took from honest payers nothing is refused, and nothing is lost."""
    for shop in world.shops:
        known = {row.h: row for row in shop.terminal.store.redeemed_list(1_000_000)}
        for h, sale in world.books.sales.items():
            if sale.terminal != shop.terminal.me.terminal or not sale.shown:
                continue
            row = known.get(h)
            if row is None and not world.honest(sale):
                continue
            if row is None:
                return Broken(
                    "what was shown as paid stands at the terminal", h.hex(), _story(sale)
                )
            if row.result not in GOOD and not (row.returned and row.result is None):
                world.refused[h] = str(row.result)
                if world.honest(sale):
                    why = f"{row.result} for {sale.amount}"
                    return Broken("what was taken in order is never refused", why, _story(sale))
    return None


async def at_the_end(world: "World", reader: Reader) -> Broken | None:
    """After all time has passed every payer paid what shops keep, and every shop was paid that."""
    for law, sql in (
        (
            "nobody honest is suspected",
            "SELECT encode(aid, 'hex') FROM voucher_evidence LIMIT 1",
        ),
        ("everything is closed", "SELECT state FROM allowance WHERE state <> 'closed' LIMIT 1"),
    ):
        found = await reader.value(sql)
        if found is not None and world.everybody_honest:
            return Broken(law, str(found))
    if await remedies.waiting_voids(reader, b"", 1) and world.everybody_honest:
        return Broken("no refund waits", "a void of what was settled")
    paid = await world.paid(reader)
    spent, taken = world.books.spent(paid), world.books.taken(paid)
    for party, funds in world.books.funds.items():
        has = await _balance(reader, account_id(Code.WALLET, party, "INR"))
        if party in world.watched and has != funds - spent.get(party, 0):
            why = f"has {has} of {funds}, and shops keep {spent.get(party, 0)}"
            return Broken("a payer has paid what shops keep", why, world.stories_of(party))
    for party in {one.party for one in world.shops} & world.watched:
        has = await _balance(reader, account_id(Code.PAYABLE, party, "INR"))
        if has != taken.get(party, 0):
            why = f"is owed {has}, and keeps sales of {taken.get(party, 0)}"
            return Broken("a shop is owed what it keeps", why)
    for one in await audit.findings(reader):
        return Broken(f"ledger: {one.law}", one.row)
    return None


async def _balance(reader: Reader, account: object) -> int:
    found = await reader.value(
        "SELECT credits_posted - debits_posted FROM account WHERE id = $1", account
    )
    return int(found or 0)


def _story(sale: Any) -> tuple[str, ...]:
    v = sale.signed.voucher
    return (f"counter {v.counter}, {v.amount}, at {sale.terminal!r}", *sale.story)
