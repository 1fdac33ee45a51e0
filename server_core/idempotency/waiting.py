"""A duplicate of a command that is with a rail: wait for the first one's answer, for a while."""

from typing import Final

from server_core.db.work import Database
from server_core.idempotency import rules, store
from server_core.idempotency.model import WAIT_MS, Claim, Mismatch, Replay, Running

_PAUSE_S: Final = 0.1


async def first_answer(db: Database, claim: Claim, began_ms: int) -> Replay | None:
    """What the first request was answered, or None when its lease has run out: it may be taken over.

    `began_ms` (monotonic) is when the duplicate came. It only looks: a duplicate that waits writes
    nothing and holds no lock. Raises idempotency.still_running after WAIT_MS, idempotency.undecided
    when the first one ended with nothing decided, idempotency.key_reused when its key was used
    anew meanwhile.
    """
    while True:
        await db.clock.sleep(_PAUSE_S)
        async with db.reader() as reader:
            row = await store.look(reader, claim.scope, claim.key)
        if row is None:
            raise rules.undecided()
        found = rules.judge(claim, rules.Stored(**row))
        if isinstance(found, Replay):
            return found
        if isinstance(found, Mismatch):
            raise rules.mismatch()
        if isinstance(found, Running):
            now_ms = db.clock.now_ms()
            if now_ms >= found.until:
                return None
            if db.clock.monotonic_ms() - began_ms >= WAIT_MS:
                raise rules.still_running(found.until, now_ms)
