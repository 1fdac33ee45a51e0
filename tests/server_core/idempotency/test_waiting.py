"""A duplicate that waits: what it is told when the first one answers, gives up, dies or is slow."""

import asyncio

import pytest
from msgspec.structs import replace

from devices.clock import ManualClock
from server_core.db.work import Database
from server_core.errors import DomainError, conflict, denied, invalid, limited, unavailable
from server_core.idempotency import jobs, rules, service, waiting
from server_core.idempotency.model import (
    LEASE_MS,
    TTL_MS,
    WAIT_MS,
    Claim,
    Repeated,
    Replay,
    Running,
)

CLAIM = Claim(scope="asha", key="k1", verb="pay", body=rules.body_hash({"amount": 1}))


class Later(ManualClock):
    """Calls `then` when somebody has slept for as long as `after_ms`."""

    def __init__(self, clock: ManualClock, after_ms: int, then) -> None:
        super().__init__(clock.now_ms(), clock.monotonic_ms())
        self.at_ms, self.then = clock.monotonic_ms() + after_ms, then

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.then is not None and self.monotonic_ms() >= self.at_ms:
            then, self.then = self.then, None
            await then()


async def begin(db: Database) -> None:
    async with db.work() as work:
        await service.claim(work, [CLAIM])


async def wait(db: Database, claim: Claim = CLAIM) -> Replay | None:
    return await waiting.first_answer(db, claim, db.clock.monotonic_ms())


async def refused(awaitable) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value


async def test_the_answer_is_told_when_it_comes(db: Database) -> None:
    await begin(db)

    async def answer() -> None:
        async with db.work() as work:
            await service.answer(work, [(CLAIM, "done")])

    db.clock = Later(db.clock, 3_000, answer)
    assert await wait(db) == Replay(answer="done")
    assert db.clock.then is None


async def test_a_first_one_that_decided_nothing(db: Database) -> None:
    await begin(db)

    async def release() -> None:
        async with db.work() as work:
            await service.release(work, [CLAIM])

    db.clock = Later(db.clock, 3_000, release)
    assert (await refused(wait(db))).code == "idempotency.undecided"


async def test_ten_seconds_then_come_again(db: Database) -> None:
    await begin(db)
    began = db.clock.monotonic_ms()
    said = await refused(wait(db))
    assert said.code == "idempotency.still_running"
    assert said.facts == {"retry_after_s": rules.MAX_RETRY_S}
    assert WAIT_MS <= db.clock.monotonic_ms() - began <= WAIT_MS + 200


async def test_a_lease_that_has_run_out_is_for_the_taking(db: Database) -> None:
    await begin(db)
    db.clock.advance(LEASE_MS - 2_000)
    assert await wait(db) is None


async def test_a_key_that_was_used_anew_meanwhile(db: Database) -> None:
    await begin(db)
    other = replace(CLAIM, body=b"other")
    assert (await refused(wait(db, other))).code == "idempotency.key_reused"


async def test_waiting_locks_nothing(db: Database) -> None:
    """Whoever lands the answer holds the row; a duplicate looks past the lock."""
    await begin(db)
    async with db.work() as work:
        await service.hold(work, [CLAIM])
        assert (await asyncio.wait_for(refused(wait(db)), 10)).code == "idempotency.still_running"


@pytest.mark.parametrize(
    ("refusal", "kept"),
    [
        (conflict("payments.insufficient_funds", "…"), True),
        (limited("payments.over_limit", "…"), True),
        (invalid("money.amount", "…"), False),
        (denied("sessions.step_up_required", "…"), False),
        (denied("payments.role", "…"), False),
        (unavailable("payments.rail_unavailable", "…"), False),
    ],
)
def test_which_refusals_are_answers(refusal: DomainError, kept: bool) -> None:
    assert rules.is_kept(refusal) is kept


def test_a_refusal_told_again_says_the_same() -> None:
    first = limited("payments.over_limit", "too much", field="amount", limit=5)
    again = Repeated.of(first)
    assert isinstance(again, DomainError)
    for name in ("kind", "code", "message", "field", "facts"):
        assert getattr(again, name) == getattr(first, name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, "1"), (1, True), (0, False), (0, None), (0, -0.0), ("", None),
        ("caf\u00e9", "cafe\u0301"), ("a", "A"), ("a", "a "), ([], {}), ([1, 2], [2, 1]),
        ({"a": None}, {}), ({"a": 1}, {"b": 1}), ("1e3", "1000"), (2**53, 2**53 + 1),
    ],
)  # fmt: skip
def test_values_that_differ_differ(one: object, other: object) -> None:
    assert rules.body_hash({"v": one}) != rules.body_hash({"v": other})


def test_key_order_does_not_matter_at_any_depth() -> None:
    one = {"a": {"x": 1, "y": [{"p": 1, "q": 2}]}, "b": 2}
    other = {"b": 2, "a": {"y": [{"q": 2, "p": 1}], "x": 1}}
    assert rules.body_hash(one) == rules.body_hash(other)


async def test_the_reaper_takes_all_that_is_over_page_by_page(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PAGE", 3)
    claims = [replace(CLAIM, key=f"k{i}") for i in range(10)]
    async with db.work() as work:
        await service.claim(work, claims)
        await service.answer(work, [(one, 1) for one in claims[:8]])
    db.clock.advance(TTL_MS + 1)
    monkeypatch.setattr(jobs, "PAGES", 2)
    assert await jobs.tick(db) == 6
    assert await jobs.tick(db) == 2
    async with db.work() as work:
        left = await service.claim(work, claims[8:])
    assert all(isinstance(one, Running) for one in left)


async def test_two_reapers_do_not_meet(db: Database) -> None:
    async with db.work() as work:
        assert await work.try_lock(f"idempotency.reaper:{db.cell}")
        assert await jobs.tick(db) == 0


async def test_what_is_over_is_found_by_the_index(db: Database) -> None:
    async with db.reader() as reader:
        plan = await reader.rows(
            "EXPLAIN SELECT scope, key FROM idempotency WHERE expires_at < 1 AND state = 'done'"
            " ORDER BY expires_at LIMIT 10"
        )
    assert "idempotency_expiry" in "\n".join(row[0] for row in plan)
