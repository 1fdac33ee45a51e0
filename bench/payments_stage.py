"""The people, the money and the intents that the payment benches pay with: made in bulk, untimed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from server_core.actor import Actor, Role
from server_core.db.work import Database, Work, columns
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties.model import MONEY_ACCOUNT, Kind, Party
from server_core.payments import answers, rules, store
from server_core.payments import service as payments
from server_core.payments.model import Confirm, Create, Intent, Method, Pay

FUND = 10**9
PAGE = 2_000
AMOUNT = 10
VPA = "asha@okbank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """Funded payers and the shops that they pay, as actors and by id."""

    payers: list[Actor]
    shops: list[Party]


async def town(db: Database, payers: int, shops: int) -> Town:
    """Parties with their accounts, set-based; every payer holds FUND minor units."""
    async with db.work() as work:
        for rail in ("upi", "upi.2"):
            await payments.open_rail_account(work, rail, "INR")
    people = [one async for one in _parties(db, Kind.PERSON, payers)]
    for start in range(0, payers, PAGE):
        async with db.work() as work:
            funds = [
                Transfer(
                    id=derived("fund", one.id),
                    debit=account_id(Code.CLEARING, "upi", "INR"),
                    credit=account_id(Code.WALLET, one.id, "INR"),
                    amount=FUND,
                )
                for one in people[start : start + PAGE]
            ]
            if not all(one.ok for one in await ledger.post(work, funds)):
                raise RuntimeError("a payer could not be funded")
    return Town(
        payers=[Actor(party=one.id, role=Role.PAYER) for one in people],
        shops=[one async for one in _parties(db, Kind.MERCHANT, shops)],
    )


async def _parties(db: Database, kind: Kind, count: int):  # noqa: ANN202 - an iterator
    for start in range(0, count, PAGE):
        async with db.work() as work:
            made = [
                Party(
                    id=one, kind=kind, name=f"{kind} {start + place}", mcc="0000", payee=None,
                    created_at=work.now_ms,
                )
                for place, one in enumerate(work.ids.many(min(PAGE, count - start)))
            ]  # fmt: skip
            await _insert(work, made)
            accounts = [ledger.account(MONEY_ACCOUNT[kind], one.id, "INR") for one in made]
            await ledger.open_accounts(work, accounts)
        for one in made:
            yield one


async def _insert(work: Work, parties: Sequence[Party]) -> None:
    rows = [(one.id, one.kind, one.name, one.mcc, one.created_at) for one in parties]
    await work.execute(
        "INSERT INTO party (id, kind, name, mcc, created_at) SELECT * FROM"
        " unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])",
        *columns(rows, 5),
    )


async def intents(db: Database, here: Town, count: int, name: str) -> list[UUID]:
    """`count` intents that wait for a payer, stored as `payments.create` stores them."""
    made: list[UUID] = []
    for start in range(0, count, PAGE):
        async with db.work() as work:
            page = [
                _asked(work, here.shops[place % len(here.shops)], id_, f"{name}-{place}")
                for place, id_ in enumerate(work.ids.many(min(PAGE, count - start)), start)
            ]
            await store.insert(work, page)
        made += [one.id for one in page]
    return made


def _asked(work: Work, shop: Party, id_: UUID, key: str) -> Intent:
    command = offer(Actor(party=shop.id, role=Role.MERCHANT), shop, key)
    return rules.new_intent(command, id_, work.now_ms, answers.origin_of(answers.claim_of(command)))


def offer(actor: Actor, shop: Party, key: str) -> Create:
    return Create(actor=actor, key=key, payee=shop.id, amount=AMOUNT, currency="INR")


def confirms(
    here: Town, ids: Sequence[UUID], name: str, method: Method = Method.BOOK
) -> Iterator[Confirm]:
    """One confirm an intent, the payers in turn."""
    instrument = VPA if method is Method.UPI else None
    for place, intent in enumerate(ids):
        yield Confirm(
            actor=here.payers[place % len(here.payers)],
            key=f"{name}-{place}",
            intent=intent,
            method=method,
            instrument=instrument,
        )


def pays(here: Town, count: int, name: str) -> Iterator[Pay]:
    """As many creates and confirms in one, the payers and the shops in turn."""
    for place in range(count):
        payer = here.payers[place % len(here.payers)]
        shop = here.shops[place % len(here.shops)]
        yield Pay(offer=offer(payer, shop, f"{name}-{place}"), method=Method.BOOK)
