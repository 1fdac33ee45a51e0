"""What may be asked of allowances and vouchers."""

from uuid import UUID

from server_core.actor import Actor
from server_core.db.work import Reader
from server_core.terminals import service as terminals
from server_core.vouchers import store
from server_core.vouchers.fleet import page as fleet
from server_core.vouchers.freezing import freeze_one, unfreeze
from server_core.vouchers.issuing import issue, revoke_device, surrender
from server_core.vouchers.late import decide
from server_core.vouchers.late import waiting as late_waiting
from server_core.vouchers.model import Allowance, Evidence, Report
from server_core.vouchers.sales import of_references as sales
from server_core.vouchers.syncing import sync
from server_core.vouchers.tiers import by_tier
from server_core.vouchers.unclaiming import claim
from server_core.vouchers.unclaiming import mine as unclaimed
from server_core.vouchers.voiding import approve as approve_void
from server_core.vouchers.voiding import for_operator as voids_waiting
from server_core.vouchers.voiding import hand_in
from server_core.vouchers.witnessing import witness

__all__ = [
    "approve_void", "by_tier", "claim", "decide", "evidence", "fleet", "freeze_one", "frozen_payers", "hand_in", "issue",
    "late_waiting", "mine", "of_terminals", "report", "revoke_device", "sales", "surrender", "sync",
    "unclaimed", "unfreeze", "voids_waiting", "witness",
]  # fmt: skip


async def mine(reader: Reader, actor: Actor) -> list[Allowance]:
    """The payer's allowances, latest first."""
    if actor.party is None:
        return []
    return await store.allowances_of(reader, actor.party)


async def of_terminals(reader: Reader, actor: Actor, limit: int = 100) -> list[Report]:
    """Vouchers that the merchant's terminals sent, newest first."""
    own = {one.id for one in await terminals.mine(reader, actor)}
    return await store.of_terminals(reader, own, limit) if own else []


async def report(reader: Reader) -> list[Report]:
    """Every voucher that reached us with its first verdict, for an operator; at most 1,000."""
    return await store.report(reader)


async def evidence(reader: Reader) -> list[Evidence]:
    return await store.evidence(reader)


async def frozen_payers(reader: Reader) -> set[UUID]:
    return await store.frozen_payers(reader)
