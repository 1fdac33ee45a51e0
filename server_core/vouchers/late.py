"""Vouchers that came after their allowance was closed: claimed by their shop, decided by an operator."""

from typing import Final

from msgspec.structs import replace

from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.db.work import Database, Reader, Work
from server_core.errors import conflict, denied, not_found
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.payments import offline
from server_core.payments.attempts import HOUSE
from server_core.terminals import service as terminals
from server_core.terminals.model import Terminal
from server_core.vouchers import remedies, store
from server_core.vouchers.answers import event
from server_core.vouchers.issuing import get
from server_core.vouchers.model import Allowance, Bearer, LateClaim, Seen

_SOURCE: Final = {Bearer.PAYER: Code.WALLET, Bearer.HOUSE: Code.COMPENSATION}


async def ask(work: Work, actor: Actor, sent: Seen, currency: str) -> LateClaim | None:
    """File the claim of the shop whose terminal sent it, once; None when it is no late voucher.

    Raises vouchers.unclaimed_over when the terminal gave it back.
    """
    if sent.verdict != Verdict.SETTLEMENT_CLOSED:
        return None
    await _not_given_back(work, sent)
    made = LateClaim(
        h=sent.link.h,
        aid=sent.aid,
        terminal=sent.terminal,
        nonce=sent.nonce,
        amount=sent.link.amount,
        currency=currency,
        asked_at=work.now_ms,
    )
    if await remedies.insert_late(work, made):
        allowance = await get(work, sent.aid)
        shop = await terminals.get(work, sent.terminal)
        work.emit(event("voucher.claim_opened", allowance, actor, **_said(sent, shop)))
    return await remedies.lock_late(work, sent.link.h)


async def decide(db: Database, actor: Actor, h: bytes, bearer: Bearer) -> LateClaim:
    """End a late claim: paid by its payer, who got the money back at close, by the house, or refused.

    A repeat answers the same. Raises vouchers.operator, vouchers.claim_unknown,
    vouchers.claim_decided for another decision, vouchers.unclaimed_over when the terminal gave it
    back, vouchers.challenge_paid when its sale was paid by another voucher, and
    vouchers.payer_short when the payer's wallet does not hold it.
    """
    if actor.role is not Role.OPERATOR:
        raise denied("vouchers.operator", "only an operator decides this")

    async def do(work: Work) -> LateClaim:
        known = await remedies.late(work, h)
        if known is None:
            raise not_found("vouchers.claim_unknown", "nobody claimed this voucher as late")
        # The allowance's lock keeps a void of it out until this is decided.
        allowance = (await store.lock(work, [known.aid]))[known.aid]
        found = await remedies.lock_late(work, h) or known
        if found.decision is not None:
            if found.decision is not bearer:
                raise conflict("vouchers.claim_decided", f"it was decided before: {found.decision}")
            return found
        sent = (await store.seen(work, [found.aid]))[found.aid][h]
        shop = await terminals.get(work, found.terminal)
        decided = replace(found, decision=bearer, decided_at=work.now_ms)
        said = _said(sent, shop) | {"borne_by": bearer}
        if bearer is Bearer.SHOP:
            await remedies.decide_late(work, decided)
            work.emit(event("voucher.claim_refused", allowance, actor, **said))
            return decided
        await _not_given_back(work, sent)
        await _not_paid(work, found)
        await remedies.decide_late(work, decided)
        payment = await _pay(work, decided, allowance, shop, sent.link.counter)
        said |= {"to": "merchant", "payment": payment}
        work.emit(event("voucher.claimed", allowance, actor, **said))
        return decided

    return await db.transact(do)


async def waiting(reader: Reader, limit: int) -> list[LateClaim]:
    """Undecided, the oldest first."""
    return await remedies.late_waiting(reader, limit)


async def _pay(
    work: Work, one: LateClaim, allowance: Allowance, shop: Terminal, counter: int
) -> str:
    sale = offline.Sale(
        h=one.h,
        payer=allowance.party,
        payee=shop.party,
        amount=one.amount,
        currency=one.currency,
    )
    [payment] = await offline.record(work, [sale])
    code = _SOURCE[Bearer(str(one.decision))]
    owner = HOUSE if code is Code.COMPENSATION else allowance.party
    payable = ledger.account(Code.PAYABLE, shop.party, one.currency)
    await ledger.open_accounts(work, [payable, ledger.account(code, owner, one.currency)])
    [outcome] = await ledger.post(
        work,
        [
            Transfer(
                id=derived("late", one.h.hex()),
                debit=account_id(code, owner, one.currency),
                credit=payable.id,
                amount=one.amount,
                ledger=one.currency,
                code="late",
                reference=f"{one.aid.hex()}:{counter}",
            )
        ],
    )
    if not outcome.ok:  # raised, so that this try leaves no row: it may be decided again
        raise conflict(
            "vouchers.payer_short",
            "the payer's wallet does not hold it: let the house bear it, or decide later",
        )
    return str(payment)


async def _not_given_back(work: Work, sent: Seen) -> None:
    held = await remedies.voided(work, [sent.link.h])
    if (sent.link.h, sent.terminal, sent.payee) in held:
        raise conflict("vouchers.unclaimed_over", "its terminal gave it back to the payer")


async def _not_paid(work: Work, one: LateClaim) -> None:
    """A terminal's challenge pays once, whoever bears it."""
    challenge = (one.terminal, one.nonce)
    if challenge in await store.settled_challenges(work, {challenge}) or (
        await remedies.late_paid(work, one.terminal, one.nonce)
    ):
        raise conflict("vouchers.challenge_paid", "this sale was paid by another voucher")


def _said(sent: Seen, shop: Terminal) -> dict[str, str | int]:
    return {
        "counter": sent.link.counter,
        "amount": str(sent.link.amount),
        "merchant": str(shop.party),
        "terminal": sent.terminal.hex(),
    }
