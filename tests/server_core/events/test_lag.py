"""How far behind each reader of the log is."""

from devices.clock import ManualClock
from server_core.db.work import Database
from server_core.events import cursors, lag
from server_core.events.lag import Lag
from tests.server_core.events.test_relay import emit, owner


async def stand(db: Database, name: str, seq: int) -> None:
    async with db.work() as work:
        await cursors.hold(work, name)
        await cursors.move(work, name, seq)


async def read(db: Database) -> list[Lag]:
    async with db.reader() as reader:
        return await lag.read(reader)


async def test_each_cursor_against_the_head(db: Database) -> None:
    assert isinstance(db.clock, ManualClock)
    await emit(db, 3)
    db.clock.advance(700)
    await emit(db, 2)
    db.clock.advance(50)
    for name, seq in (("a", 0), ("b", 3), ("c", 5)):
        await stand(db, name, seq)
    assert [(one.consumer, one.events, one.oldest_ms) for one in await read(db)] == [
        ("a", 5, 750), ("b", 2, 50), ("c", 0, 0),
    ]  # fmt: skip


async def test_a_hole_is_lag_and_a_cursor_ahead_is_negative(
    db: Database, database_url: str
) -> None:
    assert isinstance(db.clock, ManualClock)
    await emit(db, 5)
    db.clock.advance(40)
    await stand(db, "a", 2)
    await stand(db, "b", 9)
    await owner(database_url, db.cell, "DELETE FROM event WHERE seq = 3")
    assert [(one.events, one.oldest_ms) for one in await read(db)] == [(3, 40), (-4, 0)]
