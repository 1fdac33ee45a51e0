"""One server process of several: posts its share by group commit and prints when it began and ended."""

import json
import sys
import time
from uuid import UUID

import uvloop

from bench.cluster import database
from bench.ledger import ACCOUNTS, group_commit, moves
from server_core.ledger.model import Code, account_id


async def main(url: str, seed: int, n: int, callers: int) -> None:
    wallets: list[UUID] = [account_id(Code.WALLET, i, "INR") for i in range(ACCOUNTS)]
    async with database(url) as db:
        todo = moves(wallets, n, seed)
        await group_commit(db, moves(wallets, 2_000, seed + 1), callers)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.time()
        await group_commit(db, todo, callers)
        print(json.dumps({"began": began, "ended": time.time()}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
