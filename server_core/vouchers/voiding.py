"""Voids: an idempotent full refund of h, whatever came first."""

from collections.abc import Collection
from dataclasses import replace

from offline.payer import check_void_signature, decode_void
from offline.verdicts import Verdict
from offline.wire import SignedVoid
from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.errors import invalid
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.terminals import service as terminals
from server_core.trust.service import Keys
from server_core.vouchers import store
from server_core.vouchers.issuing import event
from server_core.vouchers.model import HeldVoid


def held(signed: SignedVoid) -> HeldVoid:
    return HeldVoid(
        h=signed.void.h,
        aid=signed.void.aid,
        counter=signed.void.counter,
        terminal=signed.cert.terminal,
        payee=signed.cert.payee,
        wire=signed.to_bytes(),
    )


async def hand_in(db: Database, keys: Keys, text: str) -> str:
    """Take a signed void from whoever holds it: `applied`, or `waiting` until its voucher is known."""
    signed = decode_void(text)
    if isinstance(signed, Verdict):
        raise invalid("vouchers.void", f"not a void: {signed}", field="void")
    verdict = check_void_signature(signed, keys.bundle.bundle)
    if verdict is not Verdict.ACCEPTED:
        raise invalid("vouchers.void", f"not a valid void: {verdict}", field="void")
    void = held(signed)

    async def do(work: Work) -> str:
        await store.lock(work, [void.aid])
        await store.insert_voids(work, [void])
        await apply(work, [void.h])
        return "waiting" if await store.lock_voids(work, [void.h]) else "applied"

    return await db.transact(do)


async def apply(work: Work, hs: Collection[bytes]) -> int:
    """Refund what is settled and voided: shop → payer. The allowances are locked by the caller.

    A shop that has been paid out already may not hold enough: the void waits, and a job tries again.
    """
    if not hs:
        return 0
    done = 0
    for void in await store.lock_voids(work, hs):
        settled = await store.settled_by_h(work, void.h)
        if settled is None or settled.terminal != void.terminal:
            continue
        allowance = (await store.lock(work, [settled.aid]))[settled.aid]
        terminal = await terminals.get(work, void.terminal)
        if terminal.payee != void.payee:
            continue
        [outcome] = await ledger.post(
            work,
            [
                Transfer(
                    id=derived("void", void.h.hex(), void.tries),
                    debit=account_id(Code.PAYABLE, terminal.party, allowance.currency),
                    credit=account_id(Code.WALLET, allowance.party, allowance.currency),
                    amount=settled.amount,
                    ledger=allowance.currency,
                    code="void",
                    reference=f"{settled.aid.hex()}:{settled.counter}",
                )
            ],
        )
        tried = replace(void, tries=void.tries + 1)
        if outcome.ok:
            tried = replace(tried, applied_at=work.now_ms)
            done += 1
            work.emit(
                event(
                    "voucher.voided",
                    allowance,
                    SYSTEM,
                    counter=settled.counter,
                    amount=str(settled.amount),
                )
            )
        await store.save_void(work, tried)
    return done
