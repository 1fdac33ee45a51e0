"""What may be asked of allowances and vouchers."""

from uuid import UUID

from server_core.actor import Actor
from server_core.db.work import Reader
from server_core.vouchers import store
from server_core.vouchers.issuing import issue, surrender, witness
from server_core.vouchers.model import Allowance, Evidence, Report
from server_core.vouchers.settling import sync
from server_core.vouchers.voiding import hand_in

__all__ = [
    "evidence", "frozen_payers", "hand_in", "issue", "mine", "report", "surrender", "sync", "witness",
]  # fmt: skip


async def mine(reader: Reader, actor: Actor) -> list[Allowance]:
    """The payer's allowances, latest first."""
    if actor.party is None:
        return []
    return await store.allowances_of(reader, actor.party)


async def report(reader: Reader) -> list[Report]:
    """Every voucher that reached us with its first verdict, for an operator; at most 1,000."""
    return await store.report(reader)


async def evidence(reader: Reader) -> list[Evidence]:
    return await store.evidence(reader)


async def frozen_payers(reader: Reader) -> set[UUID]:
    return await store.frozen_payers(reader)
