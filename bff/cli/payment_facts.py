"""All that the house knows of one payment, read on one snapshot for `hundi payments`."""

from dataclasses import dataclass
from uuid import UUID

from bff.cli.operator import OPERATOR
from server_core.app import Core
from server_core.db.work import Reader, Row
from server_core.events import store as event_store
from server_core.events.model import Event
from server_core.ledger import history
from server_core.ledger import store as ledger_store
from server_core.ledger.model import Account
from server_core.parties import service as parties
from server_core.payments import attempts as attempt_rules
from server_core.payments import service as payments
from server_core.payments.model import Attempt, Intent
from server_core.refunds import rules as refund_rules
from server_core.refunds import service as refunds
from server_core.refunds.model import Refund
from server_core.strays import rules as stray_rules
from server_core.strays import service as strays
from server_core.strays.model import Stray
from server_core.webhooks import messages
from server_core.webhooks import service as webhooks
from server_core.webhooks.model import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`transfers` are journal rows; `names` are of parties, `urls` of endpoints, by id."""

    intent: Intent
    attempts: list[Attempt]
    refunds: list[Refund]
    strays: list[Stray]
    events: list[Event]
    transfers: list[Row]
    accounts: dict[UUID, Account]
    names: dict[UUID, str]
    messages: list[Message]
    urls: dict[UUID, str]


async def gather(core: Core, intent_id: UUID) -> Facts:
    """Raises payments.unknown."""
    async with core.db.snapshot() as reader:
        intent = await payments.get(reader, OPERATOR, intent_id)
        tries = await payments.attempts(reader, OPERATOR, intent.id)
        back = (await refunds.of_intents(reader, OPERATOR, [intent.id]))[intent.id]
        stray = await strays.of_intent(reader, intent.id)
        moved = [
            row
            for row in await history.journal_rows(reader, _ids(tries, back, stray))
            if row["mode"]
        ]
        touched = {row[side] for row in moved for side in ("debit", "credit") if row[side]}
        told = [
            event
            for one in (intent.id, *(one.id for one in back), *(one.id for one in stray))
            for event in await event_store.of_aggregate(reader, one)
        ]
        sides = {intent.payee, *((intent.payer,) if intent.payer else ())}
        heard, urls = await _heard(reader, sides, [intent.id, *(one.id for one in back)])
        return Facts(
            intent=intent,
            attempts=tries,
            refunds=back,
            strays=stray,
            events=sorted(told, key=lambda one: one.seq),
            transfers=moved,
            accounts=await ledger_store.accounts(reader, touched),
            names={key: one.name for key, one in (await parties.get_many(reader, sides)).items()},
            messages=heard,
            urls=urls,
        )


def _ids(tries: list[Attempt], back: list[Refund], stray: list[Stray]) -> list[UUID]:
    return [
        *(key for one in tries for key in attempt_rules.transfer_ids(one)),
        *(key for one in back for key in refund_rules.transfer_ids(one)),
        *(move(one).id for one in stray for move in (stray_rules.arrival, stray_rules.return_)),
    ]


async def _heard(
    reader: Reader, sides: set[UUID], aggregates: list[UUID]
) -> tuple[list[Message], dict[UUID, str]]:
    urls = {
        endpoint.id: endpoint.url
        for party in sides
        for endpoint in await webhooks.mine(reader, OPERATOR, party)
    }
    return await messages.of_aggregates(reader, urls, aggregates), urls
