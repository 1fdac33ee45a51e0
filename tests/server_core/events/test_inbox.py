"""The consumer's inbox: what comes twice has one effect."""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from devices.clock import ManualClock
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.events import inbox

ONE, TWO, THREE = (UUID(int=i) for i in (1, 2, 3))


async def claim(db: Database, consumer: str, event: UUID) -> bool:
    async with db.work() as work:
        return await inbox.first_time(work, consumer, event)


async def test_the_first_time_is_once_for_each_consumer(db: Database) -> None:
    assert await claim(db, "mailer", ONE)
    assert not await claim(db, "mailer", ONE)
    assert await claim(db, "mailer", TWO)
    assert await claim(db, "books", ONE)


async def test_a_claim_is_undone_with_its_effect(db: Database) -> None:
    with suppress(LookupError):
        async with db.work() as work:
            assert await inbox.first_time(work, "mailer", ONE)
            raise LookupError
    assert await claim(db, "mailer", ONE)


async def test_many_at_once_tell_the_new_ones(db: Database) -> None:
    await claim(db, "mailer", TWO)
    async with db.work() as work:
        assert await inbox.first_times(work, "mailer", [THREE, TWO, ONE, ONE]) == {ONE, THREE}


async def test_of_a_crowd_one_is_first(db: Database) -> None:
    told = await asyncio.gather(*(claim(db, "mailer", ONE) for _ in range(8)))
    assert told.count(True) == 1


async def test_who_waits_for_a_claim_that_stays_open_is_told(db: Database) -> None:
    async with db.work() as slow:
        assert await inbox.first_time(slow, "mailer", ONE)
        with pytest.raises(DomainError, match=r"db\.contended"):
            await claim(db, "mailer", ONE)


async def test_batches_in_opposite_order_do_not_block_each_other(db: Database) -> None:
    many = [UUID(int=i) for i in range(1, 200)]

    async def batch(events: list[UUID]) -> int:
        async with db.work() as work:
            return len(await inbox.first_times(work, "mailer", events))

    told = await asyncio.gather(*(batch(many[:: (-1) ** i]) for i in range(6)))
    assert sum(told) == len(many)


async def test_ids_are_forgotten_when_their_time_is_over(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "PAGE", 2)
    assert isinstance(db.clock, ManualClock)
    for event in (ONE, TWO, THREE):
        await claim(db, "mailer", event)
    db.clock.advance(inbox.KEEP_MS)
    await claim(db, "books", ONE)
    assert await inbox.tick(db) == 0
    db.clock.advance(1)
    assert [await inbox.tick(db) for _ in range(3)] == [2, 1, 0]
    assert not await claim(db, "books", ONE)
    assert await claim(db, "mailer", ONE)


async def test_two_reapers_do_not_meet(db: Database) -> None:
    async with db.work() as work:
        assert await work.try_lock(f"events.inbox:{db.cell}")
        assert await inbox.tick(db) == 0
