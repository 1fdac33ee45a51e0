"""Claim keys for a batch of commands, and store their answers in the same commit."""

from collections.abc import Sequence
from typing import Any, Final

from server_core.db.work import Reader, Work
from server_core.errors import unavailable
from server_core.idempotency import rules, store
from server_core.idempotency.model import Claim, Found, Fresh, Running
from server_core.telemetry import metrics

_ROUNDS: Final = 4


async def claim(work: Work, claims: Sequence[Claim]) -> list[Found]:
    """One finding a claim, in order.

    Within a batch the second of two equal keys is Running with fence 0: its answer is the first
    one's, which the caller has in hand. A duplicate of a claim that another Work has not
    committed yet waits here for that commit.
    """
    first: dict[tuple[str, str], int] = {}
    for place, one in enumerate(claims):
        first.setdefault((one.scope, one.key), place)
    fresh: set[tuple[str, str]] = set()
    stored: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(_ROUNDS):
        missing = [key for key in first if key not in fresh and key not in stored]
        if not missing:
            break
        fresh |= await store.insert(work, [claims[first[key]] for key in missing])
        # A key that was there may be released or reaped while we wait for it: then it is free.
        taken = [key for key in missing if key not in fresh]
        stored |= await store.lock(work, taken) if taken else {}
    else:
        raise unavailable("db.contended", "too many at once: repeat with the same key")
    found: list[Found] = []
    for place, one in enumerate(claims):
        key = (one.scope, one.key)
        if key not in fresh:
            found.append(rules.judge(one, rules.Stored(**stored[key])))
        elif first[key] == place:
            found.append(Fresh())
        else:
            found.append(rules.judge(one, rules.Stored.of(claims[first[key]])))
    for what in found:  # at once: a misused key is refused, and its Work rolled back
        metrics.counter(metrics.IDEMPOTENCY, type(what).__name__.lower()).inc()
    return found


async def look(reader: Reader, one: Claim) -> Found | None:
    """What is known of the key, without claiming it; None when nothing is."""
    row = await store.look(reader, one.scope, one.key)
    return None if row is None else rules.judge(one, rules.Stored(**row))


async def hold(work: Work, claims: Sequence[Claim]) -> None:
    """Lock the keys' rows, so that later locks of this Work come after them."""
    await store.lock(work, [(one.scope, one.key) for one in claims])


async def take_over(work: Work, one: Claim, running: Running) -> int | None:
    """The next fence if the lease has run out, else None. The row is locked by `claim`."""
    if work.now_ms < running.until:
        return None
    return await store.take_over(work, one.scope, one.key)


async def answer(work: Work, answers: Sequence[tuple[Claim, Any]]) -> None:
    """Store what was answered; `release` instead what must not be kept."""
    if answers:
        await store.answer(work, answers)


async def release(work: Work, claims: Sequence[Claim]) -> None:
    if claims:
        await store.release(work, claims)
