"""How a step is done: alone, in a queue, against each other, and with every kind of crash."""

import asyncio
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import asyncpg
from asyncpg.transaction import Transaction

from server_core.db.batch import Batch
from server_core.db.work import Work
from server_core.errors import DomainError
from server_core.ledger import service
from server_core.ledger.model import Outcome, Transfer
from tests.sim.laws import Broken
from tests.sim.stage import Stage
from tests.sim.steps import Step

POLLS = 60


class Interrupted(Exception):  # noqa: N818 - it is no error of the ledger's
    """Raised inside a Work: the process stumbles after the write and before COMMIT."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch that was committed, at its Work's time, and what the client was told."""

    batch: Sequence[Transfer]
    now: int
    outcomes: Sequence[Outcome]


class Doing:
    """The client's side of a world: it sends, crashes, does not know, and sends again."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._db = stage, stage.db

    async def do(self, step: Step) -> list[Attempt]:
        """Do it; what was committed, in order unless several Works ran at once."""
        if step.kind == "post":
            return [await self.send(step.groups[0])]
        if step.kind == "twice":
            return await self._twice(step)
        if step.kind == "race":
            return await self._race(step)
        if step.kind in {"queue", "poisoned"}:
            return await self._queue(step)
        return await self._crash(step)

    async def limits(self, step: Step) -> None:
        async with self._db.work() as work:
            await _set_limits(work, step)

    async def send(self, batch: Sequence[Transfer]) -> Attempt:
        async def do(work: Work) -> Attempt:
            return await self._post(work, batch)

        return await self._db.transact(do)

    async def _post(self, work: Work, batch: Sequence[Transfer]) -> Attempt:
        return Attempt(batch, work.now_ms, await service.post(work, batch))

    async def _twice(self, step: Step) -> list[Attempt]:
        """Several batches in one Work: the later ones see what the earlier ones wrote."""
        async with self._db.work() as work:
            if step.limits:
                await _set_limits(work, step)
            return [await self._post(work, group) for group in step.groups]

    # -- at once ----------------------------------------------------------------------------------

    async def _queue(self, step: Step) -> list[Attempt]:
        """Callers of one queue. What it groups, splits or runs again is its own affair."""
        dice = step.dice
        poison = dice.pick(range(len(step.groups))) if step.kind == "poisoned" else None
        stumbles = 1 if step.kind == "poisoned" and dice.chance(2) else 0
        runs: list[tuple[Attempt, dict[int, list[Outcome]]]] = []

        async def run(work: Work, commands: Sequence[Any]) -> list[Any]:
            nonlocal stumbles
            attempt = await self._post(work, [one for _, group in commands for one in group])
            if poison in {place for place, _ in commands}:
                raise Interrupted
            if stumbles and len(commands) > 1:
                stumbles -= 1
                raise Interrupted
            rest, answers = list(attempt.outcomes), {}
            for place, group in commands:
                answers[place], rest = rest[: len(group)], rest[len(group) :]
            runs.append((attempt, answers))
            return list(answers.values())

        queue: Any = Batch(
            self._db, run, keys=_accounts if dice.chance(2) else lambda _: (),
            limit=dice.between(1, 6), lanes=dice.between(1, 3),
        )  # fmt: skip
        told = await asyncio.gather(
            *(queue.submit((place, group)) for place, group in enumerate(step.groups)),
            return_exceptions=True,
        )
        await queue.close()
        # A run whose answers reached its callers is one that was committed.
        heard = {id(answer) for answer in told}
        done = [pair for pair in runs if heard & {id(one) for one in pair[1].values()}]
        for place, answer in enumerate(told):
            if isinstance(answer, BaseException) != (place == poison):
                raise Broken("a poisoned command fails alone", f"command {place}: {answer!r}")
            if place != poison and not any(answer is one.get(place) for _, one in done):
                raise Broken("each caller hears its own outcome", f"command {place}: {answer!r}")
        return [attempt for attempt, _ in done]

    # -- against each other -----------------------------------------------------------------------

    async def _race(self, step: Step) -> list[Attempt]:
        """Works that hold their locks while the next one comes; then COMMIT, or fall, in any order."""
        racers = [_Racer(self, group, falls=step.dice.chance(6)) for group in step.groups]
        for racer in racers:
            racer.task = asyncio.create_task(racer.run())
            for _ in range(POLLS):
                if racer.posted.is_set() or racer.task.done() or await self._stage.waiting():
                    break
        for racer in step.dice.some(racers, len(racers)):
            racer.go.set()
            if racer.posted.is_set():
                await asyncio.wait([racer.task], timeout=20)
        async with asyncio.timeout(30):
            await asyncio.gather(*(racer.task for racer in racers if racer.task))
        ids = [{one.id for one in group} for group in step.groups]
        if len(set().union(*ids)) == sum(map(len, ids)) and any(r.tries > 1 for r in racers):
            raise Broken("who waits for a lock need not begin again", "two Works collided")
        return [racer.attempt for racer in racers if racer.attempt]

    # -- crashes ----------------------------------------------------------------------------------

    async def _crash(self, step: Step) -> list[Attempt]:
        """A batch whose first sending goes wrong in one of four ways; the client sends it again."""
        batch = step.groups[0]
        first: list[Attempt] = []
        if step.kind == "raised":
            await self._raised(batch)
            if step.dice.chance(2):
                return []
        elif step.kind == "killed":
            await self._unheard(batch, "db.unreachable", self._killed(batch))
        elif step.kind == "unsent":
            await self._unheard(batch, "db.commit_unknown", self._unsent(batch))
        else:
            with _answer_lost():
                await self._unheard(batch, "db.commit_unknown", self._lost(batch, first))
        return [*first, await self.send(batch)]

    async def _raised(self, batch: Sequence[Transfer]) -> None:
        with suppress(Interrupted):
            async with self._db.work() as work:
                await self._post(work, batch)
                raise Interrupted

    async def _unheard(self, batch: Sequence[Transfer], code: str, sending: Any) -> None:
        try:
            await sending
        except DomainError as error:
            if error.code == code:
                return
            raise
        raise Broken("a lost connection is said to be one", f"{code} not raised for {len(batch)}")

    async def _killed(self, batch: Sequence[Transfer]) -> None:
        async with self._db.work() as work:
            await self._post(work, batch)
            await self._stage.kill(await work.value("SELECT pg_backend_pid()"))
            await work.value("SELECT 1")

    async def _unsent(self, batch: Sequence[Transfer]) -> None:
        async with self._db.work() as work:
            await self._post(work, batch)
            work.emitted.clear()  # so that COMMIT itself is what finds the connection gone
            await self._stage.kill(await work.value("SELECT pg_backend_pid()"))

    async def _lost(self, batch: Sequence[Transfer], first: list[Attempt]) -> None:
        async with self._db.work() as work:
            first.append(await self._post(work, batch))


class _Racer:
    """One Work of a race: it posts, says so, and waits with its locks until it may go on."""

    def __init__(self, doing: Doing, batch: Sequence[Transfer], *, falls: bool) -> None:
        self._doing, self._batch, self._falls = doing, batch, falls
        self.posted, self.go = asyncio.Event(), asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.attempt: Attempt | None = None
        self.tries = 0

    async def run(self) -> None:
        try:
            self.attempt = await self._doing._db.transact(self._once)
        except Interrupted:
            return

    async def _once(self, work: Work) -> Attempt:
        self.tries += 1
        attempt = await self._doing._post(work, self._batch)
        self.posted.set()
        await self.go.wait()
        if self._falls:
            raise Interrupted
        return attempt


async def _set_limits(work: Work, step: Step) -> None:
    new = step.limits
    if new is not None:
        await service.set_limits(work, new.account, floor=new.floor, cap=new.cap, closed=new.closed)


def _accounts(command: Any) -> set[Any]:
    return {side for one in command[1] for side in (one.debit, one.credit) if side}


@contextmanager
def _answer_lost() -> Any:
    """COMMIT reaches the server and is done; the answer to it does not arrive."""
    commit = Transaction.commit

    async def lost(self: Any) -> None:
        await commit(self)
        raise asyncpg.ConnectionDoesNotExistError("the answer was lost")

    with patch.object(Transaction, "commit", lost):
        yield
