"""Rebuilds every account from the journal and compares: entries on the way, totals at the end."""

from collections.abc import AsyncIterator

from server_core.db.work import Reader, Row
from server_core.ledger import history
from server_core.ledger.model import Finding
from server_core.ledger.replay import Replay, Said
from server_core.ledger.store import SUMS

_PROGRESS = 10_000


async def differences(reader: Reader) -> AsyncIterator[Finding | int]:
    """A Finding for the first row of each account that the journal does not say, and progress.

    Reads the transfers once, in the order of the accounts' versions; memory is one account's open
    holds. Yields the number of entries replayed now and then. Hand in a snapshot's Reader.
    """
    accounts = {row["id"]: row for row in await history.account_totals(reader)}
    replay: Replay | None = None
    broken = done = 0
    async for row in history.sides(reader):
        said = Said(*row)
        if replay is None or replay.account != said.account:
            if replay is not None and not broken and (found := _end(replay, accounts)):
                yield found
            replay, broken = Replay(said.account), 0
        wrong = replay.add(said) if not broken else None
        if wrong is not None:
            broken = 1
            accounts.pop(said.account, None)
            yield Finding(
                law="the journal replayed gives the entries",
                row=f"entry {said.account} version {said.version}: {wrong}",
            )
        done += 1
        if done % _PROGRESS == 0:
            yield done
    if replay is not None and not broken and (found := _end(replay, accounts)):
        yield found
    for row in accounts.values():  # what no transfer names stands at nothing
        if (rest := _differs(Replay(row["id"]), row)) is not None:
            yield rest
    yield done


def _end(replay: Replay, accounts: dict[object, Row]) -> Finding | None:
    row = accounts.pop(replay.account, None)
    if row is None:
        return Finding(
            law="the journal names accounts that there are", row=f"account {replay.account}"
        )
    return _differs(replay, row)


def _differs(replay: Replay, row: Row) -> Finding | None:
    stands = (row["version"], *(row[name] for name in SUMS))
    if stands == (replay.version, *replay.totals):
        return None
    return Finding(
        law="the journal replayed gives the balances",
        row=f"account {replay.account}: it says {stands[1:]}, the journal {replay.totals}",
    )
