"""The agents' door over real HTTP: strict bodies, named refusals, never a 500."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from nacl.signing import SigningKey

from bff.app import create_app
from devices.entropy import SystemEntropy
from offline.signing import enrolment_message
from offline.trust import decode_bundle
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.app import open_core
from server_core.ids import derived
from server_core.ledger import audit
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import service as sessions
from server_core.settings import Settings

OPERATOR = Actor(party=None, role=Role.OPERATOR)
ENTROPY = SystemEntropy()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
async def door(database_url: str, tmp_path_factory: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A running server, a payer with money, and its session on every request."""
    env = {"HUNDI_HOME": str(tmp_path_factory.mktemp("home")), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env)) as core:
        async with core.db.work() as work:
            asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
            fund = Transfer(
                id=derived("edge"),
                debit=account_id(Code.CLEARING, "upi", "INR"),
                credit=parties.money_account(asha, "INR"),
                amount=300_000,
            )
            assert (await ledger.post(work, [fund]))[0].ok
            token = await sessions.issue(
                work, core.entropy, OPERATOR, party=asha.id, role=Role.PAYER, assurance=2
            )
        config = uvicorn.Config(create_app(core), port=0, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.wait({task}, timeout=0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
            yield http
        server.should_exit = True
        await task
        async with core.db.snapshot() as reader:
            assert await audit.findings(reader) == []


async def link(door: httpx.AsyncClient) -> str:
    key = SigningKey(ENTROPY.bytes(32))
    me = (await door.get("/edge/me")).json()
    nonce = (await door.post("/edge/nonce", json={})).json()["nonce"]
    party, raw = (base64.urlsafe_b64decode(one + "==") for one in (me["party"], nonce))
    public = bytes(key.verify_key)
    proof = key.sign(enrolment_message("payer", raw, public, party)).signature
    body = {
        "key": b64(public), "tier": "software", "label": "phone", "server_nonce": nonce,
        "proof": b64(proof),
    }  # fmt: skip
    answer = await door.post("/edge/devices/enrol", json=body)
    assert answer.status_code == 200, answer.text
    bundle = decode_bundle(base64.urlsafe_b64decode(answer.json()["bundle"] + "=="))
    assert not isinstance(bundle, Verdict)
    return answer.json()["device"]


async def test_a_device_takes_an_allowance(door) -> None:
    device = await link(door)
    body = {
        "device": device, "currency": "INR", "cap_total": "100000", "cap_each": "50000",
        "idempotency_key": "a",
    }  # fmt: skip
    first, again = [await door.post("/edge/allowances", json=body) for _ in range(2)]
    assert first.status_code == 200
    assert first.json() == again.json()
    other = await door.post("/edge/allowances", json=body | {"cap_total": "1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")
    assert (await door.get("/edge/me")).json()["device"] == device


@pytest.mark.parametrize(
    "amount",
    [
        "0",
        "-1",
        "1.5",
        "",
        " 1",
        "1e3",
        "٣",
        "9007199254740992",
        "9223372036854775808",
        1,
        True,
        None,
        1.5,
        [],
        {},
    ],
)
@pytest.mark.parametrize("field", ["cap_total", "cap_each"])
async def test_wrong_amounts(door, field: str, amount: object) -> None:
    body = {
        "device": "dev_" + "0" * 26, "currency": "INR", "cap_total": "100", "cap_each": "100",
        "idempotency_key": "b",
    }  # fmt: skip
    answer = await door.post("/edge/allowances", json=body | {field: amount})
    assert answer.status_code == 400
    assert answer.json()["code"] in {"money.amount", "http.malformed"}


@pytest.mark.parametrize("path", [
    "/edge/terminals/enrol", "/edge/devices/enrol", "/edge/allowances", "/edge/allowances/surrender",
    "/edge/vouchers/witness", "/edge/voids",
])  # fmt: skip
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"7", b'{"a": 1}', b"\xff\xfe", b'{"code": ' + b"[" * 2000]
)
async def test_wrong_bodies(door, path: str, body: bytes) -> None:
    answer = await door.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "http.malformed"


@pytest.mark.parametrize("text", ["", "a", "a===", "é", "++++", "AA AA", "A" * 60_000])
async def test_wrong_base64(door, text: str) -> None:
    body = {"code": "c", "key": text, "server_nonce": "AAAA", "proof": "AAAA"}
    answer = await door.post("/edge/terminals/enrol", json=body)
    assert answer.status_code in {400, 409}
    assert answer.json()["code"] in {"edge.base64", "trust.nonce_used"}


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, True, "1", None, 1e400])
async def test_wrong_numbers(door, number: object) -> None:
    body = {
        "aid": b64(bytes(16)),
        "counter": number,
        "cum": 0,
        "h": b64(bytes(32)),
        "sig": b64(bytes(64)),
    }
    text = json.dumps(body)
    answer = await door.post(
        "/edge/allowances/surrender", content=text, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 404}, answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/cbor", 400, "vouchers.sync"),
        (b"\x85\x01", "application/cbor", 400, "vouchers.sync"),
        (b"\xff" * 100_000, "application/cbor", 400, "vouchers.sync"),
        (b"{}", "application/json", 400, "edge.content_type"),
        (b"\x00" * 5_000_000, "application/cbor", 413, "http.too_large"),
    ],
)
async def test_wrong_syncs(door, content: bytes, kind: str, status: int, code: str) -> None:
    answer = await door.post("/edge/sync", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "path", ["/edge/devices/enrol", "/edge/allowances", "/edge/vouchers/witness"]
)
@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic YTpi", "Bearer " + "0" * 64])
async def test_who_is_not_signed_in(door, path: str, token: str | None) -> None:
    bodies = {
        "/edge/devices/enrol": {
            "key": "AA", "tier": "software", "label": "x", "server_nonce": "AA", "proof": "AA",
        },
        "/edge/allowances": {
            "device": "d", "currency": "INR", "cap_total": "1", "cap_each": "1", "idempotency_key": "k",
        },
        "/edge/vouchers/witness": {"vouchers": []},
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=door.base_url) as stranger:
        headers = {} if token is None else {"Authorization": token}
        answer = await stranger.post(path, json=bodies[path], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "sessions.unauthenticated")


async def test_a_foreign_origin_is_refused(door) -> None:
    answer = await door.get("/edge/me", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "http.origin")


async def test_the_bundle_and_health(door) -> None:
    bundle = await door.get("/edge/bundle")
    assert bundle.headers["content-type"] == "application/cbor"
    assert not isinstance(decode_bundle(bundle.content), Verdict)
    assert (await door.get("/health/live")).json() == {"status": "live"}
    assert (await door.get("/health/ready")).json()["status"] == "ready"
    missing = await door.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "http.not_found")


async def test_a_link_becomes_a_cookie_once(door) -> None:
    answer = await door.post("/session/link", json={"code": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (403, "sessions.link_used")
