"""Callbacks over sockets: to a listener that verifies each as Hundi would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from devices.clock import SystemClock
from server_core.rails.callbacks import Callback, read_callback
from server_core.rails.model import Outcome
from server_core.sandbox.model import Behaviour
from tests.server_core.sandbox.running import PROMPT, sandbox

KEY = bytes(range(32))


@dataclass
class Listener:
    """Takes callbacks; answers the first `refuses` of them with a 500."""

    refuses: int = 0
    url: str = ""
    heard: list[Callback] = field(default_factory=list)
    came: asyncio.Queue[Callback] = field(default_factory=asyncio.Queue)

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        raw = await reader.readexactly(int(headers["content-length"]))
        callback = read_callback(headers, raw, KEY, SystemClock().now_ms())
        self.heard.append(callback)
        status = "500 No" if len(self.heard) <= self.refuses else "204 Taken"
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        self.came.put_nowait(callback)

    async def next(self) -> Callback:
        async with asyncio.timeout(10):
            return await self.came.get()


@asynccontextmanager
async def listening(refuses: int = 0) -> AsyncIterator[Listener]:
    listener = Listener(refuses=refuses)
    server = await asyncio.start_server(listener.one, "127.0.0.1", 0)
    async with server:
        listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callbacks"
        yield listener


def body(number: int, payer: str = "asha@okbank") -> dict[str, Any]:
    return {
        "txn_id": f"HUN{number:032X}", "amount_minor": 100, "currency": "INR",
        "payer_vpa": payer, "payee_vpa": "shop@hundi",
    }  # fmt: skip


@asynccontextmanager
async def telling(listener: Listener, **behaviour: Any) -> AsyncIterator[httpx.AsyncClient]:
    told = replace(PROMPT, callback_url=listener.url, **behaviour)
    with sandbox(told, callback_key=KEY) as address:
        async with httpx.AsyncClient(base_url=address, timeout=10) as client:
            yield client


async def test_each_outcome_is_told_and_signed():
    async with listening() as listener, telling(listener) as client:
        await client.post("/upi/pay", json=body(1))
        paid = await listener.next()
        assert (paid.txn_id, paid.outcome) == (body(1)["txn_id"], Outcome.SUCCEEDED)
        await client.post("/upi/pay", json=body(2, "decline.Z9@okbank"))
        assert (await listener.next()).code == "Z9"
        await client.get(f"/upi/txn/{body(1)['txn_id']}")  # to ask tells nothing new
        await client.post("/upi/reverse", json={"txn_id": body(1)["txn_id"]})
        assert (await listener.next()).outcome is Outcome.REVERSED


async def test_a_late_success_is_told_once_the_switch_knows():
    async with listening() as listener, telling(listener) as client:
        await client.post("/upi/pay", json=body(1, "late@okbank"))
        await client.post("/upi/pay", json=body(2))
        assert (await listener.next()).txn_id == body(2)[
            "txn_id"
        ]  # of the first it cannot tell yet
        await client.get(f"/upi/txn/{body(1)['txn_id']}")
        late = await listener.next()
        assert (late.txn_id, late.outcome) == (body(1)["txn_id"], Outcome.SUCCEEDED)


async def test_a_link_s_payment_a_refund_and_a_bank_s_page_are_told():
    async with listening() as listener, telling(listener) as client:
        link = "upi://pay?pa=shop@hundi&pn=Tea&tr=ORDER0042&am=1.00&cu=INR"
        scan = {"link": link, "payer_vpa": "ravi@otherbank"}
        scanned = (await client.post("/upi/admin/scan", json=scan)).json()
        paid = await listener.next()
        assert (paid.reference, paid.amount_minor) == ("ORDER0042", 100)
        refund = {
            "refund_id": "HUN" + "B" * 32, "txn_id": scanned["txn_id"], "amount_minor": 40,
            "currency": "INR",
        }  # fmt: skip
        await client.post("/upi/refund", json=refund)
        given = await listener.next()
        assert (given.refund_id, given.txn_id, given.amount_minor) == (
            refund["refund_id"], scanned["txn_id"], 40,
        )  # fmt: skip
        order = {"txn_id": "HUN" + "C" * 32, "amount_minor": 7, "currency": "INR", "bank": "HDFC"}
        page = (await client.post("/bank/initiate", json=order)).json()["action_url"]
        await client.post(page, data={"decision": "approve"})
        bank = await listener.next()
        assert (bank.door, bank.outcome, bank.code) == ("bank", Outcome.SUCCEEDED, "SUCCESS")


async def test_duplicates_have_one_id_and_a_contradiction_another():
    async with (
        listening() as listener,
        telling(listener, callback_duplicates=2, callback_contradict_rate=1.0) as client,
    ):
        await client.post("/upi/pay", json=body(1))
        told = [await listener.next() for _ in range(4)]
        assert len({one.id for one in told[:3]}) == 1
        assert [one.code for one in told] == ["00", "00", "00", "Z9"]
        assert told[3].id != told[0].id


async def test_what_is_not_taken_is_sent_again_and_a_lost_one_never():
    async with listening(refuses=1) as listener, telling(listener) as client:
        await client.post("/upi/pay", json=body(1))
        first, again = await listener.next(), await listener.next()
        assert first == again
        lossy = {"callback_loss_rate": 1}
        await client.post("/upi/admin/behaviour", json=lossy)
        await client.post("/upi/pay", json=body(2))
        await client.post("/upi/admin/behaviour", json={"callback_loss_rate": 0})
        await client.post("/upi/pay", json=body(3))
        assert (await listener.next()).txn_id == body(3)["txn_id"]


async def test_a_delayed_one_comes_after_the_answer():
    async with listening() as listener, telling(listener, callback_delay_ms=300) as client:
        assert (await client.post("/upi/pay", json=body(1))).json()["code"] == "00"
        assert listener.heard == []
        assert (await listener.next()).code == "00"


async def test_a_stopping_sandbox_does_not_wait_for_who_does_not_listen():
    async with listening() as listener:
        url = listener.url
    async with telling(Listener(url=url)) as client:
        await client.post("/upi/pay", json=body(1))


async def test_without_a_key_nothing_can_be_told():
    with sandbox() as address:
        async with httpx.AsyncClient(base_url=address) as client:
            said = {"callback_url": "http://127.0.0.1:9/"}
            refused = await client.post("/upi/admin/behaviour", json=said)
            assert (refused.status_code, refused.json()["error"]) == (400, "upi.behaviour")
            assert (await client.get("/upi/admin/behaviour")).json() == PROMPT.facts()


def test_a_short_key_is_refused_at_start():
    with pytest.raises(ValueError, match="32 bytes"), sandbox(Behaviour(), callback_key=b"short"):
        pass
