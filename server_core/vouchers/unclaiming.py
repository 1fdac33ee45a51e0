"""Unclaimed money: the merchant's by claim, after its time the payer's again."""

from typing import Final
from uuid import UUID

from server_core.actor import SYSTEM, Actor, Role
from server_core.db.work import Database, Reader, Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.payments import offline
from server_core.terminals import service as terminals
from server_core.vouchers import endings, late, remedies, store
from server_core.vouchers.answers import event
from server_core.vouchers.issuing import get
from server_core.vouchers.model import Bearer, Claim, ClaimState, Seen, Unclaimed

PAGE = 50


async def claim(db: Database, actor: Actor, h: bytes) -> Claim:
    """Claim a voucher that settlement did not pay, for the shop whose terminal sent it.

    Paid at once from unclaimed money where its payer witnessed it; else an operator decides. A repeat
    answers how it stands. Raises vouchers.unclaimed_unknown, vouchers.unclaimed_over.
    """

    async def do(work: Work) -> Claim:
        sent = await store.seen_one(work, h)
        if sent is None or actor.role is not Role.MERCHANT:
            raise endings.unclaimed_unknown()
        # The allowance's lock keeps its close, and another claim of it, out.
        allowance = (await store.lock(work, [sent.aid]))[sent.aid]
        shop = (await terminals.get(work, sent.terminal)).party
        found = await remedies.lock_unclaimed(work, h)
        if found is None:
            if shop != actor.party:
                raise endings.unclaimed_unknown()
            late_one = await late.ask(work, actor, sent, allowance.currency)
            if late_one is None:
                raise endings.unclaimed_unknown()
            state = _STATES[late_one.decision]
        else:
            await _from_unclaimed(work, found, sent, actor, shop)
            state = ClaimState.PAID
        return Claim(h=h, amount=sent.link.amount, currency=allowance.currency, state=state)

    return await db.transact(do)


_STATES: Final = {
    None: ClaimState.WAITING,
    Bearer.PAYER: ClaimState.PAID,
    Bearer.HOUSE: ClaimState.PAID,
    Bearer.SHOP: ClaimState.REFUSED,
}


async def _from_unclaimed(
    work: Work, found: Unclaimed, sent: Seen, actor: Actor, shop: UUID
) -> None:
    voids = await remedies.voided(work, [found.h])
    endings.check_claim(found, shop, actor.party, {found.h: sent}, voids)
    if found.paid_to is None:
        which = f":{sent.link.counter}"
        await _pay(work, found, "merchant", Code.PAYABLE, shop, actor, which)


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
    work: Work,
    found: Unclaimed,
    paid_to: str,
    code: Code,
    owner: UUID,
    actor: Actor,
    which: str = "",
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
                reference=f"{found.aid.hex()}{which}",
            )
        ],
    )
    if not outcome.ok:
        raise RuntimeError(f"unclaimed {found.h.hex()} cannot be paid: {outcome.result}")
    work.emit(event("voucher.claimed", allowance, actor, **told))
