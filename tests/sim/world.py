"""A seed's world: its steps on the real ledger and a real PostgreSQL, every law asked after each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from server_core.db.work import Reader
from server_core.errors import DomainError
from server_core.ledger import audit, jobs, rebuild, service
from server_core.ledger.model import Finding, Mode, Result, Transfer
from tests.sim import laws
from tests.sim.dice import Dice
from tests.sim.doing import Attempt, Doing
from tests.sim.laws import Broken, Rows
from tests.sim.model import Answer, Book
from tests.sim.plan import Plan
from tests.sim.stage import Stage
from tests.sim.steps import Step, expiries

AUDIT_EVERY = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """Which law a world broke, where, and all that happened until then."""

    seed: int
    step: int
    law: str
    why: str
    log: tuple[str, ...]


class World:
    """Play one seed. `play` gives the Failure, or None when all laws held to the end."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage, self._plan = stage, Plan(seed)
        self._book = Book(self._plan.accounts)
        self._rows = Rows()
        self._doing = Doing(stage)
        self.log: list[str] = []

    async def play(self, steps: int) -> Failure | None:
        number = 0
        try:
            await self._begin()
            for number in range(steps):
                await self._step(number)
                last = number == steps - 1
                if last or number % AUDIT_EVERY == AUDIT_EVERY - 1:
                    await self._audit(last=last)
        except Broken as broken:
            law, why = broken.law, broken.why
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its seed
            law, why = "nothing fails but what was made to fail", repr(error)
        else:
            return None
        for key, name in self._plan.names.items():
            why = why.replace(str(key), name)
        return Failure(self._plan.seed, number, law, why, tuple(self.log))

    async def _begin(self) -> None:
        await self._stage.clear()
        async with self._stage.db.work() as work:
            await service.open_accounts(work, self._plan.accounts)
        self._rows = await laws.read(self._stage.owner)

    async def _step(self, number: int) -> None:
        step = self._plan.step(number, self._book)
        self._stage.clock.set_wall(step.now)
        self.log += self._told(number, step)
        attempts: list[Attempt] = []
        if step.kind == "limits":
            await self._limits(step)
        elif step.kind == "tick":
            await self._tick(step)
        else:
            attempts = await self._doing.do(step)
        rows = await laws.read(self._stage.owner)
        laws.hold_in_rows(rows)
        laws.hold_since(self._rows, rows)
        self._book_limits(step)
        if step.kind in {"queue", "poisoned", "race"}:
            self._book = _in_order(self._book, attempts, rows)
        else:
            for one in attempts:
                _agree(self._book.ask(one.batch, one.now), one)
        broken = laws.difference(self._book, rows)
        if broken:
            raise broken
        laws.journal_tells(self._book, rows)
        self._rows = rows

    async def _limits(self, step: Step) -> None:
        """What makes no sense is refused, and changes nothing."""
        sound = step.limits is None or step.limits.sound
        try:
            await self._doing.limits(step)
        except DomainError as error:
            if sound or error.code != "ledger.limits":
                raise
        else:
            if not sound:
                raise Broken("a floor above its cap is refused", "it was taken")

    def _book_limits(self, step: Step) -> None:
        new = step.limits
        if new and new.sound:
            self._book.limit(new.account, floor=new.floor, cap=new.cap, closed=new.closed)

    async def _tick(self, step: Step) -> None:
        due = self._book.due(step.now)
        done = await jobs.tick(self._stage.db)
        self._book.ask(expiries(due), step.now)
        if done != len(due):
            raise Broken("what is due is given back, and nothing else", f"{done} of {len(due)}")

    async def _audit(self, *, last: bool) -> None:
        """The books' own auditor must find nothing where the model finds nothing."""
        async with self._stage.db.snapshot() as reader:
            found = [one for one in await audit.findings(reader) if one.fatal]
            if last:
                async for one in rebuild.differences(reader):
                    found += [one] if isinstance(one, Finding) else []
            if found:
                raise Broken("the auditor finds nothing", f"{found[0].law}: {found[0].row}")
            await self._past(reader, Dice(self._plan.seed, len(self.log)))

    async def _past(self, reader: Reader, dice: Dice) -> None:
        moments = [move.at for move in self._book.moves] or [0]
        for account in dice.some(list(self._book.terms), 3):
            at = dice.pick(moments) + dice.pick((0, 0, -1))
            for effective in (False, True):
                found = await service.balance_at(reader, account, at, effective=effective)
                expected = self._book.then(account, at, effective=effective)
                if found is None or not laws.equal(found, expected):
                    raise Broken("the past is the model's", f"account {account} at {at}")

    # -- told -------------------------------------------------------------------------------------

    def _told(self, number: int, step: Step) -> Iterator[str]:
        yield f"step {number}: {step.kind} at {step.now}"
        if step.limits:
            new = step.limits
            terms = f"floor={new.floor} cap={new.cap} closed={new.closed}"
            yield f"    limits {self._name(new.account)} {terms}"
        for place, group in enumerate(step.groups):
            for one in group:
                yield f"    {place}: {self._say(one)}"

    def _name(self, key: object) -> str:
        return self._plan.names.get(key, str(key)[:8])

    def _say(self, one: Transfer) -> str:
        words = [self._name(one.id), one.mode.value, str(one.amount), one.ledger]
        if one.pending_id:
            words.append(f"of {self._name(one.pending_id)}{' final' if one.final else ''}")
        if one.debit or one.credit:
            words.append(f"{self._name(one.debit)} -> {self._name(one.credit)}")
        if one.mode is Mode.PENDING:
            words.append(f"until {one.expires_at}")
        return " ".join(words + ["linked"] * one.linked)


