"""A process that posts transfers in batches and never assumes: it repeats an id until it is told.

`python -m tests.crash.load URL JOURNAL --seed N` goes on until SIGTERM, then ends what is under way.
Started again with the same journal it first repeats whatever the last one was not told.
"""

import argparse
import asyncio
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from devices.clock import SystemClock
from devices.entropy import Entropy, SeededEntropy, SystemEntropy
from server_core.db import connect
from server_core.db.batch import Batch
from server_core.db.work import Database, Emitted, Work
from server_core.errors import DomainError
from server_core.events import store as events
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Outcome, Result, Transfer, account_id
from tests.crash.journal import Attempt, Journal, Writer

WALLETS = 24
FUND = 10**12
BOUND_MS = 60_000
TOLD = "crash.posted"
WALLET = [account_id(Code.WALLET, f"crash {n}", "INR") for n in range(WALLETS)]


async def post_many(work: Work, commands: Sequence[Transfer]) -> list[Outcome | DomainError]:
    """As a real verb does it: post, and tell each that this very commit made."""
    outcomes = await ledger.post(work, commands)
    for one, outcome in zip(commands, outcomes, strict=True):
        if outcome.result is Result.CREATED:
            work.emit(
                Emitted(
                    aggregate_type="transfer", aggregate_id=one.id, type=TOLD,
                    payload={"amount": str(one.amount)},
                )
            )  # fmt: skip
    return list(outcomes)


async def settle_in(db: Database) -> None:
    """Accounts and their money, by ids that make a repeat change nothing."""
    house = ledger.account(Code.CLEARING, "upi", "INR")

    async def do(work: Work) -> None:
        wallets = [ledger.account(Code.WALLET, f"crash {n}", "INR") for n in range(WALLETS)]
        await ledger.open_accounts(work, [house, *wallets])
        first = [
            Transfer(id=derived("crash fund", n), debit=house.id, credit=one.id, amount=FUND)
            for n, one in enumerate(wallets)
        ]
        assert all(outcome.ok for outcome in await ledger.post(work, first))

    await db.transact(do)


def attempts(entropy: Entropy, journal: Journal, seed: str) -> Iterator[Attempt]:
    yield from journal.open
    number = len(journal.attempts)
    while True:
        debit = entropy.below(WALLETS)
        credit = (debit + 1 + entropy.below(WALLETS - 1)) % WALLETS
        yield Attempt(
            id=derived("crash", seed, number), debit=WALLET[debit], credit=WALLET[credit],
            amount=1 + entropy.below(100),
        )  # fmt: skip
        number += 1


class Load:
    def __init__(self, db: Database, writer: Writer, source: Iterator[Attempt]) -> None:
        self.queue = Batch(db, post_many, keys=lambda one: (one.debit, one.credit))
        self.clock, self.writer, self.source = db.clock, writer, source
        self.stopping = False

    async def caller(self) -> None:
        while not self.stopping:
            attempt = next(self.source)
            self.writer.line("try", attempt.id, attempt.debit, attempt.credit, attempt.amount)
            outcome = await self.carry(attempt.transfer())
            self.writer.line("told", attempt.id, outcome.result.value)

    async def carry(self, transfer: Transfer) -> Outcome:
        """The same id again until it has an outcome: that is how a lost commit is looked up."""
        until = self.clock.monotonic_ms() + BOUND_MS
        while True:
            try:
                return await self.queue.submit(transfer)
            except DomainError as error:
                self.writer.line("error", error.code)
                if self.clock.monotonic_ms() > until:
                    raise
            await self.clock.sleep(0.02)


async def run(url: str, journal: Path, callers: int, seed: str) -> None:
    known = Journal(journal).read()
    writer = Writer(journal)
    db = await Database.connect(
        url, clock=SystemClock(), entropy=SystemEntropy(), flush=events.flush, connections=6
    )
    try:
        await settle_in(db)
        source = attempts(SeededEntropy(f"{seed} {len(known.attempts)}"), known, seed)
        load = Load(db, writer, source)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: setattr(load, "stopping", True))
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(load.caller())
        await load.queue.close()
    except BaseException as error:
        writer.line("bug", repr(error), [repr(one) for one in getattr(error, "exceptions", ())])
        raise
    finally:
        await db.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--host-s", type=float, default=1, help="how long one of several may take")
    given = parser.parse_args()
    connect.HOST_S = given.host_s
    asyncio.run(run(given.url, given.journal, given.callers, given.seed))
