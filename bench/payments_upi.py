"""Over UPI: what a confirm adds to its rail's own time, by open-loop arrivals at a steady rate."""

import os
from time import perf_counter
from typing import NamedTuple

from bench.cluster import database
from bench.figures import Figure, percentile
from bench.open_loop import SEED, arrive, connected
from bench.payments_stage import confirms, intents, town
from server_core.payments import service
from server_core.payments.attempts import attempt_id
from server_core.payments.model import Confirm, Method, State
from server_core.rails.doors import txn_id
from server_core.sandbox import rules
from server_core.sandbox.model import Behaviour

RATE = 100
LATENCY_MS = 150
SECONDS = float(os.environ.get("SECONDS", "60"))
WARM = 100


class Wait(NamedTuple):
    """One confirm in ms: as a whole, as the adapter saw its rail, as the switch drew its latency."""

    whole: float
    rail: float
    drawn: float


async def measure(url: str, seconds: float = SECONDS, people: int = 2_000) -> list[Figure]:
    drawing = Behaviour(seed=SEED, latency_median_ms=LATENCY_MS)
    async with (
        database(url) as db,
        connected(db, latency_median_ms=LATENCY_MS) as (rails, queue, [upi]),
    ):
        here = await town(db, people, people)
        count = max(30, int(RATE * seconds))
        ids = await intents(db, here, count + WARM, "upi")
        todo = list(confirms(here, ids, "upi", Method.UPI))
        waits: list[Wait] = []

        async def pay(command: Confirm, due: float) -> None:
            paid = await service.confirm(db, queue, rails, command)
            whole = (perf_counter() - due) * 1000
            if paid.state is not State.SUCCEEDED:
                raise RuntimeError(paid.state)
            attempt = attempt_id(paid.id, paid.attempts)
            drawn = rules.latency_ms(drawing, txn_id(attempt), "upi.txn.pay")
            waits.append(Wait(whole, upi.answers[attempt].latency_ms, drawn))

        await arrive(todo[:WARM], RATE, pay)
        waits.clear()
        await arrive(todo[WARM:], RATE, pay)
    ours = [one.whole - one.rail for one in waits]
    beyond = [one.whole - one.drawn for one in waits]
    whole = [one.whole for one in waits]
    print(f"  over UPI: {len(waits):,} confirms, load {os.getloadavg()[0]:.1f}")
    name = f"UPI confirm less its rail, {RATE}/s"
    return [
        _within(f"{name}, p50", ours, 0.50, 10),
        _within("  p95", ours, 0.95, 25),
        Figure(name="  p99", value=percentile(ours, 0.99), unit="ms", n=len(ours)),
        Figure(name="  less the latency that was drawn, p95",
               value=percentile(beyond, 0.95), unit="ms", n=len(ours)),
        _within(f"UPI confirm, rail of {LATENCY_MS} ms, p50",
                whole, 0.50, 300),
        _within("  p95", whole, 0.95, 800),
    ]  # fmt: skip


def _within(name: str, samples: list[float], share: float, most: float) -> Figure:
    value = percentile(samples, share)
    return Figure(
        name=name, value=value, unit="ms", n=len(samples), goal=f"≤ {most:g} ms",
        holds=value <= most,
    )  # fmt: skip
