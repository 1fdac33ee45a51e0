"""GraphQL confirm over `book` beside a mutation of the same shape that returns constants, same run."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import uvloop

from bench.figures import Figure, percentile, report
from server_core.db import embedded

N = 4_000
ROUNDS = 2
ROOT = Path(__file__).parents[1]
_SHAPE = (
    "{ payment { id state purpose amount { minor currency exponent } }"
    " userErrors { __typename code message field } }"
)


def bodies(name: str, ids: list[str], key: str) -> Iterator[tuple[int, bytes]]:
    query = f"mutation M($input: ConfirmPaymentInput!) {{ {name}(input: $input) {_SHAPE} }}"
    for i, one in enumerate(ids):
        data = {"id": one, "method": "BOOK", "idempotencyKey": f"{key}-{one}"}
        yield i, json.dumps({"query": query, "variables": {"input": data}}).encode()


async def drive(
    port: int, tokens: list[str], work: Iterator[tuple[int, bytes]], clients: int
) -> tuple[float, list[float]]:
    """Requests a second over kept connections, and each answer's wait in ms; any error raises."""
    waits: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i, body in work:
            began = perf_counter()
            head = (
                f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {tokens[i % len(tokens)]}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            headers = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            waits.append((perf_counter() - began) * 1000)
            if b'"userErrors":[]' not in answer:
                raise RuntimeError(answer[:300])
        writer.close()

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(waits) / (perf_counter() - began), waits


async def measure(port: int, tokens: list[str], ids: list[str]) -> list[Figure]:
    await drive(port, tokens, bodies("constant", ids[:500], "w"), 16)  # warm
    found = []
    share = len(ids) // (2 * ROUNDS)
    for turn, clients in enumerate((16, 64)):
        constant: list[float] = []
        confirm: list[float] = []
        waits: list[float] = []
        for lap in range(ROUNDS):  # in turns, so that a noisy neighbour meets both
            part = ids[(turn * ROUNDS + lap) * share :][:share]
            rate, _ = await drive(port, tokens, bodies("constant", part, "k"), clients)
            constant.append(rate)
            rate, lap_waits = await drive(
                port, tokens, bodies("confirmPayment", part, "p"), clients
            )
            confirm.append(rate)
            waits += lap_waits
        value, baseline = sum(confirm) / ROUNDS, sum(constant) / ROUNDS
        found += [
            Figure(
                name=f"confirm over book, {clients} clients",
                value=value, unit="requests/s", baseline=baseline, ratio=value / baseline,
                n=share * ROUNDS,
                goal="≥ 50 % of constants" if clients == 16 else "",
                holds=value >= 0.5 * baseline if clients == 16 else None,
            ),
            Figure(
                name=f"  answer of confirm, p95, {clients} clients",
                value=percentile(waits, 0.95), unit="ms", n=len(waits),
            ),
        ]  # fmt: skip
    return found


def figures(count: int = N) -> list[Figure]:
    """The rows of this bench over `count` intents, from a server of its own."""
    home = Path(tempfile.mkdtemp(prefix="hundi-bench-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bench.graphql_server", str(home), str(port), str(count)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        if server.stdout is None or server.stdout.readline() != "ready\n":
            raise RuntimeError("the server did not start")
        load = json.loads((home / "load.json").read_text())
        wait_for(port)
        return uvloop.run(measure(port, load["tokens"], load["ids"]))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        if server.stdout is not None:
            server.stdout.close()
        embedded.join(home).release()  # it may have been killed before it could stop PostgreSQL
        shutil.rmtree(home, ignore_errors=True)


def main() -> bool:
    return report("graphql", figures())


def wait_for(port: int) -> None:
    until = perf_counter() + 20
    while perf_counter() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError("the server does not listen")


if __name__ == "__main__":
    main()
