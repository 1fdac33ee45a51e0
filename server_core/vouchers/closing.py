"""Close an allowance: after its time by the database's clock, part what is left of its hold."""

from typing import Final

import structlog

from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.errors import DomainError
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.limits import service as limits
from server_core.payments import offline
from server_core.terminals import service as terminals
from server_core.vouchers import endings, remedies, store
from server_core.vouchers.answers import event
from server_core.vouchers.endings import Known
from server_core.vouchers.model import PROFILE, Allowance, Seen, State, Unclaimed
from server_core.vouchers.rules import Closing

PAGE: Final = 50
_log = structlog.get_logger("hundi.vouchers")


async def close_due(db: Database) -> int:
    """Close a page of allowances, each in a Work of its own; how many. One's failure is no other's."""
    async with db.reader() as reader:
        margin_s = (await limits.in_force(reader, PROFILE))["margin_s"]
        due = await store.due(reader, margin_s, PAGE)
    closed = 0
    for aid in due:

        async def do(work: Work, aid: bytes = aid) -> bool:
            return await _close(work, aid)

        try:
            closed += await db.transact(do)
        except (DomainError, RuntimeError) as error:
            _log.error("vouchers.not_closed", aid=aid.hex(), error=str(error))
    return closed


async def _close(work: Work, aid: bytes) -> bool:
    found = (await store.lock(work, [aid])).get(aid)
    if found is None or found.state is State.CLOSED:
        return False
    seen = [*(await store.seen(work, [aid])).get(aid, {}).values()]
    witnessed = await store.witnessed(work, aid)
    parting = endings.part(found, await _known(work, aid, seen, witnessed))
    closed = endings.closed(found, parting)
    await store.save(work, [closed])
    await _part(work, closed, parting, {one.link.h: one for one in (*witnessed, *seen)})
    work.emit(
        event(
            "allowance.closed",
            closed,
            SYSTEM,
            claimed=str(closed.claimed),
            unclaimed=str(closed.unclaimed),
            returned=str(closed.returned),
        )
    )
    return True


async def _known(work: Work, aid: bytes, seen: list[Seen], witnessed: list[Seen]) -> Known:
    challenges = {(one.terminal, one.nonce) for one in witnessed}
    held = [one.link.h for one in (*seen, *witnessed)]
    return Known(
        seen=seen,
        witnessed=witnessed,
        settled={one.h for one in (await store.settled(work, [aid])).values()},
        voids=await remedies.voided(work, held),
        closed=await remedies.closed_reasons(work, challenges) if challenges else {},
        paid=set(await store.settled_challenges(work, challenges)) if challenges else set(),
    )


async def _part(work: Work, closed: Allowance, parting: Closing, rows: dict[bytes, Seen]) -> None:
    currency = closed.currency
    house = ledger.account(Code.UNCLAIMED, "house", currency)
    moves = [
        ("returned", account_id(Code.WALLET, closed.party, currency), parting.returned, ""),
        ("unclaimed", house.id, closed.unclaimed, ""),
    ]
    if parting.unclaimed:
        await ledger.open_accounts(work, [house])
        keep_s = (await limits.in_force(work, PROFILE))["unclaimed_keep_s"]
        await remedies.insert_unclaimed(
            work,
            [
                Unclaimed(
                    h=h,
                    aid=closed.aid,
                    terminal=rows[h].terminal,
                    amount=amount,
                    until=work.now_ms // 1000 + keep_s,
                )
                for h, amount in parting.unclaimed
            ],
        )
    if parting.claims:
        await remedies.insert_claims(work, closed.aid, parting.claims)
        shops = await terminals.get_many(work, {rows[h].terminal for h, _ in parting.claims})
        sold = []
        for h, amount in parting.claims:
            shop = shops[rows[h].terminal].party
            payable = account_id(Code.PAYABLE, shop, currency)
            moves.append((f"claim:{h.hex()}", payable, amount, f":{rows[h].link.counter}"))
            sold.append(
                offline.Sale(h=h, payer=closed.party, payee=shop, amount=amount, currency=currency)
            )
        for sale, payment in zip(sold, await offline.record(work, sold), strict=True):
            work.emit(
                event(
                    "voucher.claimed",
                    closed,
                    SYSTEM,
                    amount=str(sale.amount),
                    to="merchant",
                    merchant=str(sale.payee),
                    payment=str(payment),
                )
            )
    outcomes = await ledger.post(
        work,
        [
            Transfer(
                id=derived("close", closed.aid.hex(), leg),
                debit=account_id(Code.OFFLINE, closed.aid.hex(), currency),
                credit=credit,
                amount=amount,
                ledger=currency,
                code=leg.partition(":")[0],
                reference=f"{closed.aid.hex()}{which}",
            )
            for leg, credit, amount, which in moves
            if amount > 0
        ],
    )
    for outcome in outcomes:
        if not outcome.ok:
            raise RuntimeError(f"allowance {closed.aid.hex()} cannot close: {outcome.result}")
