"""Terminal redemption: text to durable commit, beside the sum of its parts measured alone, same run."""

import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from bench.figures import Figure, percentile, report
from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.terminal import Terminal
from offline import qr
from offline.signing import allowance_message, verify_signature, voucher_message
from offline.verdicts import Verdict
from offline.verify import decode
from tests.edge_agent.world import World
from tests.offline import kit

N = 1_500
WHOLE_MS, SHOWN_MS = 10.0, 60.0
TABLES = ("redeemed", "request", "journal")
AGED_ROWS = 1_000_000
AGED_SALES = 500
AGED_RATIO = 1.25


def milliseconds(began: float) -> float:
    return (perf_counter() - began) * 1000


@dataclass(slots=True)
class Sales:
    """What each sale took, in ms: the device's signature until its code is drawn, the picture read, the text
    until its durable commit."""

    shows: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def whole(self) -> list[float]:
        """From the picture to the durable commit."""
        return [read + wait for read, wait in zip(self.reads, self.waits, strict=True)]


def redeem(folder: Path, n: int = N, rows: int = 0, alone: "Alone | None" = None) -> Sales:
    """Each sale's own allowance is as a shop sees it: nearly every payer is a new one.

    `rows` sales stand in the file before, journal, redeemed row and request of each. The parts are
    measured between the sales, before one and after the next, so that both find the machine alike.
    """
    world = World(folder)
    terminal = world.terminal(risk=replace(kit.RISK, hard_sum=10**12, allowance_sum=10**12))
    if rows:
        age(terminal, rows)
    sales = Sales()
    for i in range(n):
        payer = world.payer(f"payer-{i % 50}")
        asked = ask(terminal, 1_000)
        began = perf_counter()
        text = payer.pay(asked.text).to_text()
        picture = qr.png(text)
        sales.shows.append(milliseconds(began))
        began = perf_counter()
        text = qr.read_png(picture)
        sales.reads.append(milliseconds(began))
        if alone is not None and i % 2:
            alone.measure(text)
        began = perf_counter()
        result = accept(terminal, text)
        sales.waits.append(milliseconds(began))
        if alone is not None and not i % 2:
            alone.measure(text)
        if not result.paid:
            raise RuntimeError(result.verdict)
    world.close()
    return sales


def age(terminal: Terminal, rows: int) -> None:
    """Let the file hold so many settled sales, as large as real ones; what they say is not read again."""
    state, at = terminal.store.state(), terminal.floor.now_s() - rows
    with terminal.store.db.write() as c:
        for i in range(1, rows + 1):
            name, wide = i.to_bytes(8), i.to_bytes(32)
            c.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?, 'OV_ACCEPTED')",
                (state.epoch, i, wide * 9, wide, at + i),
            )
            c.execute(
                "INSERT INTO open_request VALUES (?, 1000, 'INR', ?, ?, 'before', 0, 'paid', NULL)",
                (name, "x" * 355, at + i),
            )
            c.execute(
                """INSERT INTO redeemed VALUES
                (?, 1, ?, ?, 1000, 'INR', 1000, ?, ?, ?, ?, ?, ?, 0, 'OV_ACCEPTED')""",
                (name * 2, wide, name, wide, wide * 11, "x" * 355, state.epoch, i, at + i),
            )
        c.execute("UPDATE sync_state SET head_seq = ?, acked_seq = ?", (rows, rows))


class Alone:
    """What a sale cannot do without, each part alone: one strict decode, one verify (both signatures), one FULL
    commit of three rows."""

    def __init__(self, folder: Path) -> None:
        world = World(folder)
        entry = world.issuer.bundle().bundle.entry(world.issuer.kid, "A")
        if entry is None:
            raise RuntimeError("the issuer signs allowances")
        self.entry = entry
        self.decodes: list[float] = []
        self.verifies: list[float] = []
        self.commits: list[float] = []
        folder.mkdir()
        self.db = sqlite3.connect(folder / "alone.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        for name in TABLES:
            self.db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, row BLOB) STRICT")

    def measure(self, text: str) -> None:
        began = perf_counter()
        signed = decode(text)
        self.decodes.append(milliseconds(began))
        if isinstance(signed, Verdict):
            raise TypeError(signed)
        began = perf_counter()
        good = verify_signature(
            self.entry.alg,
            self.entry.key,
            allowance_message(signed.kid, signed.allowance_raw),
            signed.sig_a,
        ) and verify_signature(
            signed.allowance.algorithm,
            signed.allowance.device_key,
            voucher_message(signed.allowance_raw, signed.voucher_raw),
            signed.sig_v,
        )
        self.verifies.append(milliseconds(began))
        if not good:
            raise RuntimeError("a good voucher does not verify")
        row = text.encode()
        began = perf_counter()
        self.db.execute("BEGIN IMMEDIATE")
        for name in TABLES:
            self.db.execute(f"INSERT INTO {name} (row) VALUES (?)", (row,))
        self.db.execute("COMMIT")
        self.commits.append(milliseconds(began))

    def p95(self) -> dict[str, float]:
        named = {
            "strict decode": self.decodes, "verify": self.verifies, "FULL commit": self.commits,
        }  # fmt: skip
        return {name: percentile(samples, 0.95) for name, samples in named.items()}


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="hundi-bench-") as name:
        folder = Path(name)
        alone = Alone(folder / "alone")
        sales = redeem(folder / "whole", alone=alone)
        young = redeem(folder / "young", AGED_SALES).waits
        old = redeem(folder / "old", AGED_SALES, AGED_ROWS).waits
    total = sum(alone.p95().values())
    p95, n = percentile(sales.waits, 0.95), len(sales.waits)
    whole, shown = percentile(sales.whole, 0.95), percentile(sales.shows, 0.95)
    aged = percentile(old, 0.95) / percentile(young, 0.95)
    found = [
        Figure(
            name="text to durable accept, p95, with 1 million journal rows beside none",
            value=percentile(old, 0.95), unit="ms", baseline=percentile(young, 0.95), ratio=aged,
            n=AGED_SALES, goal=f"≤ {AGED_RATIO} ×", holds=aged <= AGED_RATIO,
        ),
        Figure(
            name="picture read to durable accept, p95", value=whole, unit="ms", n=n,
            goal="≤ 10 ms", holds=whole <= WHOLE_MS,
        ),
        Figure(
            name="text to durable accept, p95, beside its parts alone", value=p95, unit="ms",
            baseline=total, ratio=p95 / total, n=n, goal="≤ 2 × their sum", holds=p95 <= 2 * total,
        ),
        Figure(
            name="voucher signed until its code is drawn, p95", value=shown, unit="ms", n=n,
            goal="≤ 60 ms", holds=shown <= SHOWN_MS,
        ),
    ]  # fmt: skip
    return found + [
        Figure(name=f"  {part}, p95", value=value, unit="ms", n=n)
        for part, value in alone.p95().items()
    ]


def main() -> bool:
    return report("redemption", figures())


if __name__ == "__main__":
    main()
