"""Webhooks over HTTP: the whole life of an endpoint, wrong input, another's, the public keys."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from bff.app import create_app
from devices.clock import ManualClock
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.db.work import Emitted
from server_core.ids import public
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.sessions import service as sessions
from server_core.settings import Settings
from server_core.webhooks.catalogue import KINDS
from server_core.webhooks.fanning import fan_out
from tests.conftest import NOW_MS, empty

OPERATOR = Actor(party=None, role=Role.OPERATOR)
URL = "https://8.8.8.8/hook"  # an address, so that no name is asked for


@dataclass(slots=True)
class Door:
    core: Core
    http: httpx.AsyncClient
    shop: Party
    tokens: dict[str, str]
    keys: int = 0

    async def call(
        self, method: str, path: str, body: Any = None, *, by: str | None = "shop", key: str = ""
    ) -> httpx.Response:
        self.keys += 1
        headers = {"Idempotency-Key": key or f"k-{self.keys}"}
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens[by]}"
        return await self.http.request(method, path, json=body, headers=headers)

    async def make(self, **changes: Any) -> dict[str, Any]:
        body = {"url": URL, "events": ["payment.*"]} | changes
        answer = await self.call("POST", "/webhooks/endpoints", body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def pay(self, count: int) -> None:
        async with self.core.db.work() as work:
            for _ in range(count):
                work.emit(
                    Emitted(
                        aggregate_type="payment",
                        aggregate_id=work.ids.new(),
                        type="payment.created",
                        payload={"payee": str(self.shop.id), "amount": "1"},
                    )
                )
        while await fan_out(self.core.db):
            pass


@pytest.fixture(scope="module")
async def core(database_url: str, tmp_path_factory: Any) -> AsyncIterator[Core]:
    env = {"HUNDI_HOME": str(tmp_path_factory.mktemp("home")), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env), clock=ManualClock(NOW_MS)) as made:
        yield made


@pytest.fixture
async def door(core: Core, database_url: str) -> AsyncIterator[Door]:
    await empty(database_url)
    tokens = {}
    async with core.db.work() as work:
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        other = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Kirana", mcc="5411")
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        for name, party, role in (
            ("shop", shop, Role.MERCHANT), ("other", other, Role.MERCHANT),
            ("asha", asha, Role.PAYER),
        ):  # fmt: skip
            tokens[name] = await sessions.issue(
                work, core.entropy, OPERATOR, party=party.id, role=role
            )
    transport = httpx.ASGITransport(app=create_app(core), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hundi.test") as http:
        yield Door(core, http, shop, tokens)


async def test_the_life_of_an_endpoint(door: Door) -> None:
    made = await door.make(description="till 1")
    path = f"/webhooks/endpoints/{made['id']}"
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert made == {
        "id": made["id"],
        "owner_id": public("pty", door.shop.id),
        "url": URL,
        "description": "till 1",
        "events": ["payment.*"],
        "state": "enabled",
        "reason": None,
        "failing_since": None,
        "created_at": made["created_at"],
        "changed_at": made["created_at"],
    }
    shown = await door.call("GET", path)
    assert (shown.json(), shown.headers["cache-control"]) == (made, "no-store")
    assert (await door.call("GET", "/webhooks/endpoints")).json() == {"endpoints": [made]}
    changed = await door.call("PATCH", path, {"events": ["*"]})
    assert changed.json()["events"] == ["*"]
    assert changed.json()["description"] == "till 1"
    disabled = (await door.call("POST", f"{path}/disable")).json()
    assert (disabled["state"], disabled["reason"]) == ("disabled", "owner")
    refused = await door.call("POST", f"{path}/replay", {"missing": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "webhooks.disabled")
    assert (await door.call("POST", f"{path}/enable")).json()["state"] == "enabled"
    rotated = (await door.call("POST", f"{path}/rotate")).json()["secret"]
    assert rotated != secret
    assert (await door.call("DELETE", path)).status_code == 204
    assert (await door.call("GET", path)).status_code == 404


async def test_a_repeat_of_a_key_gives_the_same_answer(door: Door) -> None:
    body = {"url": URL, "events": ["payment.*"]}
    first = await door.call("POST", "/webhooks/endpoints", body, key="one")
    again = await door.call("POST", "/webhooks/endpoints", body, key="one")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert first.headers["cache-control"] == "no-store"
    other = await door.call("POST", "/webhooks/endpoints", body | {"description": "x"}, key="one")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")
    headers = {"Authorization": f"Bearer {door.tokens['shop']}"}
    for path in ("/webhooks/endpoints", f"/webhooks/endpoints/{first.json()['id']}/rotate"):
        bare = await door.http.post(path, json=body, headers=headers)
        assert (bare.status_code, bare.json()["code"]) == (400, "idempotency.key_missing")
    turn = [
        await door.call("POST", f"/webhooks/endpoints/{first.json()['id']}/rotate", key="two")
        for _ in range(2)
    ]
    assert turn[0].json() == turn[1].json()
    assert turn[1].headers["idempotency-replayed"] == "true"


ROUTES = [
    ("GET", "", None), ("PATCH", "", {"description": "x"}), ("DELETE", "", None),
    ("POST", "/disable", None), ("POST", "/enable", None), ("POST", "/rotate", None),
    ("POST", "/replay", {"missing": True}), ("GET", "/messages", None),
    ("GET", "/messages/msg_01m3250v00fp3801d6ep081mqr/attempts", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[r[0] + r[1] for r in ROUTES])
async def test_another_s_is_as_if_it_were_not_there(
    door: Door, method: str, path: str, body: Any
) -> None:
    made = await door.make()
    at = f"/webhooks/endpoints/{made['id']}{path}"
    theirs = await door.call(method, at, body, by="other")
    assert (theirs.status_code, theirs.json()["code"]) == (404, "webhooks.unknown")
    payer = await door.call(method, at, body, by="asha")
    assert (payer.status_code, payer.json()["code"]) == (403, "webhooks.role")
    nobody = await door.call(method, at, body, by=None)
    assert nobody.status_code == 401
    nonsense = await door.call(method, f"/webhooks/endpoints/ep_x{path}", body)
    assert (nonsense.status_code, nonsense.json()["code"]) == (404, "id.unknown")
    assert (await door.call("GET", f"/webhooks/endpoints/{made['id']}")).json()[
        "state"
    ] == "enabled"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"url": "http://8.8.8.8/", "events": ["*"]}, "webhooks.url", "url"),
        ({"url": "https://127.0.0.1/", "events": ["*"]}, "webhooks.url", "url"),
        ({"url": URL, "events": ["payment.paid"]}, "webhooks.event_type", "events"),
        ({"url": URL, "events": []}, "webhooks.filters", "events"),
        ({"url": URL, "events": "payment.*"}, "http.malformed", None),
        ({"url": URL}, "http.malformed", None),
        ({"url": URL, "events": ["*"], "extra": 1}, "http.malformed", None),
        ({"url": URL, "events": ["*"], "description": "\x07"}, "webhooks.description", "description"),
    ],
)  # fmt: skip
async def test_wrong_input_is_told_by_its_field(
    door: Door, body: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await door.call("POST", "/webhooks/endpoints", body)
    said = answer.json()
    assert (answer.status_code, said["code"], said.get("field")) == (400, code, field)
    if code == "webhooks.event_type":
        assert said["known"] == list(KINDS)
    made = await door.make()
    if code.startswith("webhooks."):
        changed = await door.call("PATCH", f"/webhooks/endpoints/{made['id']}", body)
        assert changed.json()["code"] == code


async def test_pull_and_replay_over_http(door: Door) -> None:
    made = await door.make()
    path = f"/webhooks/endpoints/{made['id']}"
    await door.pay(5)
    page = (await door.call("GET", f"{path}/messages?limit=3")).json()
    assert len(page["messages"]) == 3
    assert page["next"] == page["messages"][-1]["id"]
    rest = (await door.call("GET", f"{path}/messages?after={page['next']}")).json()
    assert len(rest["messages"]) == 2
    end = (await door.call("GET", f"{path}/messages?after={rest['next']}")).json()
    assert end == {"messages": [], "next": rest["next"]}
    one = page["messages"][0]
    assert (one["state"], one["attempts"], one["body"]["type"]) == ("pending", 0, "payment.created")
    assert one["body"]["endpoint"] == made["id"]
    tried = await door.call("GET", f"{path}/messages/{one['id']}/attempts")
    assert tried.json() == {"attempts": []}
    await door.call("POST", f"{path}/disable")
    await door.call("POST", f"{path}/enable")
    sent = await door.call("POST", f"{path}/replay", {"message": one["id"]})
    assert sent.json() == {"replayed": 1, "next": None}
    everything = await door.call("POST", f"{path}/replay", {"missing": True})
    assert everything.json() == {"replayed": 4, "next": None}
    for query in ("limit=0", "limit=101"):
        refused = await door.call("GET", f"{path}/messages?{query}")
        assert refused.json()["code"] == "webhooks.page_size"
    assert (await door.call("GET", f"{path}/messages?limit=x")).status_code == 400
    for body in ({}, {"message": one["id"], "missing": True}, {"since": "2026-01-01T00:00:00"}):
        assert (await door.call("POST", f"{path}/replay", body)).json()["code"] == "http.malformed"


async def test_public_keys_and_event_types_are_anybody_s(door: Door) -> None:
    said = (await door.call("GET", "/.well-known/webhook-keys", by=None)).json()
    [key] = said["keys"]
    assert len(base64.b64decode(key["key"].removeprefix("whpk_"))) == 32
    assert (len(key["kid"]), key["expires_at"]) == (16, None)
    again = (await door.call("GET", "/.well-known/webhook-keys", by=None)).json()
    assert again == said
    types = (await door.call("GET", "/webhooks/event-types", by=None)).json()
    assert types == {name: [1] for name in KINDS}
