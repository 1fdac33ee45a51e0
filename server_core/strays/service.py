"""A stray is caught in one commit, and given back by its rail under its own id: once."""

from uuid import UUID

from msgspec.structs import replace

from server_core.actor import SYSTEM
from server_core.db.work import Database, Emitted, Reader, Work
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer
from server_core.rails.connected import Rails
from server_core.rails.doors import txn_id
from server_core.rails.model import Outcome, Rail, RailAnswer, RailRefund
from server_core.strays import rules, store
from server_core.strays.model import RETRY_MS, Found, State, Stray


async def found(work: Work, one: Found) -> bool:
    """Hold it apart, to be given back by the job; False when it was found before."""
    stray = rules.new_stray(one, work.now_ms)
    if not await store.insert(work, stray):
        return False
    owner, currency = stray.rail, stray.currency
    await ledger.open_accounts(work, [ledger.account(Code.SUSPENSE, owner, currency)])
    await _post(work, rules.arrival(stray))
    work.emit(_event("stray.found", stray))
    return True


async def give_back(db: Database, rails: Rails, stray: Stray) -> Stray:
    """Have the rail give it back. Every call names the same id: what was done is told again."""
    rail = rails.by_name[stray.rail]
    if stray.debit is None:
        answer = await rail.reverse(stray.attempt)
        gone = answer.outcome in {Outcome.REVERSED, Outcome.DECLINED}
    else:
        answer = await rail.refund(
            RailRefund(
                refund=rules.return_id(stray),
                attempt=stray.attempt,
                amount_minor=stray.amount,
                currency=stray.currency,
                debit=stray.debit,
            )
        )
        gone = answer.outcome is Outcome.SUCCEEDED or (
            answer.outcome is Outcome.DECLINED and await _is_gone(rail, stray)
        )
    return await db.transact(lambda work: _landed(work, stray.id, answer, gone, rails.pace))


async def _is_gone(rail: Rail, stray: Stray) -> bool:
    """Whether a debit that cannot be given back was given back already, by its rail itself."""
    debits = await rail.paid_by_link(txn_id(stray.attempt))
    return any(
        one.txn_id == stray.debit and one.answer.outcome in {Outcome.REVERSED, Outcome.DECLINED}
        for one in debits or ()
    )


async def _landed(work: Work, stray_id: UUID, answer: RailAnswer, gone: bool, pace: float) -> Stray:
    stray = await store.lock(work, stray_id)
    if stray is None:
        raise AssertionError("a stray is never forgotten")
    if stray.state is not State.FOUND:
        return stray
    refused = not gone and answer.outcome in {Outcome.DECLINED, Outcome.NOT_FOUND}
    stray = replace(
        stray,
        code=answer.code or stray.code,
        asked=stray.asked + 1,
        refusals=stray.refusals + refused,
    )
    if gone:
        stray = replace(stray, state=State.GIVEN_BACK, next_check_at=None, ended_at=work.now_ms)
        await _post(work, rules.return_(stray))
        work.emit(_event("stray.given_back", stray))
    else:
        again = work.now_ms + max(1, int(RETRY_MS * pace))
        stray = replace(stray, next_check_at=again)
    await store.save(work, stray)
    return stray


async def of_intent(reader: Reader, intent: UUID) -> list[Stray]:
    return await store.of_intents(reader, [intent])


async def _post(work: Work, move: Transfer) -> None:
    [outcome] = await ledger.post(work, [move])
    if not outcome.ok:
        raise RuntimeError(f"stray money cannot be moved by {move.id}: {outcome.result}")


def _event(name: str, stray: Stray) -> Emitted:
    return Emitted(
        aggregate_type="stray",
        aggregate_id=stray.id,
        type=name,
        payload={
            "payment": str(stray.intent),
            "rail": stray.rail,
            "amount": str(stray.amount),
            "currency": stray.currency,
            "code": stray.code,
        },
        actor=SYSTEM,
        correlation=stray.intent,
    )
