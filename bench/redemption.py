"""Terminal redemption: text to durable commit, beside the sum of its parts measured alone, same run."""

import sqlite3
import tempfile
from pathlib import Path
from time import perf_counter

from bench.figures import Figure, percentile, report
from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.store.terminal_rows import ShopLimits
from offline.signing import allowance_message, verify_signature, voucher_message
from offline.verdicts import Verdict
from offline.verify import decode
from tests.edge_agent.world import World

N = 1_500
GOAL_MS = 5.0


def milliseconds(began: float) -> float:
    return (perf_counter() - began) * 1000


def redeem(folder: Path) -> tuple[list[float], list[str]]:
    """Each sale's own allowance is as a shop sees it: nearly every payer is a new one."""
    world = World(folder)
    limits = ShopLimits(ccy="INR", floor_limit=10**12, allowance_limit=10**12, void_limit=10**9)
    terminal = world.terminal(limits=limits)
    waits, texts = [], []
    for i in range(N):
        payer = world.payer(f"payer-{i % 50}")
        asked = ask(terminal, 1_000)
        text = payer.pay(asked.text).to_text()
        texts.append(text)
        began = perf_counter()
        result = accept(terminal, text)
        waits.append(milliseconds(began))
        if not result.paid:
            raise RuntimeError(result.verdict)
    world.close()
    return waits, texts


def parts(folder: Path, texts: list[str]) -> dict[str, list[float]]:
    """One strict decode, one verify (both signatures), one FULL commit of three rows; each alone."""
    decodes, verifies, commits = [], [], []
    issuer = World(folder).issuer
    entry = issuer.bundle().bundle.entry(issuer.kid, "A")
    if entry is None:
        raise RuntimeError("the issuer signs allowances")
    for text in texts:
        began = perf_counter()
        signed = decode(text)
        decodes.append(milliseconds(began))
        if isinstance(signed, Verdict):
            raise TypeError(signed)
        began = perf_counter()
        good = verify_signature(
            entry.alg,
            entry.key,
            allowance_message(signed.kid, signed.allowance_raw),
            signed.sig_a,
        ) and verify_signature(
            signed.allowance.algorithm,
            signed.allowance.device_key,
            voucher_message(signed.allowance_raw, signed.voucher_raw),
            signed.sig_v,
        )
        verifies.append(milliseconds(began))
        if not good:
            raise RuntimeError("a good voucher does not verify")
    db = sqlite3.connect(folder / "alone.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    for name in ("redeemed", "request", "journal"):
        db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, row BLOB) STRICT")
    for text in texts:
        row = text.encode()
        began = perf_counter()
        db.execute("BEGIN IMMEDIATE")
        for name in ("redeemed", "request", "journal"):
            db.execute(f"INSERT INTO {name} (row) VALUES (?)", (row,))
        db.execute("COMMIT")
        commits.append(milliseconds(began))
    db.close()
    return {"strict decode": decodes, "verify": verifies, "FULL commit": commits}


def main() -> bool:
    with tempfile.TemporaryDirectory(prefix="hundi-bench-") as name:
        folder = Path(name)
        waits, texts = redeem(folder)
        alone = parts(folder, texts)
    total = sum(percentile(samples, 0.95) for samples in alone.values())
    p95 = percentile(waits, 0.95)
    figures = [
        Figure(
            name="redemption p95", value=p95, unit="ms", baseline=total, ratio=p95 / total,
            n=len(waits), goal="≤ 5 ms", holds=p95 <= GOAL_MS,
        ),
        Figure(
            name="  beside its parts alone (p95 each)", value=p95, unit="ms", baseline=total,
            ratio=p95 / total, n=len(waits), goal="≤ 3 × their sum", holds=p95 <= 3 * total,
        ),
        Figure(name="redemption p50", value=percentile(waits, 0.5), unit="ms", n=len(waits)),
    ]  # fmt: skip
    figures += [
        Figure(name=f"  {part}, p95", value=percentile(samples, 0.95), unit="ms", n=len(samples))
        for part, samples in alone.items()
    ]
    return report("redemption", figures)


if __name__ == "__main__":
    main()
