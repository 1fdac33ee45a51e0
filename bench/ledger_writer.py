"""A single writer that caches balances, to say by measurement whether it is worth its complexity.

Not the product: one process may write, a failed commit would void what was decided upon it, and
floors changed elsewhere are not seen. It decides over its own copy of the balances, and overlaps a
batch's decision with the writing of the one before.
"""

import asyncio
from collections import deque
from time import perf_counter

from server_core.db.work import Database, Emitted, Work
from server_core.ledger import rules, store
from server_core.ledger.model import Decision, Known, Outcome, Standing, Transfer
from server_core.ledger.service import JOURNAL, POSTED

LIMIT = 500
LANES = 2


class Writer:
    def __init__(self, db: Database, accounts: dict[object, Standing]) -> None:
        self._db, self._accounts = db, accounts
        self._queue: deque[tuple[Transfer, asyncio.Future[Outcome]]] = deque()
        self._lanes, self._turn = 0, asyncio.Lock()

    async def submit(self, move: Transfer) -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((move, future))
        if self._lanes < LANES:
            self._lanes += 1
            asyncio.create_task(self._lane())  # noqa: RUF006 - the queue keeps it alive
        return await future

    async def _lane(self) -> None:
        while self._queue:
            await asyncio.sleep(0)
            async with self._turn:  # decided and written in one order
                taken = [self._queue.popleft() for _ in range(min(LIMIT, len(self._queue)))]
                if not taken:
                    continue
                work_context = self._db.work()
                work = await work_context.__aenter__()
                decision = self._decide([move for move, _ in taken], work)
                await store.write(work, decision)
            _tell(work, decision)
            await work_context.__aexit__(None, None, None)
            for (_, future), outcome in zip(taken, decision.outcomes, strict=True):
                future.set_result(outcome)
        self._lanes -= 1

    def _decide(self, moves: list[Transfer], work: Work) -> Decision:
        known = {side: self._accounts[side] for move in moves for side in (move.debit, move.credit)}
        for account in known.values():
            account.line = -1
        return rules.decide(moves, Known(known), work.now_ms)  # type: ignore[arg-type]


def _tell(work: Work, decision: Decision) -> None:
    ids = [made.transfer.id for made in decision.transfers]
    work.emit(
        Emitted(
            aggregate_type="journal",
            aggregate_id=JOURNAL,
            type=POSTED,
            payload={"transfers": ids},
        ),
        *(
            Emitted(
                aggregate_type="transfer",
                aggregate_id=made.transfer.id,
                type="transfer.posted",
                payload={"amount": str(made.transfer.amount)},
            )
            for made in decision.transfers
        ),
    )


async def run(db: Database, moves: list[Transfer], callers: int) -> float:
    """Transfers a second through the cached writer."""
    ids = {side for move in moves for side in (move.debit, move.credit) if side}
    async with db.work() as work:
        accounts = await store.lock_accounts(work, ids)
    writer = Writer(db, dict(accounts))
    todo = iter(moves)

    async def caller() -> None:
        for move in todo:
            outcome = await writer.submit(move)
            if not outcome.ok:
                raise RuntimeError(outcome.result)

    began = perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(moves) / (perf_counter() - began)
