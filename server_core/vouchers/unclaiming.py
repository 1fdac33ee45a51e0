"""Unclaimed money: the merchant's by claim, after its time the payer's again."""

from uuid import UUID

from server_core.actor import SYSTEM, Actor, Role
from server_core.db.work import Database, Reader, Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.payments import offline
from server_core.terminals import service as terminals
from server_core.vouchers import endings, remedies, store
from server_core.vouchers.issuing import event, get
from server_core.vouchers.model import Unclaimed

PAGE = 50


async def claim(db: Database, actor: Actor, h: bytes) -> Unclaimed:
    """Pay a late voucher from unclaimed money to the shop whose terminal sent it; a repeat answers.

    Raises vouchers.unclaimed_unknown, vouchers.unclaimed_over.
    """

    async def do(work: Work) -> Unclaimed:
        found = await remedies.lock_unclaimed(work, h)
        if found is None or actor.role is not Role.MERCHANT:
            raise endings.unclaimed_unknown()
        shop = (await terminals.get(work, found.terminal)).party
        sent = (await store.seen(work, [found.aid])).get(found.aid, {})
        endings.check_claim(found, shop, actor.party, sent, await remedies.voided(work, [h]))
        if found.paid_to is None:
            await _pay(work, found, "merchant", Code.PAYABLE, shop, actor)
        return found

    return await db.transact(do)


async def give_back_overdue(db: Database) -> int:
    """What nobody claimed in its time goes back to its payer; how many."""
    async with db.reader() as reader:
        overdue = await remedies.overdue_unclaimed(reader, PAGE)
    for h in overdue:

        async def do(work: Work, h: bytes = h) -> None:
            found = await remedies.lock_unclaimed(work, h)
            if found is not None and found.paid_to is None:
                payer = (await get(work, found.aid)).party
                await _pay(work, found, "payer", Code.WALLET, payer, SYSTEM)

        await db.transact(do)
    return len(overdue)


async def mine(reader: Reader, actor: Actor) -> list[Unclaimed]:
    """What waits for the merchant's claim, or went out of it."""
    return await remedies.unclaimed_of(
        reader, {one.id for one in await terminals.mine(reader, actor)}
    )


async def _pay(
    work: Work, found: Unclaimed, paid_to: str, code: Code, owner: UUID, actor: Actor
) -> None:
    allowance = await get(work, found.aid)
    await remedies.pay_unclaimed(work, found.h, paid_to)
    currency = allowance.currency
    told = {"amount": str(found.amount), "to": paid_to}
    if paid_to == "merchant":
        sale = offline.Sale(
            h=found.h, payer=allowance.party, payee=owner, amount=found.amount, currency=currency
        )
        [payment] = await offline.record(work, [sale])
        told |= {"merchant": str(owner), "payment": str(payment)}
    [outcome] = await ledger.post(
        work,
        [
            Transfer(
                id=derived("unclaimed", found.h.hex()),
                debit=account_id(Code.UNCLAIMED, "house", currency),
                credit=account_id(code, owner, currency),
                amount=found.amount,
                ledger=currency,
                code="unclaimed",
                reference=found.aid.hex(),
            )
        ],
    )
    if not outcome.ok:
        raise RuntimeError(f"unclaimed {found.h.hex()} cannot be paid: {outcome.result}")
    work.emit(event("voucher.claimed", allowance, actor, **told))
