"""The payer's own copies of its vouchers, kept for the day of close."""

import asyncio
from typing import Final

from offline.verdicts import Verdict
from offline.verify import check_for_settlement, decode, link_of
from offline.wire import SignedVoucher
from server_core.actor import Actor
from server_core.db.work import Database, Work
from server_core.errors import invalid, limited
from server_core.trust.service import Keys
from server_core.vouchers import rules, store
from server_core.vouchers.answers import unknown
from server_core.vouchers.model import Seen

MAX_SENT: Final = 500
MAX_KEPT: Final = 1_000
"""Copies kept of one allowance; an honest device has one a counter."""


async def witness(db: Database, keys: Keys, actor: Actor, texts: list[str]) -> int:
    """Keep the payer's copies; how many of those sent are kept now. Only from the payer's session.

    Raises vouchers.witness (malformed, not validly signed), vouchers.unknown (not the payer's own),
    vouchers.witness_limit.
    """
    if not 1 <= len(texts) <= MAX_SENT:
        raise invalid("vouchers.witness", f"send 1 to {MAX_SENT} vouchers", field="vouchers")
    signed = await asyncio.to_thread(_read, keys, texts)

    async def do(work: Work) -> int:
        aids = {one.allowance.aid for one in signed}
        known = await store.lock(work, aids)
        rows = {}
        for one in signed:
            found = known.get(one.allowance.aid)
            if not rules.may_witness(one, found, actor):
                raise unknown()
            rows[one.h] = _seen(one, work.now_ms)
        await store.insert_witness(work, list(rows.values()))
        if max((await store.witness_counts(work, aids)).values()) > MAX_KEPT:
            raise limited("vouchers.witness_limit", "too many copies of one allowance")
        return len(texts)

    return await db.transact(do)


def _read(keys: Keys, texts: list[str]) -> list[SignedVoucher]:
    signed = []
    for text in texts:
        one = decode(text)
        if isinstance(one, Verdict):
            raise invalid("vouchers.witness", f"not a voucher: {one}", field="vouchers")
        verdict = check_for_settlement(one, keys.bundle.bundle)
        if verdict is not Verdict.ACCEPTED:
            raise invalid("vouchers.witness", f"not a valid voucher: {verdict}", field="vouchers")
        signed.append(one)
    return signed


def _seen(signed: SignedVoucher, now_ms: int) -> Seen:
    voucher = signed.voucher
    return Seen(
        aid=signed.allowance.aid,
        link=link_of(signed),
        payee=voucher.payee,
        terminal=voucher.terminal,
        nonce=voucher.nonce,
        wire=signed.to_bytes(),
        verdict="",
        seen_at=now_ms,
    )
