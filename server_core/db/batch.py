"""Group commit: commands that wait together are decided, written and committed together.

One queue a verb. What waits (up to `limit`) is drained into one Work; callers are answered only
after COMMIT. When a batch fails for a technical reason it is rolled back and its commands run one
by one, so that a poisoned one fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from server_core.db.work import Database, Work
from server_core.errors import DomainError, limited, unavailable

Command = TypeVar("Command")
Result = TypeVar("Result")
_TURNS: Final = 8
RunMany = Callable[[Work, Sequence[Command]], Awaitable[Sequence[Result | DomainError]]]


class Batch(Generic[Command, Result]):
    """`submit` one command, get its outcome after the commit that holds it.

    `lanes` batches may be under way at once; `depth` bounds the queue (more is db.overloaded).
    """

    __slots__ = ("_closed", "_database", "_depth", "_lanes", "_limit", "_queue", "_run", "_tasks")

    def __init__(
        self,
        database: Database,
        run: RunMany[Command, Result],
        *,
        limit: int = 500,
        lanes: int = 2,
        depth: int = 20_000,
    ) -> None:
        self._database, self._run = database, run
        self._limit, self._lanes, self._depth = limit, lanes, depth
        self._queue: deque[tuple[Command, asyncio.Future[Result]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, command: Command) -> Result:
        """The outcome of `command`; raises the DomainError it was refused with."""
        if self._closed:
            raise unavailable("db.closing", "the server is stopping: repeat with the same key")
        if len(self._queue) >= self._depth:
            raise limited("db.overloaded", "too much is waiting: repeat in a second, same key")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((command, future))
        if len(self._tasks) < self._lanes:
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # A caller that goes away does not take back a command that others may have joined.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Take nothing more; wait for what was taken."""
        self._closed = True
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _drain(self) -> None:
        while self._queue:
            await self._join()
            count = min(self._limit, len(self._queue))
            taken = [self._queue.popleft() for _ in range(count)]
            if taken and not await self._commit(taken):
                for one in taken:
                    await self._commit([one])

    async def _join(self) -> None:
        """Let peers that are on their way join: a few turns of the loop, while the queue grows.

        A commit costs much the same for one command as for twenty.
        """
        for _ in range(_TURNS):
            before = len(self._queue)
            await self._database.clock.sleep(0)
            if len(self._queue) in {before, 0} or len(self._queue) >= self._limit:
                return

    async def _commit(self, taken: list[tuple[Command, asyncio.Future[Result]]]) -> bool:
        """Run and commit `taken`; False when it failed as a group and must run one by one."""

        async def run(work: Work) -> Sequence[Result | DomainError]:
            return await self._run(work, [command for command, _ in taken])

        try:
            outcomes = await self._database.transact(run)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller, or tried alone
            if len(taken) > 1:
                return False
            _settle(taken[0][1], error)
            return True
        for (_, future), outcome in zip(taken, outcomes, strict=True):
            _settle(future, outcome)
        return True


def _settle(future: "asyncio.Future[Result]", outcome: Result | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # seen: a caller that went away leaves no warning
    else:
        future.set_result(outcome)
