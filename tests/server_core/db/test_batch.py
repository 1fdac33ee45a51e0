"""Group commit: answered after COMMIT only, one poisoned command fails alone, nothing is unbounded."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from server_core.db.batch import Batch
from server_core.db.work import Database, Work
from server_core.errors import DomainError, conflict


@pytest.fixture(autouse=True)
async def _table(database_url: str) -> None:
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    await owner.execute(
        "CREATE TABLE IF NOT EXISTS note (n bigint PRIMARY KEY); TRUNCATE note;"
        "GRANT SELECT, INSERT ON note TO hundi_app"
    )
    await owner.close()


async def write(work: Work, numbers: Sequence[int]) -> list[int | DomainError]:
    """Write each number; refuse 13; break technically on 66."""
    if 66 in numbers:
        raise RuntimeError("poison")
    kept = [n for n in numbers if n != 13]
    await work.execute("INSERT INTO note SELECT unnest($1::bigint[])", kept)
    return [conflict("test.unlucky", "13") if n == 13 else n * 10 for n in numbers]


async def stored(db: Database) -> list[int]:
    async with db.reader() as reader:
        return [row["n"] for row in await reader.rows("SELECT n FROM note ORDER BY n")]


async def test_each_caller_gets_its_own_outcome(db: Database) -> None:
    queue = Batch(db, write, limit=10)
    numbers = [n for n in range(60) if n != 13]
    assert await asyncio.gather(*map(queue.submit, numbers)) == [n * 10 for n in numbers]
    assert await stored(db) == numbers


async def test_a_refusal_is_one_callers_and_the_rest_is_committed(db: Database) -> None:
    queue = Batch(db, write)
    results = await asyncio.gather(*map(queue.submit, [1, 13, 2]), return_exceptions=True)
    assert (results[0], results[2]) == (10, 20)
    assert isinstance(results[1], DomainError)
    assert await stored(db) == [1, 2]


async def test_a_poisoned_command_fails_alone(db: Database) -> None:
    queue = Batch(db, write)
    results = await asyncio.gather(*map(queue.submit, [1, 66, 2]), return_exceptions=True)
    assert (results[0], results[2]) == (10, 20)
    assert isinstance(results[1], RuntimeError)
    assert await stored(db) == [1, 2]
    assert await queue.submit(3) == 30  # the lane lives on


async def test_nobody_is_answered_before_the_commit(db: Database) -> None:
    seen = []

    async def slow(work: Work, numbers: Sequence[int]) -> list[int | DomainError]:
        outcomes = await write(work, numbers)
        seen.append(await stored(db))  # another connection does not see it yet
        return outcomes

    queue = Batch(db, slow)
    assert await queue.submit(5) == 50
    assert (seen, await stored(db)) == ([[]], [5])


async def test_a_caller_that_goes_away_takes_nothing_back(db: Database) -> None:
    queue = Batch(db, write)
    gone = asyncio.ensure_future(queue.submit(7))
    await db.clock.sleep(0)
    gone.cancel()
    assert await queue.submit(8) == 80
    await queue.close()
    assert await stored(db) == [7, 8]


async def test_the_queue_is_bounded(db: Database) -> None:
    queue = Batch(db, write, depth=2)
    results = await asyncio.gather(*map(queue.submit, [1, 2, 3]), return_exceptions=True)
    assert results[:2] == [10, 20]
    assert isinstance(results[2], DomainError)
    assert results[2].code == "db.overloaded"


async def test_closing_finishes_what_was_taken_and_takes_nothing_more(db: Database) -> None:
    queue = Batch(db, write)
    taken = asyncio.ensure_future(queue.submit(1))
    await db.clock.sleep(0)
    await queue.close()
    assert await taken == 10
    with pytest.raises(DomainError) as refused:
        await queue.submit(2)
    assert refused.value.code == "db.closing"
