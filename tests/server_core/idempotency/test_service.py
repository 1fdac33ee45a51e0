"""Keys: claimed once, answered for ever (a day), never lent to another request."""

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.idempotency import jobs, rules, service
from server_core.idempotency.model import (
    LEASE_MS,
    TTL_MS,
    Claim,
    Fresh,
    Mismatch,
    Replay,
    Running,
)

CLAIM = Claim(scope="asha", key="k1", verb="pay", body=rules.body_hash({"amount": 1}))


async def claim(db: Database, *claims: Claim):
    async with db.work() as work:
        return await service.claim(work, claims)


async def test_the_first_is_fresh_and_the_second_replays_its_answer(db: Database) -> None:
    async with db.work() as work:
        assert await service.claim(work, [CLAIM]) == [Fresh()]
        await service.answer(work, [(CLAIM, {"paid": True})])
    assert await claim(db, CLAIM) == [Replay(answer={"paid": True})]


@pytest.mark.parametrize("change", [{"verb": "refund"}, {"body": b"other"}])
async def test_another_request_is_a_mismatch(db: Database, change: dict) -> None:
    await claim(db, CLAIM)
    assert await claim(db, replace(CLAIM, **change)) == [Mismatch()]


@pytest.mark.parametrize("change", [{"scope": "ravi"}, {"key": "k2"}])
async def test_another_caller_or_key_is_fresh(db: Database, change: dict) -> None:
    await claim(db, CLAIM)
    assert await claim(db, replace(CLAIM, **change)) == [Fresh()]


async def test_within_a_batch_the_second_waits_for_the_first(db: Database) -> None:
    found = await claim(db, CLAIM, CLAIM, replace(CLAIM, body=b"other"))
    assert found == [Fresh(), Running(until=0, fence=0), Mismatch()]


async def test_a_duplicate_waits_for_the_commit_and_replays(db: Database) -> None:
    claimed, go = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with db.work() as work:
            await service.claim(work, [CLAIM])
            claimed.set()
            await go.wait()
            await service.answer(work, [(CLAIM, "done")])

    async def second():
        await claimed.wait()
        waiting = asyncio.ensure_future(claim(db, CLAIM))
        async with db.reader() as reader:
            while not await reader.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not waiting.done()
        go.set()
        return await waiting

    _, found = await asyncio.gather(first(), second())
    assert found == [Replay(answer="done")]


async def test_a_key_released_while_a_duplicate_waits_for_it_is_free(db: Database) -> None:
    """What a landing that was never sent does, while its client repeats the key."""
    await claim(db, CLAIM)
    held, go = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with db.work() as work:
            await service.hold(work, [CLAIM])
            held.set()
            await go.wait()
            await service.release(work, [CLAIM])

    async def second():
        await held.wait()
        waiting = asyncio.ensure_future(claim(db, CLAIM))
        async with db.reader() as reader:
            while not await reader.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not waiting.done()
        go.set()
        return await waiting

    _, found = await asyncio.gather(first(), second())
    assert found == [Fresh()]


async def test_a_rolled_back_claim_leaves_the_key_free(db: Database) -> None:
    with suppress(LookupError):
        async with db.work() as work:
            await service.claim(work, [CLAIM])
            raise LookupError
    assert await claim(db, CLAIM) == [Fresh()]


async def test_a_released_key_is_free(db: Database) -> None:
    async with db.work() as work:
        await service.claim(work, [CLAIM])
        await service.release(work, [CLAIM])
    assert await claim(db, CLAIM) == [Fresh()]


async def test_an_expired_lease_is_taken_over_once(db: Database) -> None:
    await claim(db, CLAIM)
    async with db.work() as work:
        [running] = await service.claim(work, [CLAIM])
        assert isinstance(running, Running)
        assert await service.take_over(work, CLAIM, running) is None
    db.clock.advance(LEASE_MS)
    async with db.work() as work:
        [running] = await service.claim(work, [CLAIM])
        assert await service.take_over(work, CLAIM, running) == 2
    async with db.work() as work:
        [running] = await service.claim(work, [CLAIM])
        assert running.fence == 2
        assert await service.take_over(work, CLAIM, running) is None


async def test_the_reaper_forgets_what_is_over_and_answered(db: Database) -> None:
    async with db.work() as work:
        await service.claim(work, [CLAIM, replace(CLAIM, key="running")])
        await service.answer(work, [(CLAIM, 1)])
    assert await jobs.tick(db) == 0
    db.clock.advance(TTL_MS + 1)
    assert await jobs.tick(db) == 1
    assert await claim(db, CLAIM) == [Fresh()]


def test_the_body_hash_sees_values_not_order() -> None:
    assert rules.body_hash({"a": 1, "b": [1, 2]}) == rules.body_hash({"b": [1, 2], "a": 1})
    for other in (
        {"a": 1, "b": [2, 1]},
        {"a": "1", "b": [1, 2]},
        {"a": 1},
        {"a": True, "b": [1, 2]},
    ):
        assert rules.body_hash({"a": 1, "b": [1, 2]}) != rules.body_hash(other)


@pytest.mark.parametrize("key", [None, "", " ", "a b", "é", "x" * 256, 7, "a\n"])
def test_malformed_keys_are_named(key: object) -> None:
    with pytest.raises(DomainError) as caught:
        rules.check_key(key)
    assert caught.value.code in {"idempotency.key_missing", "idempotency.key_malformed"}
    assert caught.value.field == "idempotencyKey"


def test_refusals_tell_when_to_come_again() -> None:
    assert rules.still_running(5_000, 1_000).facts == {"retry_after_s": 4}
    assert rules.mismatch().code == "idempotency.key_reused"
