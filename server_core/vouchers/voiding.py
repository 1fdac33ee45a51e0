"""Voids: an idempotent full refund of h, whatever came first."""

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from offline.payer import check_void_signature, decode_void
from offline.verdicts import Verdict
from server_core.actor import SYSTEM, Actor, Role
from server_core.db.work import Database, Reader, Work
from server_core.errors import DomainError, denied, invalid, not_found
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Outcome, Transfer, account_id
from server_core.limits import service as limits
from server_core.payments import offline
from server_core.payments import service as payments
from server_core.payments.model import Intent
from server_core.terminals import service as terminals
from server_core.terminals.model import Terminal
from server_core.trust.service import Keys
from server_core.vouchers import endings, remedies, rules, store
from server_core.vouchers.answers import event
from server_core.vouchers.model import PROFILE, Allowance, HeldVoid, Settled

PAGE: Final = 500


async def hand_in(db: Database, keys: Keys, text: str) -> str:
    """Take a signed void from whoever holds it.

    `applied`: the refund is posted. `waiting`: for its voucher, for the shop's balance, or for an
    operator (from a revoked terminal, or above what a terminal may give back). Raises vouchers.void.
    """
    signed = decode_void(text)
    if isinstance(signed, Verdict):
        raise invalid("vouchers.void", f"not a void: {signed}", field="void")
    verdict = check_void_signature(signed, keys.bundle.bundle)
    if verdict is not Verdict.ACCEPTED:
        raise invalid("vouchers.void", f"not a valid void: {verdict}", field="void")
    void = rules.held(signed)

    async def do(work: Work) -> str:
        allowances = await store.lock(work, [void.aid])
        await remedies.insert_voids(work, [void])
        await apply(work, allowances, [void.h])
        done = await remedies.void_applied(work, void.h, void.terminal)
        return "applied" if done else "waiting"

    return await db.transact(do)


async def approve(db: Database, actor: Actor, h: bytes, terminal: bytes) -> str:
    """Let a void through that waits for an operator; `applied`, or `waiting` for the shop's balance.

    Raises vouchers.operator, vouchers.void_unknown.
    """
    if actor.role is not Role.OPERATOR:
        raise denied("vouchers.operator", "only an operator decides this")

    async def do(work: Work) -> str:
        sent = await store.seen_one(work, h)
        # Before its voucher has come there is nothing to judge it by.
        if sent is None or sent.terminal != terminal:
            raise _unknown_void()
        allowances = await store.lock(work, [sent.aid])
        if not await remedies.approve_void(work, h, terminal):
            raise _unknown_void()
        await apply(work, allowances, [h])
        return "applied" if await remedies.void_applied(work, h, terminal) else "waiting"

    return await db.transact(do)


async def for_operator(reader: Reader, limit: int) -> list[HeldVoid]:
    """Voids of paid vouchers that only an operator may let through."""
    most = (await limits.in_force(reader, PROFILE))["void_each"]
    found: list[HeldVoid] = []
    after = (b"", b"")
    while len(found) < limit:
        page = await remedies.unapproved_voids(reader, after, PAGE)
        known = await terminals.get_many(reader, {void.terminal for void, _ in page})
        found += [
            void
            for void, amount in page
            if endings.asks_operator(void, amount, known[void.terminal].state, most)
        ]
        if len(page) < PAGE:
            break
        after = page[-1][0].h, page[-1][0].terminal
    return found[:limit]


def _unknown_void() -> DomainError:
    return not_found("vouchers.void_unknown", "no terminal voided this voucher")


class Refund(Struct, frozen=True, kw_only=True):
    """A void whose voucher is settled: shop to payer, all of it that was not refunded already."""

    void: HeldVoid
    settled: Settled
    amount: int
    allowance: Allowance
    terminal: Terminal
    payment: Intent | None

    @property
    def transfer(self) -> Transfer:
        currency = self.allowance.currency
        return Transfer(
            id=derived("void", self.void.h.hex(), self.void.tries),
            debit=account_id(Code.PAYABLE, self.terminal.party, currency),
            credit=account_id(Code.WALLET, self.allowance.party, currency),
            amount=self.amount,
            ledger=currency,
            code="void",
            reference=f"{self.settled.aid.hex()}:{self.settled.counter}",
        )


async def due(
    work: Work, allowances: dict[bytes, Allowance], hs: Collection[bytes]
) -> list[Refund]:
    """Refunds that may be posted now, of vouchers under locked `allowances`; rows stay locked."""
    waiting = await remedies.lock_voids(work, hs) if hs else []
    if not waiting:
        return []
    settled = await store.paid_by_h(work, {one.h for one in waiting})
    known = await terminals.get_many(work, {one.terminal for one in waiting})
    origins = {h: offline.origin_of(h) for h in settled}
    sold = await offline.lock(work, origins.values())
    most = (await limits.in_force(work, PROFILE))["void_each"]
    given = {h: one.refunded for h in settled if (one := sold.get(origins[h])) is not None}
    found = [one for one in waiting if one.h in settled and settled[one.h].aid in allowances]
    dues = endings.refunds(found, settled, known, given, most)
    over = [replace(one.void, applied_at=work.now_ms) for one in dues if not one.amount]
    if over:  # all of it goes back already
        await remedies.save_voids(work, over)
    return [
        Refund(
            void=one.void,
            settled=one.settled,
            amount=one.amount,
            allowance=allowances[one.settled.aid],
            terminal=known[one.void.terminal],
            payment=sold.get(origins[one.void.h]),
        )
        for one in dues
        if one.amount
    ]


async def landed(work: Work, refunds: Sequence[Refund], outcomes: Sequence[Outcome]) -> int:
    """Store what became of posted refunds; one that the shop could not cover is tried again later."""
    done = []
    for refund, outcome in zip(refunds, outcomes, strict=True):
        void = replace(refund.void, tries=refund.void.tries + 1)
        if outcome.ok:
            void = replace(void, applied_at=work.now_ms)
            if refund.payment is not None:
                await payments.refunded(work, refund.payment, refund.amount)
            work.emit(
                event(
                    "voucher.voided",
                    refund.allowance,
                    SYSTEM,
                    counter=refund.settled.counter,
                    amount=str(refund.amount),
                    merchant=str(refund.terminal.party),
                    **({"payment": str(refund.payment.id)} if refund.payment else {}),
                )
            )
        done.append(void)
    if done:
        await remedies.save_voids(work, done)
    return sum(one.applied_at is not None for one in done)


async def apply(work: Work, allowances: dict[bytes, Allowance], hs: Collection[bytes]) -> int:
    """Refund what is settled and voided; how many. A shop that holds too little is asked again later."""
    refunds = await due(work, allowances, hs)
    return await landed(work, refunds, await ledger.post(work, [one.transfer for one in refunds]))


async def retry(work: Work, waiting: Sequence[tuple[bytes, bytes]]) -> int:
    """Refund those that the shop covers by now. Its balance is read first: a refused try is a row."""
    allowances = await store.lock(work, {aid for _, aid in waiting})
    refunds = await due(work, allowances, {h for h, _ in waiting})
    accounts = await ledger.balances(
        work, {one.transfer.debit for one in refunds if one.transfer.debit}
    )
    left = {key: account.available for key, account in accounts.items()}
    covered = []
    for one in refunds:
        shop = one.transfer.debit
        if shop is not None and left.get(shop, 0) >= one.amount:
            left[shop] -= one.amount
            covered.append(one)
    return await landed(work, covered, await ledger.post(work, [one.transfer for one in covered]))
