"""A door that answers byte for byte what a test wants, for any rail's call."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from server_core.rails.doors import DoorRail, txn_id
from server_core.rails.model import RailAnswer, RailOrder, RailRefund

AMOUNT = 15_000
ATTEMPT = UUID("018f3c2e-0000-7000-8000-0123456789ab")
OTHER = UUID("018f3c2e-0000-7000-8000-0123456789ac")
INSTRUMENTS = {"upi": "asha@okbank", "card": "tok_abc", "netbanking": "HDFC"}


@dataclass(frozen=True)
class Asked:
    """The request that came: under which name its id stands, the id, and its body."""

    name: str
    id: str
    body: dict[str, Any]


@asynccontextmanager
async def answering(answer: Callable[[Asked], bytes]) -> AsyncIterator[str]:
    """A server that reads one request a connection, says `answer(asked)`, and hangs up."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        [length] = [int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length:")] or [0]
        body = json.loads(await reader.readexactly(length) or b"{}")
        verb, key = head.split()[1].decode().split("/")[2:][-2:] if not body else ("", "")
        name = "refund_id" if verb == "refund" else "txn_id"
        for known in ("capture_id", "refund_id"):
            name = known if known in body else name
        writer.write(answer(Asked(name, body.get(name, key), body)))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def said(asked: Asked, ok: str, **other: object) -> bytes:
    plain: dict[str, object] = {
        "txn_id": asked.body.get("txn_id", txn_id(ATTEMPT)),
        asked.name: asked.id,
        "code": ok,
        "rrn": "622415000001",
        "amount_minor": AMOUNT,
        "reversed": False,
        "captured_minor": AMOUNT,
    }
    return json.dumps(plain | other).encode()


async def every_verb(rail: DoorRail) -> dict[str, RailAnswer]:
    """Each call of the port once."""
    order = RailOrder(
        attempt=ATTEMPT,
        amount_minor=AMOUNT,
        currency="INR",
        instrument=INSTRUMENTS[rail.name],
        payee_vpa="tea.stall@hundi",
    )
    refund = RailRefund(refund=OTHER, attempt=ATTEMPT, amount_minor=AMOUNT, currency="INR")
    return {
        "authorize": await rail.authorize(order),
        "capture": await rail.capture(ATTEMPT, OTHER, AMOUNT),
        "status": await rail.status(ATTEMPT),
        "reverse": await rail.reverse(ATTEMPT),
        "refund": await rail.refund(refund),
        "refund_status": await rail.refund_status(refund),
    }
