"""Freeze an allowance and let it go again: on evidence, with its device, or by an operator."""

from collections.abc import Iterable

from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.db.work import Database, Work
from server_core.errors import conflict, denied
from server_core.vouchers import journals, store
from server_core.vouchers.answers import event, unknown
from server_core.vouchers.model import Allowance, State


async def freeze(work: Work, found: Iterable[Allowance], actor: Actor) -> None:
    """Freeze locked allowances that are not yet frozen, put them on the revocation list, say so."""
    stopped = [replace(one, frozen=True) for one in found if not one.frozen]
    if stopped:
        await store.save(work, stopped)
        await stop(work, stopped, actor)


async def stop(work: Work, stopped: Iterable[Allowance], actor: Actor) -> None:
    """Put allowances that are frozen by now on the revocation list, and say so."""
    frozen = list(stopped)
    await journals.revoke(work, [one.aid for one in frozen])
    work.emit(*(event("allowance.frozen", one, actor) for one in frozen))


async def freeze_one(db: Database, actor: Actor, aid: bytes) -> Allowance:
    """Stop one allowance, as an operator; a repeat changes nothing. Raises vouchers.unknown.

    One that is closed is past stopping: vouchers.closed.
    """
    _operator(actor)

    async def do(work: Work) -> Allowance:
        found = await _locked(work, aid)
        if found.state is State.CLOSED and not found.frozen:
            raise conflict("vouchers.closed", "this allowance is closed: nothing is left to stop")
        await freeze(work, [found], actor)
        return replace(found, frozen=True)

    return await db.transact(do)


async def unfreeze(db: Database, actor: Actor, aid: bytes) -> Allowance:
    """Let an allowance go, as an operator who has looked; a repeat changes nothing.

    Terminals go on refusing it, for a revocation list only grows; what it lifts is the stop on its
    payer and on its close. With evidence against it, it stays frozen until it is closed, since the
    shops that lost are paid from its rest first: vouchers.evidence.
    """
    _operator(actor)

    async def do(work: Work) -> Allowance:
        found = await _locked(work, aid)
        if not found.frozen:
            return found
        if found.state is not State.CLOSED and await store.has_evidence(work, aid):
            raise conflict(
                "vouchers.evidence",
                "two payments were signed with one number: it stays frozen until it is closed",
            )
        free = replace(found, frozen=False)
        await store.save(work, [free])
        work.emit(event("allowance.unfrozen", free, actor))
        return free

    return await db.transact(do)


async def _locked(work: Work, aid: bytes) -> Allowance:
    found = (await store.lock(work, [aid])).get(aid)
    if found is None:
        raise unknown()
    return found


def _operator(actor: Actor) -> None:
    if actor.role is not Role.OPERATOR:
        raise denied("vouchers.operator", "only an operator decides this")
