"""The event log: dense, in commit order, and heard by every process that follows it."""

import asyncio
from contextlib import suppress
from uuid import UUID

import asyncpg

from server_core.db.work import Database, Emitted
from server_core.events import store, tail
from server_core.events.bus import InProcessBus

ONE, TWO = UUID(int=1), UUID(int=2)


def event(aggregate: UUID, name: str = "thing.happened") -> Emitted:
    return Emitted(aggregate_type="thing", aggregate_id=aggregate, type=name, payload={"a": "é"})


async def emit(db: Database, *events: Emitted) -> None:
    async with db.work() as work:
        work.emit(*events)


async def all_events(db: Database):
    async with db.reader() as reader:
        assert await store.gap(reader) is None
        return await store.after(reader, 0, 1000)


async def test_numbers_are_dense_in_the_cell_and_in_the_aggregate(db: Database) -> None:
    await emit(db, event(ONE), event(TWO), event(ONE))
    await emit(db, event(TWO))
    told = await all_events(db)
    assert [e.seq for e in told] == [1, 2, 3, 4]
    assert [(e.aggregate_id, e.sequence) for e in told] == [(ONE, 1), (TWO, 1), (ONE, 2), (TWO, 2)]
    assert told[0].payload == {"a": "é"}


async def test_a_rolled_back_work_takes_no_number(db: Database) -> None:
    with suppress(LookupError):
        async with db.work() as work:
            work.emit(event(ONE))
            await store.flush(work)
            raise LookupError
    await emit(db, event(ONE))
    assert [e.seq for e in await all_events(db)] == [1]


async def test_a_crowd_leaves_no_gap(db: Database) -> None:
    await asyncio.gather(*(emit(db, event(ONE), event(UUID(int=i))) for i in range(3, 40)))
    told = await all_events(db)
    assert len(told) == 74
    assert [e.sequence for e in told if e.aggregate_id == ONE] == list(range(1, 38))


async def test_a_cursor_never_skips_a_work_that_commits_late(db: Database) -> None:
    """A long Work takes its numbers at its end: nothing with a lower number comes after."""
    async with db.work() as slow:
        slow.emit(event(ONE, "slow"))
        await emit(db, event(TWO, "quick"))
        async with db.reader() as reader:
            seen = await store.after(reader, 0, 10)
    async with db.reader() as reader:
        later = await store.after(reader, seen[-1].seq, 10)
    assert ([e.type for e in seen], [e.type for e in later]) == (["quick"], ["slow"])


async def test_followers_hear_what_is_committed(db: Database) -> None:
    bus = InProcessBus()
    task = asyncio.create_task(tail.follow(db, bus))
    try:
        with bus.subscribe(ONE) as heard:
            got = []
            async with asyncio.timeout(10):
                while not got:  # the tail takes its place "from now": emit until it hears
                    await emit(db, event(TWO), event(ONE, "mine"))
                    with suppress(TimeoutError):
                        got.append(await asyncio.wait_for(anext(aiter(heard)), 0.2))
            assert got[0].type == "mine"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_subscriber_that_falls_behind_is_told() -> None:
    bus = InProcessBus()
    with bus.subscribe(ONE, depth=1) as heard:
        made = store.Event(
            seq=1, id=ONE, aggregate_type="t", aggregate_id=ONE, sequence=1, type="x", version=1,
            payload={}, recorded_at=0, correlation=None, causation=None,
        )  # fmt: skip
        await bus.publish([made, made])
        assert heard.lagged
    bus.close()
    with bus.subscribe(ONE) as late:
        assert [e async for e in late] == []


async def test_a_lost_tail_is_a_gap(db: Database, database_url: str) -> None:
    await emit(db, event(ONE), event(ONE))
    owner = await asyncpg.connect(database_url, server_settings={"search_path": db.cell})
    try:
        await owner.execute(
            "SET session_replication_role = replica; DELETE FROM event WHERE seq = 2"
        )
    finally:
        await owner.close()
    async with db.reader() as reader:
        assert await store.gap(reader) == "event_head 2"
