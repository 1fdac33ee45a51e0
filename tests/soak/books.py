"""The soak's books: ours against the switch's own file, and nothing left open."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from server_core.db.work import Database, Reader
from server_core.ids import parse, public
from server_core.ledger import audit
from server_core.ledger.model import Code, account_id
from server_core.rails.doors import txn_id
from tests.soak.load import Load

_OPEN = (
    "(SELECT count(*) FROM attempt WHERE state IN ('sent', 'requires_action', 'unknown')"
    " OR next_check_at IS NOT NULL)"
    " + (SELECT count(*) FROM refund WHERE state = 'pending')"
    " + (SELECT count(*) FROM stray WHERE state = 'found')"
)


async def left_open(owner: Any) -> int:
    """What has no end yet; all of it is asked about now rather than at its time.

    What has ended is watched for a day: it is made to have ended long ago.
    """
    await owner.execute(
        "UPDATE attempt SET next_check_at = 1, ended_at = least(ended_at, 1)"
        " WHERE next_check_at IS NOT NULL;"
        " UPDATE intent SET expires_at = 1 WHERE state = 'requires_action';"
        " UPDATE refund SET next_check_at = 1 WHERE next_check_at IS NOT NULL;"
        " UPDATE stray SET next_check_at = 1 WHERE next_check_at IS NOT NULL"
    )
    return int(await owner.fetchval(f"SELECT {_OPEN}"))


async def some_open(owner: Any) -> list[str]:
    """A few of those, in full."""
    rows = await owner.fetch(
        "SELECT a.id, a.method, a.state, a.asked, a.code, i.state AS intent FROM attempt a"
        " JOIN intent i ON i.id = a.intent WHERE a.next_check_at IS NOT NULL LIMIT 3"
    )
    rows += await owner.fetch("SELECT * FROM stray WHERE state = 'found' LIMIT 3")
    return [str(dict(row)) for row in rows]


async def ages(reader: Reader) -> dict[str, int]:
    """How late, in ms, the oldest is that a job should have done: rails asked, webhooks sent."""
    found = {}
    for name, due, where in (
        ("attempts", "next_check_at", "attempt WHERE next_check_at IS NOT NULL"),
        ("refunds", "next_check_at", "refund WHERE next_check_at IS NOT NULL"),
        ("strays", "next_check_at", "stray WHERE next_check_at IS NOT NULL"),
        ("webhooks", "due_at", "webhook_message WHERE state = 'pending'"),
    ):
        oldest = await reader.value(f"SELECT min({due}) FROM {where}")
        found[name] = 0 if oldest is None else max(0, reader.now_ms - int(oldest))
    return found


async def untold(owner: Any) -> int:
    """Events that no endpoint was given yet, and messages on their way; these go out now."""
    await owner.execute(
        "UPDATE webhook_message SET due_at = 1 WHERE state = 'pending' AND due_at > 1"
    )
    return int(
        await owner.fetchval(
            "SELECT (SELECT count(*) FROM webhook_message WHERE state = 'pending')"
            " + (SELECT seq FROM event_head WHERE id = 0)"
            " - (SELECT seq FROM event_cursor WHERE name = 'webhooks')"
        )
    )


async def head(owner: Any) -> int:
    """The number of the last event so far."""
    return int(await owner.fetchval("SELECT seq FROM event_head WHERE id = 0"))


async def against_the_listener(owner: Any, taken: dict[str, str], upto: int) -> list[str]:
    """What the shop took against the log: every event of a kind that it asked for, once.

    Those up to number `upto` must be there. Payments go on expiring while this looks: what was
    taken is read before the log, so that the log has all of it.
    """
    taken = dict(taken)
    rows = await owner.fetch(
        "SELECT id, type, seq <= $1 AS due FROM event"
        " WHERE (type LIKE 'payment.%' OR type LIKE 'refund.%')"
        " AND seq > (SELECT from_seq FROM webhook_endpoint LIMIT 1)",
        upto,
    )
    log = {public("evt", row["id"]): row["type"] for row in rows}
    due = {public("evt", row["id"]) for row in rows if row["due"]}
    missing = [f"{key} {log[key]} was never told" for key in list(due - taken.keys())[:5]]
    strange = [f"{key} {taken[key]} is no event" for key in list(taken.keys() - log.keys())[:5]]
    return missing + strange


async def drift(db: Database) -> list[str]:
    async with db.snapshot() as reader:
        return [f"{one.law}: {one.row}" for one in await audit.findings(reader) if one.fatal]


async def against_the_switch(db: Database, state: Path, load: Load) -> list[str]:
    """Each payment debited once or not at all, by the switch's own count."""
    wrong = []
    kept = _kept(state)
    async with db.snapshot() as reader:
        intents = {row["id"]: row for row in await reader.rows("SELECT * FROM intent")}
        attempts = await reader.rows("SELECT * FROM attempt WHERE rail IS NOT NULL")
        has = await reader.value(
            "SELECT debits_posted - credits_posted FROM account WHERE id = $1",
            account_id(Code.CLEARING, "upi", "INR"),
        )
    debited: Counter[Any] = Counter()
    paid = set()
    for row in attempts:
        debited[row["intent"]] += kept.pop(txn_id(row["id"]), 0)
        if row["state"] == "succeeded":
            paid.add(row["intent"])
    for key, row in intents.items():
        due = row["captured"] - row["refunded"] if key in paid else 0
        if debited[key] != due:
            wrong.append(f"{key} {row['state']}: the switch kept {debited[key]}, we say {due}")
    strange = {key: amount for key, amount in kept.items() if amount}
    if strange:
        wrong.append(f"the switch has debits that nobody asked for: {strange}")
    if has != sum(debited.values()):
        wrong.append(f"clearing is {has}, the switch kept {sum(debited.values())}")
    pays = [key for key in load.asked if key.startswith(("pay-", "ask-"))]
    if len(intents) > len(pays):
        wrong.append(f"{len(pays)} keys made {len(intents)} payments")
    told = [one for key, one in load.payments.items() if key.startswith(("pay-", "ask-"))]
    if len(set(told)) != len(told):
        wrong.append("two keys were told one payment")
    wrong += [
        f"{one} was told and is not there" for one in told if parse("pay", one) not in intents
    ]
    return wrong


def _kept(state: Path) -> Counter[str]:
    """What the switch took and did not give back, by the id or the link that it was asked under."""
    kept: Counter[str] = Counter()
    under: dict[str, str] = {}
    book = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    try:
        rows = book.execute(
            "SELECT kind, id, about, body, debited, given_back, later, code FROM entry"
        ).fetchall()
    finally:
        book.close()
    debits = [row for row in rows if row[0] == "upi.txn"]
    for _, key, about, body, took, back, *_ in debits:
        under[key] = about or key
        if body and took and not back:
            kept[under[key]] += json.loads(body)["amount_minor"]
    for kind, _, about, body, took, back, *_ in rows:
        if kind == "upi.refund" and body and took and not back:
            kept[under[about]] -= json.loads(body)["amount_minor"]
    return kept
