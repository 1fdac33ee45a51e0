"""Vouchers settled over HTTP by the real server, beside the floor of two verifies and a posted transfer.

TERMINALS send at once, each its journal in batches of 500 accepted vouchers, to one server process.
The floor is the same vouchers verified and posted in this process, with nothing else done for them.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import uvloop

from bench.cluster import cluster, database
from bench.figures import Figure, percentile, report
from bench.graphql import wait_for
from offline.model import Bundle
from offline.sync import SignedAnswer
from offline.verdicts import Verdict
from offline.verify import check_for_settlement
from offline.wire import SignedVoucher
from server_core.app import open_core
from server_core.db import embedded
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.settings import Settings
from tests.server_core.vouchers.street import Phone, Shop, Street

TERMINALS, BATCHES, BATCH = 4, 15, 500
AMOUNT, A_PHONE = 2_000, 10
FLOOR_N = 10_000
ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class Load:
    """Shops whose journals hold what they took, and all the vouchers in them."""

    street: Street
    shops: list[Shop]
    vouchers: list[SignedVoucher]


async def populate(home: Path) -> Load:
    """A phone for each ten vouchers, its allowance hardly used up."""
    async with open_core(Settings.read({"HUNDI_HOME": str(home)})) as core:
        street = Street(core.db, core.trust)
        shops = [await street.shop() for _ in range(TERMINALS)]
        sold: list[SignedVoucher] = []
        each = BATCHES * BATCH // A_PHONE
        for shop in shops:
            for _ in range(each):
                phone: Phone = await street.phone()
                made = [phone.pay(shop, AMOUNT) for _ in range(A_PHONE)]
                shop.accept(*made)
                sold += made
        return Load(street, shops, sold)


async def send(shop: Shop, port: int, waits: list[float]) -> None:
    """One terminal's batches, each after the answer of the one before."""
    journal, links = shop.journal, shop.links
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for upto in range(BATCH, len(journal) + 1, BATCH):
        shop.journal, shop.links = journal[:upto], links[:upto]
        body = shop.request()
        began = perf_counter()
        writer.write(
            f"POST /edge/sync HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cbor\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        raw = await reader.readexactly(size)
        waits.append((perf_counter() - began) * 1000)
        answer = SignedAnswer.from_bytes(raw).answer
        if answer.verdict is not Verdict.ACCEPTED or len(answer.items) != BATCH:
            raise RuntimeError(f"a batch was answered {answer.verdict}")
        if {one.result for one in answer.items} != {Verdict.ACCEPTED}:
            raise RuntimeError("an honest voucher was refused")
        shop.acked = answer.acked_seq
    writer.close()


async def over_http(home: Path, port: int) -> tuple[float, list[float], Load]:
    load = await populate(home)
    waits: list[float] = []
    began = perf_counter()
    await asyncio.gather(*(send(one, port, waits) for one in load.shops))
    return len(load.vouchers) / (perf_counter() - began), waits, load


def batches(vouchers: list[SignedVoucher]) -> Iterator[list[SignedVoucher]]:
    return (vouchers[at : at + BATCH] for at in range(0, len(vouchers), BATCH))


def verified(vouchers: list[SignedVoucher], bundle: Bundle) -> None:
    for one in vouchers:
        if check_for_settlement(one, bundle) is not Verdict.ACCEPTED:
            raise RuntimeError("a good voucher does not verify")


async def floor(load: Load) -> float:
    """Vouchers a second: both signatures of each, and its transfer, group-committed by 500."""
    bundle, vouchers = load.street.keys.bundle.bundle, load.vouchers[:FLOOR_N]
    async with cluster() as url, database(url) as db:
        holds = {one.allowance.aid for one in vouchers}
        async with db.work() as work:
            shop = ledger.account(Code.PAYABLE, "shop", "INR")
            source = ledger.account(Code.CLEARING, "upi", "INR")
            accounts = [ledger.account(Code.OFFLINE, aid.hex(), "INR") for aid in holds]
            await ledger.open_accounts(work, [shop, source, *accounts])
            await ledger.post(
                work,
                [
                    Transfer(
                        id=derived("fund", one.id), debit=source.id, credit=one.id, amount=10**9
                    )
                    for one in accounts
                ],
            )
        began = perf_counter()
        for part in batches(vouchers):
            await asyncio.to_thread(verified, part, bundle)
            async with db.work() as work:
                outcomes = await ledger.post(
                    work,
                    [
                        Transfer(
                            id=derived("voucher", one.h.hex()),
                            debit=account_id(Code.OFFLINE, one.allowance.aid.hex(), "INR"),
                            credit=shop.id,
                            amount=one.voucher.amount,
                        )
                        for one in part
                    ],
                )
            if not all(one.ok for one in outcomes):
                raise RuntimeError("a transfer was refused")
        return len(vouchers) / (perf_counter() - began)


def figures() -> list[Figure]:
    home = Path(tempfile.mkdtemp(prefix="hundi-bench-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"HUNDI_HOME": str(home), "HUNDI_PORT": str(port), "PATH": os.environ["PATH"]}
    command = [
        sys.executable,
        "-c",
        "from bff.cli.main import main; main()",
        "serve",
        "--no-workers",
    ]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_for(port)
        rate, waits, load = uvloop.run(over_http(home, port))
        alone = uvloop.run(floor(load))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        embedded.join(home).release()
        shutil.rmtree(home, ignore_errors=True)
    return [
        Figure(
            name="vouchers settled over HTTP", value=rate, unit="vouchers/s", n=len(load.vouchers),
            goal="≥ 3,000", holds=rate >= 3_000,
        ),
        Figure(
            name="  beside two verifies and a posted transfer", value=rate, unit="vouchers/s",
            baseline=alone, ratio=rate / alone, n=FLOOR_N, goal="≥ 0.5", holds=rate >= alone / 2,
        ),
        Figure(
            name="  a batch of 500, p95", value=percentile(waits, 0.95), unit="ms", n=len(waits)
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(0 if report("offline sync", figures()) else 1)
