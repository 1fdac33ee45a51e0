"""Subscriptions on a real socket: what they tell, what they refuse, and how they end."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bff.guard import DOCUMENTS
from server_core.actor import Role
from server_core.ids import public
from server_core.payments.model import Intent
from server_core.rails.connected import Rails
from server_core.rails.model import Outcome, RailAnswer, RailOrder
from server_core.sessions import service as sessions
from server_core.sessions.model import LIFE_MS

VIEWER = "{ viewer { party { name } } }"
STATUS = "subscription ($id: ID!) { paymentStatus(id: $id) { state payer { name } } }"
CONFIRM = (DOCUMENTS / "confirm_payment.graphql").read_text(encoding="utf-8")


async def say(socket: ClientConnection, message: Any) -> None:
    await socket.send(json.dumps(message))


async def heard(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(socket.recv(), 5))


async def closed(socket: ClientConnection) -> int:
    """The code with which the server closes; what it says before is not looked at."""
    with pytest.raises(ConnectionClosed) as caught:
        await drained(socket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


async def drained(socket: ClientConnection) -> None:
    while True:
        await heard(socket)


def follow(intent: Intent, key: str = "1") -> dict[str, Any]:
    payload = {"query": STATUS, "variables": {"id": public("pay", intent.id)}}
    return {"id": key, "type": "subscribe", "payload": payload}


class PromptRail:
    """A rail that debits at once."""

    name = "upi"

    async def authorize(self, order: RailOrder) -> RailAnswer:  # noqa: ARG002 - a port
        return RailAnswer(outcome=Outcome.SUCCEEDED, code="00", rail_reference="412345678901")


async def test_a_socket_tells_processing_then_succeeded(served) -> None:
    served.core.rails = Rails(by_name={"upi": PromptRail()})
    intent = await served.bill()
    async with served.socket(Role.MERCHANT) as socket:
        await say(socket, follow(intent))
        paid = {"id": public("pay", intent.id), "method": "UPI", "payerVpa": "asha@okbank"}
        told = [await heard(socket)]
        assert (await served.mutate(CONFIRM, **paid))["payment"]["state"] == "SUCCEEDED"
        told += [await heard(socket), await heard(socket)]
        states = [one["payload"]["data"]["paymentStatus"]["state"] for one in told]
        assert states == ["REQUIRES_CONFIRMATION", "PROCESSING", "SUCCEEDED"]
        assert told[-1]["payload"]["data"]["paymentStatus"]["payer"] == {"name": "Asha"}
        assert await heard(socket) == {"id": "1", "type": "complete"}
        await say(socket, {"type": "ping"})
        assert await heard(socket) == {"type": "pong"}


async def test_a_session_that_ends_ends_its_socket(served) -> None:
    intent = await served.bill()
    async with served.socket(Role.MERCHANT) as socket:
        await say(socket, follow(intent))
        await heard(socket)
        actor = await sessions.authenticate(served.core.db, served.tokens[Role.MERCHANT])
        async with served.core.db.work() as work:
            await sessions.end(work, actor)
        await served.mutate(CONFIRM, id=public("pay", intent.id), method="BOOK")
        assert await closed(socket) == 4403
    async with served.socket() as socket:
        served.core.clock.advance(LIFE_MS)
        await say(socket, follow(intent))
        assert await closed(socket) == 4403


async def test_a_socket_by_cookie_and_only_from_our_own_origin(served) -> None:
    cookie = {"Cookie": f"hundi_session={served.tokens[Role.PAYER]}"}
    async with served.socket(
        None, additional_headers=cookie, origin=served.core.settings.origin
    ) as socket:
        await say(socket, {"type": "connection_init"})
        assert await heard(socket) == {"type": "connection_ack"}
    with pytest.raises(InvalidStatus) as caught:
        async with served.socket(None, additional_headers=cookie, origin="http://evil.example"):
            pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (None, 4408),
        ("not json", 4400),
        ("[" * 50_000, 4400),
        (b"\x00", 4400),
        ({"type": "unknown"}, 4400),
        ({"id": "1", "type": "subscribe", "payload": {"query": STATUS}}, 4401),
        ({"type": "connection_init"}, 4403),
        ({"type": "connection_init", "payload": []}, 4400),
        ({"type": "connection_init", "payload": {"authorization": "Bearer x"}}, 4403),
        ({"type": "connection_init", "payload": {"authorization": 5}}, 4403),
    ],
)
async def test_who_does_not_begin_well_is_closed(served, first: Any, code: int) -> None:
    async with served.socket(None) as socket:
        if isinstance(first, str | bytes):
            await socket.send(first)
        elif first is not None:
            await say(socket, first)
        assert await closed(socket) == code


async def test_a_socket_without_the_protocol_is_closed(served) -> None:
    async with served.socket(None, subprotocols=None) as socket:
        assert await closed(socket) == 4406


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "connection_init"}], 4429),
        ([{"type": "subscribe", "payload": {"query": STATUS}}], 4400),
        ([{"id": "1", "type": "subscribe"}], 4400),
        ([{"id": "1", "type": "subscribe", "payload": {"query": 5}}], 4400),
        ([{"id": "1", "type": "connection_ack"}], 4400),
    ],
)
async def test_who_breaks_the_protocol_is_closed(served, messages: Any, code: int) -> None:
    async with served.socket() as socket:
        for message in messages:
            await say(socket, message)
        assert await closed(socket) == code


async def test_a_socket_carries_subscriptions_only_and_not_too_many(served) -> None:
    intent = await served.bill()
    async with served.socket() as socket:
        for text, code in (
            (VIEWER, "graphql.transport"),
            (CONFIRM, "graphql.transport"),
            ("{ nothing }", "graphql.invalid"),
            ("subscription { paymentStatus(id: 1) { id } }", "id.unknown"),
            (STATUS, "graphql.invalid"),
        ):
            await say(socket, {"id": "x", "type": "subscribe", "payload": {"query": text}})
            told = await heard(socket)
            assert (told["id"], told["type"]) == ("x", "error")
            assert told["payload"][0]["extensions"]["code"] == code
        for number in range(17):
            await say(socket, follow(intent, str(number)))
        told = [await heard(socket) for _ in range(17)]
        [over] = [one for one in told if one["type"] == "error"]
        assert over["payload"][0]["extensions"]["code"] == "graphql.too_many_subscriptions"
        await say(socket, {"id": "3", "type": "complete"})
        await say(socket, follow(intent, "3"))  # the id and its place are free again
        assert (await heard(socket))["type"] == "next"
        await say(socket, follow(intent, "3"))
        assert await closed(socket) == 4409
    assert served.core.bus._subscribers == {}


async def test_a_server_that_stops_closes_its_sockets(served) -> None:
    intent = await served.bill()
    async with served.another() as (other, server), other.socket() as socket:
        await say(socket, follow(intent))
        await heard(socket)
        server.should_exit = True
        assert await closed(socket) in {1001, 1012}