def _agree(expected: list[Answer], attempt: Attempt) -> None:
    why = laws.answers_agree(expected, list(attempt.outcomes))
    if why:
        raise Broken("every answer is the model's", why)


def _in_order(book: Book, attempts: Sequence[Attempt], rows: Rows) -> Book:
    """The book after these commits, in the order of the journal, which must explain all of it."""
    told = laws.journal(rows)
    found = next(_orders(book, list(attempts), rows, told), None)
    if found is None:
        said = [[str(one.result) for one in attempt.outcomes] for attempt in attempts]
        raise Broken("what ran at once is as the journal's order of it", str(said))
    return found


def _unseen(book: Book, attempt: Attempt) -> set[UUID | None]:
    """The holds that were on their way: nothing there to wait at, so the answer is "no such hold".

    Their batch may come into the journal first all the same. A hold that was there before, or is
    in the same batch, must be seen.
    """
    own = {one.id for one in attempt.batch}
    return {
        asked.pending_id
        for asked, outcome in zip(attempt.batch, attempt.outcomes, strict=True)
        if outcome.result is Result.PENDING_TRANSFER_NOT_FOUND
        and asked.pending_id not in book.bound.keys() | own
    }


def _orders(
    book: Book, left: list[Attempt], rows: Rows, told: list[UUID], start: Book | None = None
) -> Iterator[Book]:
    """Every order that fits; a batch that wrote nothing is in no journal, so it may stand anywhere.

    What is bound so far must be what the journal says up to there.
    """
    if not left:
        yield book
    for place, one in enumerate(left):
        trial, before = book.copy(), len(book.moves)
        trial.unseen = _unseen(start or book, one)
        answers = trial.ask(one.batch, one.now)
        trial.unseen = set()
        if (
            laws.answers_agree(answers, list(one.outcomes)) is None
            and list(trial.bound) == told[: len(trial.bound)]
            and all(laws.stands(move, rows) for move in trial.moves[before:])
        ):
            others = left[:place] + left[place + 1 :]
            yield from _orders(trial, others, rows, told, start or book)
