"""Group commit: commands that wait together are decided, written and committed together.

One queue a verb. What waits (up to `limit`) is drained into one Work; callers are answered only
after COMMIT. When a batch fails for a technical reason it is rolled back and its commands run one
by one, so that a poisoned one fails alone.

Several lanes may be under way at once. A lane leaves in the queue what would wait for a row that
another lane has locked (`keys` names a command's rows), so that lanes work beside each other
instead of behind each other. PostgreSQL's locks alone keep the books right: this is for speed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from server_core.db.work import Database, Work
from server_core.errors import DomainError, limited, unavailable

Command = TypeVar("Command")
Result = TypeVar("Result")
_TURNS: Final = 24
_STILL: Final = 6
"""A turn in which nobody came says little: a request takes several turns from socket to queue."""
_Waiting = tuple[Command, "asyncio.Future[Result]", tuple[Hashable, ...]]
RunMany = Callable[[Work, Sequence[Command]], Awaitable[Sequence[Result | DomainError]]]


class Batch(Generic[Command, Result]):
    """`submit` one command, get its outcome after the commit that holds it.

    `lanes` batches may be under way at once; `depth` bounds the queue (more is db.overloaded).
    """

    __slots__ = (
        "_busy", "_closed", "_database", "_depth", "_free", "_keys", "_limit", "_queue", "_run",
        "_tasks",
    )  # fmt: skip

    def __init__(
        self,
        database: Database,
        run: RunMany[Command, Result],
        *,
        keys: Callable[[Command], Iterable[Hashable]] = lambda _: (),
        limit: int = 500,
        lanes: int = 3,
        depth: int = 20_000,
    ) -> None:
        self._database, self._run, self._keys = database, run, keys
        self._limit, self._free, self._depth = limit, lanes, depth
        self._queue: deque[_Waiting[Command, Result]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[Hashable] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many commands no Work has taken yet."""
        return len(self._queue)

    async def submit(self, command: Command) -> Result:
        """The outcome of `command`; raises the DomainError it was refused with.

        A caller that goes away does not take back its command: others may have joined it.
        """
        if self._closed:
            raise unavailable("db.closing", "the server is stopping: repeat with the same key")
        if len(self._queue) >= self._depth:
            raise limited("db.overloaded", "too much is waiting: repeat in a second, same key")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((command, future, tuple(self._keys(command))))
        self._open_lane()
        return await future

    async def close(self) -> None:
        """Take nothing more; wait for what was taken."""
        self._closed = True
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _open_lane(self) -> None:
        if self._free > 0:
            self._free -= 1
            task = asyncio.create_task(self._lane())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lane(self) -> None:
        try:
            await self._drain()
        finally:  # in the same turn as the queue was seen empty: no command falls between two lanes
            self._free += 1

    async def _drain(self) -> None:
        while self._queue:
            await self._join()
            taken = self._take()
            if not taken:
                return  # what waits waits for a lane that is under way, and that one goes on
            held = {key for _, _, keys in taken for key in keys}
            self._busy |= held
            try:
                if await self._commit(taken) is not None and len(taken) > 1:
                    await self._run_alone(taken)
            finally:
                self._busy -= held
            if len(self._queue) > 1:
                self._open_lane()

    def _take(self) -> "list[_Waiting[Command, Result]]":
        """What waits, in order, up to `limit`, but for what another lane's rows are part of.

        What is left behind keeps its rows for itself too: nobody overtakes it on the same row.
        """
        taken: list[_Waiting[Command, Result]] = []
        left: list[_Waiting[Command, Result]] = []
        busy = self._busy.copy() if self._busy else set()
        while self._queue and len(taken) < self._limit and len(left) < self._limit:
            one = self._queue.popleft()
            if busy and not busy.isdisjoint(one[2]):
                left.append(one)
                busy.update(one[2])
            else:
                taken.append(one)
        self._queue.extendleft(reversed(left))
        return taken

    async def _join(self) -> None:
        """Let peers that are on their way join: a few turns of the loop, while the queue grows.

        A commit costs much the same for one command as for twenty.
        """
        still = 0
        for _ in range(_TURNS):
            before = len(self._queue)
            await self._database.clock.sleep(0)
            if not self._queue or len(self._queue) >= self._limit:
                return
            still = still + 1 if len(self._queue) == before else 0
            if still == _STILL:
                return

    async def _run_alone(self, taken: "list[_Waiting[Command, Result]]") -> None:
        """Each in a Work of its own; once the database is away, the rest is told so at once.

        Otherwise hundreds would wait in turn, each as long as one waits for a connection.
        """
        for place, one in enumerate(taken):
            error = await self._commit([one])
            if isinstance(error, DomainError) and error.code == "db.unreachable":
                for _, future, _ in taken[place + 1 :]:
                    _settle(future, unavailable("db.unreachable", error.message))
                return

    async def _commit(self, taken: "list[_Waiting[Command, Result]]") -> Exception | None:
        """Run and commit `taken`; what it failed with: one alone is told so, a group is run alone."""

        async def run(work: Work) -> Sequence[Result | DomainError]:
            outcomes = await self._run(work, [command for command, _, _ in taken])
            if len(outcomes) != len(taken):  # before COMMIT: nobody would be told
                raise AssertionError(f"{len(taken)} commands, {len(outcomes)} outcomes")
            return outcomes

        try:
            outcomes = await self._database.transact(run)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller, or tried alone
            if len(taken) == 1:
                _settle(taken[0][1], error)
            return error
        for (_, future, _), outcome in zip(taken, outcomes, strict=True):
            _settle(future, outcome)
        return None


def _settle(future: "asyncio.Future[Result]", outcome: Result | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # seen: a caller that went away leaves no warning
    else:
        future.set_result(outcome)
