"""Close an allowance: after its time by the database's clock, part what is left of its hold."""

from dataclasses import replace

from offline.journal import CloseReason
from offline.verdicts import Verdict
from server_core.actor import SYSTEM
from server_core.db.work import Database, Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties.model import MONEY_ACCOUNT, Kind
from server_core.terminals import service as terminals
from server_core.vouchers import rules, store
from server_core.vouchers.issuing import event
from server_core.vouchers.model import MARGIN_S, Allowance, Seen, State
from server_core.vouchers.rules import Closing

_UNPAID = frozenset({CloseReason.EXPIRED, CloseReason.CANCELLED})
PAGE = 50


async def close_due(db: Database) -> int:
    """Close a page of allowances, each in a Work of its own."""
    async with db.reader() as reader:
        due = await store.due(reader, MARGIN_S, PAGE)
    for aid in due:

        async def do(work: Work, aid: bytes = aid) -> None:
            await _close(work, aid)

        await db.transact(do)
    return len(due)


async def _close(work: Work, aid: bytes) -> None:
    found = (await store.lock(work, [aid])).get(aid)
    if found is None or found.state is State.CLOSED:
        return
    seen = (await store.seen(work, [aid])).get(aid, [])
    settled = {one.h for one in (await store.settled(work, [aid])).values()}
    second = [one for one in seen if one.verdict == Verdict.DOUBLE_SPEND]
    given_up = settled | await store.voided(work, [one.link.h for one in second])
    lost = [one for one in second if one.link.h not in given_up]
    witnessed = [one for one in await store.witnessed(work, aid) if one.link.h not in settled]
    parting = rules.close(found, lost, witnessed, await _returnable(work, witnessed))
    closed = replace(
        found,
        state=State.CLOSED,
        claimed=sum(amount for _, _, amount in parting.claims),
        unclaimed=parting.unclaimed,
        returned=parting.returned,
    )
    await store.save(work, [closed])
    if parting.claims:
        await store.insert_claims(work, aid, [(h, amount) for h, _, amount in parting.claims])
    await _post(work, closed, parting, {one.link.h: one for one in lost})
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


async def _returnable(work: Work, witnessed: list[Seen]) -> set[bytes]:
    """Witnessed vouchers whose terminal let them go: closed unpaid, paid by another, or voided."""
    if not witnessed:
        return set()
    challenges = [(one.terminal, one.nonce) for one in witnessed]
    reasons = await store.closed_reasons(work, challenges)
    voided = await store.voided(work, [one.link.h for one in witnessed])
    free = set(voided)
    for one in witnessed:
        used = await store.used_challenges(work, one.terminal, [one.nonce])
        reason = reasons.get((one.terminal, one.nonce))
        if reason in _UNPAID or (used and reason is None):
            free.add(one.link.h)
    return free


async def _post(work: Work, closed: Allowance, parting: Closing, lost: dict[bytes, Seen]) -> None:
    aid, currency = closed.aid.hex(), closed.currency
    house = ledger.account(Code.UNCLAIMED, "house", currency)
    await ledger.open_accounts(work, [house])
    moves = [
        ("unclaimed", house.id, parting.unclaimed),
        (
            "returned",
            account_id(MONEY_ACCOUNT[Kind.PERSON], closed.party, currency),
            parting.returned,
        ),
    ]
    for h, _, amount in parting.claims:
        terminal = await terminals.get(work, lost[h].terminal)
        moves.append(
            (f"claim:{h.hex()}", account_id(Code.PAYABLE, terminal.party, currency), amount)
        )
    outcomes = await ledger.post(
        work,
        [
            Transfer(
                id=derived("close", aid, leg),
                debit=account_id(Code.OFFLINE, aid, currency),
                credit=credit,
                amount=amount,
                ledger=currency,
                code=leg.partition(":")[0],
                reference=aid,
            )
            for leg, credit, amount in moves
            if amount > 0
        ],
    )
    for outcome in outcomes:
        if not outcome.ok:
            raise RuntimeError(f"allowance {aid} cannot be closed: {outcome.result}")
