"""What must hold of a world of payments: against the rails' own books, and against what people were told."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from server_core.db.work import Reader
from server_core.ledger import audit
from server_core.ledger.model import Code, account_id
from server_core.parties import service as parties

if TYPE_CHECKING:
    from tests.sim_payments.world import World

_OPEN = "state IN ('sent', 'requires_action', 'unknown')"


@dataclass(frozen=True, slots=True)
class Broken:
    """A law that did not hold, and the story of what broke it."""

    law: str
    why: str
    story: tuple[str, ...] = ()


async def at_any_time(world: "World") -> Broken | None:
    """While much is open: nothing foreseen is missing, every hold is explained."""
    if world.wrong:
        return Broken("only what is foreseen is raised or told", world.wrong[0])
    async with world.db.snapshot() as reader:
        found = await reader.row(
            "SELECT (SELECT sum(debits_pending) FROM account) AS held,"
            " (SELECT coalesce(sum(amount), 0) FROM intent"
            "   WHERE state IN ('processing', 'requires_action'))"
            " + (SELECT coalesce(sum(capturable), 0) FROM intent)"
            " + (SELECT coalesce(sum(amount), 0) FROM refund WHERE state = 'pending') AS due,"
            " (SELECT count(*) FROM intent WHERE refunded > captured) AS beyond"
        )
        if found["held"] != found["due"]:
            return Broken("every hold is of a live payment", f"{found['held']} / {found['due']}")
        if found["beyond"]:
            return Broken("refunds are within what was captured", f"{found['beyond']} intents")
        return await _ledger(reader, fatal_only=True)


async def settled(world: "World") -> Broken | None:
    """After time has passed for everything: rails, intents, accounts and people agree."""
    if world.wrong:
        return Broken("only what is foreseen is raised or told", world.wrong[0])
    async with world.db.snapshot() as reader:
        intents = {row["id"]: row for row in await reader.rows("SELECT * FROM intent")}
        attempts = await reader.rows("SELECT * FROM attempt ORDER BY intent, number")
        for law in (_nothing_open, _payments, _clearing, _balances, _told):
            broken = await law(world, reader, intents, attempts)
            if broken:
                return broken
        broken = await _ledger(reader)
    for row in intents.values():
        world.counts[f"intent: {row['state']}"] += 1
    for one in world.books.debits.values():
        world.counts[f"fate: {one.name}"] += 1
    return broken


async def _ledger(reader: Reader, *, fatal_only: bool = False) -> Broken | None:
    for one in await audit.findings(reader):
        if one.fatal or not fatal_only:
            return Broken(f"ledger: {one.law}", one.row)
    return None


Rows = dict[UUID, Any]


async def _nothing_open(
    world: "World", reader: Reader, intents: Rows, attempts: list[Any]
) -> Broken | None:
    for row in intents.values():
        if row["state"] in {"processing", "requires_action", "requires_capture"}:
            return Broken("nothing is stuck", f"{row['state']}", tell(world, row, attempts))
    stray = await reader.row("SELECT * FROM stray WHERE state = 'found' LIMIT 1")
    if stray is not None:
        story = tell(world, intents[stray["intent"]], attempts)
        return Broken("nothing is stuck", f"{dict(stray)}", story)
    for what, where in (
        ("attempts", f"attempt WHERE {_OPEN}"),
        ("refunds", "refund WHERE state = 'pending'"),
        ("accounts", "account WHERE debits_pending <> 0 OR credits_pending <> 0"),
        ("suspense", "account WHERE code = 'suspense' AND debits_posted <> credits_posted"),
    ):
        count = await reader.value(f"SELECT count(*) FROM {where}")
        if count:
            return Broken("nothing is stuck", f"{count} {what}")
    world.counts["strays"] += await reader.value("SELECT count(*) FROM stray")
    world.counts["compensations"] += await reader.value(
        "SELECT count(*) FROM transfer WHERE code = 'compensation' AND result = 'created'"
    )
    return None


async def _payments(
    world: "World",
    reader: Reader,
    intents: Rows,
    attempts: list[Any],
) -> Broken | None:
    """Each payer was debited once or not at all: what the rails kept is what the intent says."""
    kept: Counter[UUID] = Counter()
    over_rail: set[UUID] = set()
    known: set[UUID] = set()
    for row in attempts:
        if row["rail"] is None or row["operation"] != "pay":
            continue
        known.add(row["id"])
        for one in world.books.of(row["id"]):
            kept[row["intent"]] += one.net
            if one.held:
                story = tell(world, intents[row["intent"]], attempts)
                return Broken("no money stays set aside at a rail", str(row["id"]), story)
        if row["state"] == "succeeded":
            over_rail.add(row["intent"])
    lost = world.books.debits.keys() - known
    if lost:
        return Broken("a rail is asked for what stands in the books", f"{lost.pop()}")
    for key, row in intents.items():
        due = row["captured"] - row["refunded"] if key in over_rail else 0
        right = {due, 0} if row["state"] == "conflicted" else {due}
        if kept[key] not in right:
            why = f"intent {key} is {row['state']}: the rails kept {kept[key]}, it says {due}"
            return Broken(
                "each payer is debited once or not at all", why, tell(world, row, attempts)
            )
    return None


async def _clearing(
    world: "World", reader: Reader, intents: Rows, attempts: list[Any]
) -> Broken | None:
    """What a rail owes us in the ledger is what its books say; a conflict is the difference."""
    owed: Counter[str] = Counter()
    for row in attempts:
        if row["rail"] is None or row["operation"] != "pay":
            continue
        debits = world.books.of(row["id"])
        owed[row["rail"]] += sum(one.net for one in debits)
        intent = intents[row["intent"]]
        if intent["state"] == "conflicted" and row["state"] == "succeeded":
            denied = intent["captured"] - intent["refunded"] - sum(one.net for one in debits)
            owed[row["rail"]] += denied
    rows = await reader.rows("SELECT id, debits_posted - credits_posted AS owes FROM account")
    found = {row["id"]: row["owes"] for row in rows}
    for rail in world.rails.by_name:
        has = found[account_id(Code.CLEARING, rail, "INR")]
        if has != owed[rail]:
            return Broken(
                "clearing is what the rail owes", f"{rail}: {has}, its books {owed[rail]}"
            )
    return None


async def _balances(
    world: "World",
    reader: Reader,
    intents: Rows,
    attempts: list[Any],
) -> Broken | None:
    """Every party's money from the payments alone."""
    from tests.sim_payments.world import funded

    money = Counter({one.id: funded(place) for place, one in enumerate(world.people)})
    by_book = {row["intent"] for row in attempts if row["state"] == "succeeded" and not row["rail"]}
    for key, row in intents.items():
        left = row["captured"] - row["refunded"]
        money[row["payee"]] += left
        if key in by_book:
            money[row["payer"]] -= left
    late = await reader.rows(
        "SELECT credit, amount FROM transfer WHERE code = 'compensation' AND result = 'created'"
    )
    more = Counter[UUID]()
    for row in late:
        more[row["credit"]] += row["amount"]
    rows = await reader.rows("SELECT id, credits_posted - debits_posted AS has FROM account")
    found = {row["id"]: row["has"] for row in rows}
    for party in (*world.people, *world.shops):
        account = parties.money_account(party, "INR")
        due = money[party.id] + more[account]
        if found[account] != due:
            return Broken(
                "each has what was paid to them", f"{party.name}: {found[account]}, {due}"
            )
    return None


async def _told(
    world: "World",
    reader: Reader,
    intents: Rows,
    attempts: list[Any],
) -> Broken | None:
    """Who was told that it is paid, has paid."""
    fine = {"succeeded": {"succeeded", "conflicted"}, "requires_capture": set()}
    for key, state in world.told.items():
        row = intents.get(key)
        if row is None or (fine[state] and row["state"] not in fine[state]):
            why = f"{key} was told {state} and is {row and row['state']}"
            return Broken("what was told stays true", why, tell(world, row, attempts))
    return None


def tell(world: "World", intent: Any, attempts: list[Any]) -> tuple[str, ...]:
    """A payment's story: its intent, its attempts, and what the rails did."""
    if intent is None:
        return ()
    lines = [f"story {world.number_of.get(intent['id'])}: intent {dict(intent)}"]
    for row in attempts:
        if row["intent"] == intent["id"]:
            shown = {
                k: row[k] for k in ("number", "operation", "method", "rail", "state", "amount")
            }
            lines.append(f"attempt {row['id']} {shown}")
            lines += [f"  {what}" for what in world.books.story.get(row["id"], [])]
            lines += [f"  {one}" for one in world.books.of(row["id"])]
    return tuple(lines)
