"""What must be true after every fault: nothing acknowledged is missing, nothing is there twice."""

from collections import Counter
from uuid import UUID

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from server_core.db.work import Database, Reader
from server_core.events import store as events
from server_core.ledger import audit
from server_core.ledger.model import Result
from tests.crash.journal import Journal
from tests.crash.load import TOLD

PRESENT = {Result.CREATED.value, Result.EXISTS.value}


async def open_database(url: str) -> Database:
    return await Database.connect(
        url, clock=SystemClock(), entropy=SystemEntropy(), flush=events.flush, connections=3
    )


async def check(url: str, journal: Journal) -> int:
    """Hold the books to the journal; how many transfers of the load stand in them."""
    journal.read()
    assert journal.bugs == []
    assert set(journal.told.values()) <= PRESENT, Counter(journal.told.values())
    db = await open_database(url)
    try:
        async with db.snapshot() as reader:
            await laws(reader)
            return await _against(reader, journal)
    finally:
        await db.close()


async def laws(reader: Reader) -> None:
    fatal = [one for one in await audit.findings(reader) if one.fatal]
    assert fatal == []
    assert await events.gap(reader) is None


async def _against(reader: Reader, journal: Journal) -> int:
    rows = await reader.rows(
        "SELECT id, debit, credit, amount, result FROM transfer WHERE code = 'crash'"
    )
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows), "an id is there twice"
    missing = journal.told.keys() - found.keys()
    assert not missing, f"{len(missing)} acknowledged transfers are gone, such as {missing.pop()}"
    strange = found.keys() - journal.attempts.keys()
    assert not strange, f"{len(strange)} transfers that nobody asked for"
    for one, row in found.items():
        asked = journal.attempts[one]
        assert (row["debit"], row["credit"], row["amount"], row["result"]) == (
            asked.debit, asked.credit, asked.amount, "created",
        )  # fmt: skip
    told = await reader.rows(
        "SELECT aggregate_id, count(*) AS n FROM event WHERE type = $1 GROUP BY 1", TOLD
    )
    assert {row["aggregate_id"]: row["n"] for row in told} == dict.fromkeys(found, 1)
    await _totals(reader)
    return len(found)


async def _totals(reader: Reader) -> None:
    """Each account's totals from the transfers alone."""
    debits: Counter[UUID] = Counter()
    given: Counter[UUID] = Counter()
    for row in await reader.rows(
        "SELECT debit, credit, amount FROM transfer WHERE result = 'created' AND mode = 'single'"
    ):
        debits[row["debit"]] += row["amount"]
        given[row["credit"]] += row["amount"]
    entries: Counter[UUID] = Counter()
    for row in await reader.rows("SELECT transfer, count(*) AS n FROM entry GROUP BY transfer"):
        entries[row["transfer"]] += row["n"]
    assert set(entries.values()) <= {2}
    for row in await reader.rows("SELECT id, debits_posted, credits_posted FROM account"):
        assert (row["debits_posted"], row["credits_posted"]) == (
            debits[row["id"]], given[row["id"]],
        )  # fmt: skip


async def check_followed(url: str, seen: list[tuple[int, str]]) -> int:
    """Every event at least once and, repeats passed over, in order; how many repeats there were."""
    db = await open_database(url)
    try:
        async with db.reader() as reader:
            rows = await reader.rows("SELECT seq, id FROM event ORDER BY seq")
    finally:
        await db.close()
    first, known = [], set()
    for seq, one in seen:
        if one not in known:
            known.add(one)
            first.append((seq, one))
    assert first == [(row["seq"], str(row["id"])) for row in rows]
    return len(seen) - len(first)
