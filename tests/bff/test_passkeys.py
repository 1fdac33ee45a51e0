"""Passkeys over HTTP: from a one-time link to a passkey, in with it again, and what the door refuses."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bff.app import create_app
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.sessions import service as sessions
from server_core.settings import Settings
from tests.authenticator import Authenticator, unb64
from tests.conftest import empty

ORIGIN = "https://pay.example"
OPERATOR = Actor(party=None, role=Role.OPERATOR)


@pytest.fixture
async def core(database_url: str, tmp_path: Any) -> AsyncIterator[Core]:
    await empty(database_url)
    settings = Settings.read(
        {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url, "HUNDI_ORIGIN": ORIGIN}
    )
    async with open_core(settings) as opened:
        yield opened


@pytest.fixture
async def browser(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(core))
    async with httpx.AsyncClient(
        transport=transport, base_url=ORIGIN, headers={"Origin": ORIGIN}
    ) as client:
        yield client


async def linked(core: Core, browser: httpx.AsyncClient) -> None:
    async with core.db.work() as work:
        party = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        code = await sessions.link(
            work, core.entropy, OPERATOR, party=party.id, role=Role.PAYER, assurance=2
        )
    assert (await browser.post("/session/link", json={"code": code})).status_code == 204


async def made(browser: httpx.AsyncClient, device: Authenticator, label: str = "phone") -> dict[str, Any]:  # fmt: skip
    options = (await browser.post("/passkeys/options")).json()["options"]
    body = {"answer": json.loads(device.create(options)), "label": label}
    answer = await browser.post("/passkeys", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def enters(browser: httpx.AsyncClient, device: Authenticator) -> httpx.Response:
    asked = (await browser.post("/session/passkey/options")).json()
    answer = json.loads(device.get(asked["options"]))
    return await browser.post(
        "/session/passkey", json={"answer": answer, "ticket": asked["ticket"], "role": "payer"}
    )


async def test_from_a_link_to_a_passkey_and_in_with_it_again(
    core: Core, browser: httpx.AsyncClient
):
    await linked(core, browser)
    device = Authenticator(ORIGIN)
    kept = await made(browser, device)
    assert (await browser.get("/passkeys")).json()["passkeys"] == [kept]
    assert (await browser.post("/session/end")).status_code == 204
    browser.cookies.clear()
    assert (await browser.get("/passkeys")).status_code == 401
    entered = await enters(browser, device)
    assert entered.status_code == 204
    cookie = entered.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "secure", "samesite=strict"))
    [seen] = (await browser.get("/passkeys")).json()["passkeys"]
    assert (seen["id"], seen["used_at"] is not None) == (kept["id"], True)


async def test_it_is_renamed_and_ended_but_the_last_one_stays(
    core: Core, browser: httpx.AsyncClient
):
    await linked(core, browser)
    one, two = (
        await made(browser, Authenticator(ORIGIN)),
        await made(browser, Authenticator(ORIGIN)),
    )
    renamed = await browser.patch(f"/passkeys/{one['id']}", json={"label": "old"})
    assert renamed.json()["label"] == "old"
    for _ in range(2):
        assert (await browser.delete(f"/passkeys/{one['id']}")).status_code == 204
    last = await browser.delete(f"/passkeys/{two['id']}")
    assert (last.status_code, last.json()["code"]) == (409, "passkeys.last")


async def test_a_session_is_proved_again(core: Core, browser: httpx.AsyncClient):
    await linked(core, browser)
    device = Authenticator(ORIGIN)
    await made(browser, device)
    options = (await browser.post("/session/proof/options")).json()["options"]
    assert [unb64(one["id"]) for one in options["allowCredentials"]] == [device.credential]
    answer = {"answer": json.loads(device.get(options))}
    assert (await browser.post("/session/proof", json=answer)).status_code == 204
    again = await browser.post("/session/proof", json=answer)
    assert (again.status_code, again.json()["code"]) == (403, "passkeys.challenge")


@pytest.mark.parametrize("path", ["/passkeys/options", "/session/proof/options"])
async def test_nobody_is_asked_who_is_not_signed_in(browser: httpx.AsyncClient, path: str):
    refused = await browser.post(path)
    assert (refused.status_code, refused.json()["code"]) == (401, "sessions.unauthenticated")


async def test_another_page_gets_nothing(core: Core, browser: httpx.AsyncClient):
    await linked(core, browser)
    for path in ("/session/passkey/options", "/passkeys/options", "/session/proof/options"):
        refused = await browser.post(path, headers={"Origin": "https://evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (403, "http.origin")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"answer": {}, "ticket": "", "role": "payer"}, {"answer": 5, "ticket": "", "role": "payer"},
        {"answer": {"a": "x" * 20_000}, "ticket": "", "role": "payer"},
        {"answer": {}, "ticket": "", "role": "king"}, {"answer": {}, "ticket": "", "role": "payer", "more": 1},
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_refused_in_words(browser: httpx.AsyncClient, body: Any):
    refused = await browser.post("/session/passkey", json=body)
    assert refused.status_code in {400, 403}
    assert refused.json()["code"]
