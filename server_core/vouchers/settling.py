"""One Work settles what a batch brought: facts under lock, pure rules, writes by unnest, one post."""

from collections.abc import Sequence

from offline.journal import Accept
from offline.verdicts import Verdict
from server_core.db.work import Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.payments import offline
from server_core.terminals.model import Terminal
from server_core.vouchers import freezing, journals, remedies, rules, store, voiding
from server_core.vouchers.answers import event
from server_core.vouchers.model import Ended, HeldVoid, Item, Read, Settled
from server_core.vouchers.rules import Facts, Judged


async def settle(
    work: Work, terminal: Terminal, rows: Sequence[Read], applied: int
) -> list[Verdict]:
    """One verdict a row, in order; settles, freezes, closes requests and voids in this Work.

    `applied` is the revocation epoch in force before the first row. The journal is locked by the
    caller, so that no other Work settles or closes this terminal's challenges.
    """
    steps, voids = rules.steps(rows, applied)
    closed = [(terminal.id, one.nonce, one.reason) for one in steps if isinstance(one, Ended)]
    items = [one for one in steps if isinstance(one, Item)]
    facts = await _facts(work, terminal, items, voids)
    judged = rules.judge(steps, terminal, facts, work.now_ms)
    await _store(work, terminal, judged, facts)
    if closed:
        await remedies.insert_closed(work, closed)
    if voids:
        await remedies.insert_voids(work, voids)
    await _post(work, terminal, judged, facts, voids)
    verdicts = iter(judged.verdicts)
    return [next(verdicts) if isinstance(one.row, Accept) else one.content for one in rows]


async def _facts(
    work: Work, terminal: Terminal, items: Sequence[Item], voids: Sequence[HeldVoid]
) -> Facts:
    """One statement a table; the allowances' locks come first."""
    aids = {one.signed.allowance.aid for one in items}
    allowances = await store.lock(work, aids | {one.aid for one in voids})
    if not items:
        return Facts(allowances=allowances)
    nonces = {one.signed.voucher.nonce for one in items}
    return Facts(
        allowances=allowances,
        seen=await store.seen(work, aids),
        settled=await store.settled(work, aids),
        used=await store.used_challenges(work, terminal.id, nonces),
        revoked=await journals.revocations(work, aids),
    )


async def _store(work: Work, terminal: Terminal, judged: Judged, facts: Facts) -> None:
    if judged.seen:
        await store.insert_seen(work, judged.seen)
    if judged.settled:
        await store.insert_settled(work, judged.settled)
    if judged.evidence:
        await store.insert_evidence(work, judged.evidence)
    changed = {one.aid for one in judged.settled} | judged.frozen
    if changed:
        await store.save(work, [facts.allowances[aid] for aid in sorted(changed)])
    if judged.frozen:
        stopped = [facts.allowances[aid] for aid in sorted(judged.frozen)]
        await freezing.stop(work, stopped, terminal.actor())


async def _post(
    work: Work, terminal: Terminal, judged: Judged, facts: Facts, voids: Sequence[HeldVoid]
) -> None:
    """Move each settled voucher to the merchant, and back what is voided: one batch, in that order."""
    currencies = {facts.allowances[one.aid].currency for one in judged.settled}
    if currencies:
        shop = [ledger.account(Code.PAYABLE, terminal.party, one) for one in sorted(currencies)]
        await ledger.open_accounts(work, shop)
    moves = [_transfer(one, terminal, facts) for one in judged.settled]
    payments = await offline.record(work, [_sale(one, terminal, facts) for one in judged.settled])
    touched = {one.h for one in voids} | {one.h for one in judged.settled}
    refunds = await voiding.due(work, facts.allowances, touched)
    outcomes = await ledger.post(work, [*moves, *(one.transfer for one in refunds)])
    for outcome in outcomes[: len(moves)]:
        if not outcome.ok:
            raise RuntimeError(f"a settled voucher cannot be posted: {outcome.result}")
    for one, payment in zip(judged.settled, payments, strict=True):
        work.emit(
            event(
                "voucher.settled",
                facts.allowances[one.aid],
                terminal.actor(),
                counter=one.counter,
                amount=str(one.amount),
                merchant=str(terminal.party),
                terminal=terminal.id.hex(),
                payment=str(payment),
            )
        )
    await voiding.landed(work, refunds, outcomes[len(moves) :])


def _sale(one: Settled, terminal: Terminal, facts: Facts) -> offline.Sale:
    allowance = facts.allowances[one.aid]
    return offline.Sale(
        h=one.h,
        payer=allowance.party,
        payee=terminal.party,
        amount=one.amount,
        currency=allowance.currency,
    )


def _transfer(one: Settled, terminal: Terminal, facts: Facts) -> Transfer:
    """Allowance to merchant; the hold covers it by CHECK."""
    aid, currency = one.aid.hex(), facts.allowances[one.aid].currency
    return Transfer(
        id=derived("voucher", aid, one.counter),
        debit=account_id(Code.OFFLINE, aid, currency),
        credit=account_id(Code.PAYABLE, terminal.party, currency),
        amount=one.amount,
        ledger=currency,
        code="voucher",
        reference=f"{aid}:{one.counter}",
    )
