"""What must hold after every step: in the rows alone, against the step before, against the book."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from server_core.ledger import service
from server_core.ledger.model import MAX_TOTAL, Account, Transfer
from tests.sim.model import Answer, Book, Move, Totals

_SUMS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
_FIELDS = tuple(name for name in Transfer.__struct_fields__ if name != "linked")


class Broken(AssertionError):  # noqa: N818 - it is what happened to the law, said as the report says it
    """`law` does not hold; `why` names the row."""

    def __init__(self, law: str, why: str) -> None:
        super().__init__(f"{law}: {why}")
        self.law, self.why = law, why


@dataclass(slots=True)
class Rows:
    """All that a world's tables hold."""

    accounts: dict[Any, Any] = field(default_factory=dict)
    transfers: dict[Any, Any] = field(default_factory=dict)
    entries: dict[tuple[Any, int], Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    head: int = 0

    def of_account(self) -> dict[Any, list[Any]]:
        found = defaultdict(list)
        for (account, _), row in sorted(self.entries.items(), key=lambda pair: pair[0][1]):
            found[account].append(row)
        return found


_READ = """
SELECT (SELECT array_agg(a) FROM account a), (SELECT array_agg(t) FROM transfer t),
  (SELECT array_agg(e) FROM entry e), (SELECT array_agg(v ORDER BY v.seq) FROM event v),
  (SELECT seq FROM event_head)
"""


async def read(connection: Any) -> Rows:
    """Every row, by its key; a key that a broken table holds twice breaks a law here."""
    found = await connection.fetchrow(_READ)
    accounts, transfers, entries, events = (some or [] for some in found[:4])
    rows = Rows(
        {row["id"]: row for row in accounts},
        {row["id"]: row for row in transfers},
        {(row["account"], row["version"]): row for row in entries},
        events,
        found[4],
    )
    if len(rows.transfers) != len(transfers):
        raise Broken("an id is one transfer", f"{len(transfers) - len(rows.transfers)} twice")
    if len(rows.entries) != len(entries):
        raise Broken("an account's versions are dense", "a version stands twice")
    return rows


# -- in the rows alone ----------------------------------------------------------------------------


def hold_in_rows(rows: Rows) -> None:
    """Raise Broken for the first law that these rows break, whatever was asked of the ledger."""
    _books_balance(rows)
    entries = rows.of_account()
    for key, account in rows.accounts.items():
        _account_is_its_entries(account, entries.get(key, []))
    _transfers_have_their_entries(rows)
    _holds_end_once(rows)
    _events_are_dense(rows)


def _books_balance(rows: Rows) -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows.accounts.values():
        sums[row["ledger"]][0] += row["debits_pending"] - row["credits_pending"]
        sums[row["ledger"]][1] += row["debits_posted"] - row["credits_posted"]
        if min(row[name] for name in _SUMS) < 0:
            raise Broken("no total is below zero", f"account {row['id']}")
        for side in ("debits", "credits"):
            if row[f"{side}_pending"] + row[f"{side}_posted"] > MAX_TOTAL:
                raise Broken("no total passes 63 bits", f"account {row['id']}")
    for ledger, (pending, posted) in sums.items():
        if pending or posted:
            raise Broken("debits equal credits", f"{ledger} off by {pending} and {posted}")


def _account_is_its_entries(account: Any, entries: list[Any]) -> None:
    if [row["version"] for row in entries] != list(range(1, account["version"] + 1)):
        raise Broken("an account's versions are dense", f"account {account['id']}")
    last = entries[-1] if entries else dict.fromkeys(_SUMS, 0)
    if any(account[name] != last[name] for name in _SUMS):
        raise Broken("a balance is its last running total", f"account {account['id']}")
    times = [row["recorded_at"] for row in entries]
    if times != sorted(times) or account["moved_at"] != max(times, default=0):
        raise Broken("time does not run backwards in an account", f"account {account['id']}")


def _transfers_have_their_entries(rows: Rows) -> None:
    moved: dict[Any, list[Any]] = defaultdict(list)
    for row in rows.entries.values():
        moved[row["transfer"]].append(row["account"])
    for key, row in rows.transfers.items():
        sides = [row["debit"], row["credit"]] if row["result"] == "created" else []
        if sorted(moved.pop(key, []), key=str) != sorted(sides, key=str):
            raise Broken("a created transfer has one entry a side, a refused one none", str(key))
    if moved:
        raise Broken("every entry has its transfer", str(next(iter(moved))))


def _holds_end_once(rows: Rows) -> None:
    created = [row for row in rows.transfers.values() if row["result"] == "created"]
    parts: dict[Any, list[Any]] = defaultdict(list)
    for row in created:
        if row["pending_id"] and row["mode"] in {"post", "void", "expire"}:
            parts[row["pending_id"]].append(row)
    kept: dict[tuple[Any, str], int] = defaultdict(int)
    for hold in (row for row in created if row["mode"] == "pending"):
        mine = parts.pop(hold["id"], [])
        posted = sum(row["amount"] for row in mine if row["mode"] == "post")
        ends = [row for row in mine if row["mode"] != "post" or row["final"]]
        if len(ends) > 1 or (ends and posted > hold["amount"]):
            raise Broken("a hold ends at most once", str(hold["id"]))
        if posted > hold["amount"]:
            raise Broken("a hold posts at most its amount", str(hold["id"]))
        late = hold["expires_at"]
        if late and any(r["mode"] == "post" and r["recorded_at"] >= late for r in mine):
            raise Broken("nothing posts at or after expiry", str(hold["id"]))
        if not ends:
            kept[hold["debit"], "debits_pending"] += hold["amount"] - posted
            kept[hold["credit"], "credits_pending"] += hold["amount"] - posted
    if parts:
        raise Broken("what ends a hold names a hold", str(next(iter(parts))))
    for key, row in rows.accounts.items():
        for name in ("debits_pending", "credits_pending"):
            if row[name] != kept[key, name]:
                raise Broken("what is pending is what open holds keep", f"account {key}")


def _events_are_dense(rows: Rows) -> None:
    numbers = [row["seq"] for row in rows.events]
    if numbers != list(range(1, len(numbers) + 1)) or rows.head != len(numbers):
        raise Broken("events are dense", f"{len(numbers)} events, head {rows.head}")
    seen: dict[Any, int] = defaultdict(int)
    for row in rows.events:
        seen[row["aggregate_id"]] += 1
        if row["sequence"] != seen[row["aggregate_id"]]:
            raise Broken("events are dense", f"aggregate {row['aggregate_id']}")


# -- against the step before ----------------------------------------------------------------------


def hold_since(before: Rows, after: Rows) -> None:
    """History stays as it was, and no move that worsens an account ends beyond its limits."""
    for name in ("transfers", "entries"):
        old, new = getattr(before, name), getattr(after, name)
        changed = [key for key, row in old.items() if new.get(key) != row]
        if changed:
            raise Broken("the same id has the same outcome for ever", f"{name} {changed[0]}")
    for (account, version), row in after.entries.items():
        if version > before.accounts[account]["version"]:
            earlier = after.entries.get((account, version - 1)) or dict.fromkeys(_SUMS, 0)
            _within(after.accounts[account], earlier, row)


def _within(account: Any, before: Any, after: Any) -> None:
    into, out = ("credits", "debits") if account["side"] == "credit" else ("debits", "credits")

    def left(row: Any) -> int:
        return row[f"{into}_posted"] - row[f"{out}_posted"] - row[f"{out}_pending"]

    def most(row: Any) -> int:
        return row[f"{into}_posted"] + row[f"{into}_pending"] - row[f"{out}_posted"]

    floor, cap = account["floor"], account["cap"]
    if floor is not None and left(after) < min(floor, left(before)):
        raise Broken("no move takes an account below its floor", f"account {account['id']}")
    if cap is not None and most(after) > max(cap, most(before)):
        raise Broken("no move takes an account above its cap", f"account {account['id']}")


# -- against the book -----------------------------------------------------------------------------


def difference(book: Book, rows: Rows) -> Broken | None:
    """The first thing in which the tables and the reference model disagree."""
    for key, terms in book.terms.items():
        row, totals = rows.accounts[key], book.totals(key)
        if (row["version"], *(row[name] for name in _SUMS)) != _flat(totals):
            return Broken("balances are the model's", f"account {key}: {dict(row)} not {totals}")
        if (row["floor"], row["cap"], row["closed"]) != (terms.floor, terms.cap, terms.closed):
            return Broken("limits are the model's", f"account {key}")
    if rows.transfers.keys() != book.bound.keys():
        odd = rows.transfers.keys() ^ book.bound.keys()
        return Broken("every decided id is kept, and no other", str(next(iter(odd))))
    for key, (first, result, at) in book.bound.items():
        row = rows.transfers[key]
        told = [name for name in _FIELDS if row[name] != getattr(first, name)]
        if told or row["result"] != result:
            return Broken("a transfer is kept as it was asked for", f"{key}: {told} {result}")
        if row["recorded_at"] != at:
            return Broken("a transfer is recorded at its time", f"{key}: {row['recorded_at']}")
    odd_move = next((move for move in book.moves if not stands(move, rows)), None)
    return Broken("entries are the model's", str(odd_move.transfer.id)) if odd_move else None


def stands(move: Move, rows: Rows) -> bool:
    """Whether a move's two entries are there, with its time and its running totals."""
    row = rows.transfers.get(move.transfer.id)
    versions = tuple(one.version for one in move.after)
    if row is None or (row["debit_version"], row["credit_version"]) != versions:
        return False
    for account, totals in zip((move.debit, move.credit), move.after, strict=True):
        entry = rows.entries.get((account, totals.version))
        if entry is None or (entry["transfer"], entry["recorded_at"]) != (row["id"], move.at):
            return False
        if (entry["version"], *(entry[name] for name in _SUMS)) != _flat(totals):
            return False
    return True


def journal(rows: Rows) -> list[UUID]:
    """The ids of all that was decided, in the order in which the event log tells it."""
    told = [json.loads(row["payload"]) for row in rows.events if row["type"] == service.POSTED]
    return [UUID(one) for payload in told for one in payload["transfers"]]


def journal_tells(book: Book, rows: Rows) -> None:
    """Each decided id is told once, by its own commit, in the order in which it was decided."""
    if journal(rows) != list(book.bound):
        raise Broken("the journal tells what was decided, in order", f"{len(rows.events)} events")


def _flat(totals: Any) -> tuple[int, ...]:
    return (totals.version, *(getattr(totals, name) for name in _SUMS))


def equal(account: Account, totals: Totals) -> bool:
    return _flat(account) == _flat(totals)


def answers_agree(expected: list[Answer], outcomes: list[Any]) -> str | None:
    """None when the ledger said what the model says; else the first that differs."""
    if len(expected) != len(outcomes):
        return f"{len(outcomes)} outcomes for {len(expected)} transfers"
    for place, (answer, outcome) in enumerate(zip(expected, outcomes, strict=True)):
        said = Answer(outcome.result, outcome.first_failure, outcome.available)
        if said != answer:
            return f"transfer {place} of its batch: the ledger {said}, the model {answer}"
    return None
