"""What POST /graphql answers: to whom, in which form, and what it refuses."""

import json

import pytest
from structlog.testing import capture_logs

from bff.guard import DOCUMENTS, hash_of
from server_core.actor import Role
from server_core.ids import public
from server_core.sessions.model import LIFE_MS

VIEWER = "{ viewer { party { name } } }"
CONFIRM = (DOCUMENTS / "confirm_payment.graphql").read_text(encoding="utf-8")
CREATE = (DOCUMENTS / "create_payment.graphql").read_text(encoding="utf-8")


async def test_a_signed_in_actor_is_answered(served) -> None:
    answer = await served.post({"query": VIEWER})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"data": {"viewer": {"party": {"name": "Asha"}}}}
    cookie = {"Cookie": f"hundi_session={served.tokens[Role.MERCHANT]}"}
    answer = await served.http.post("/graphql", json={"query": VIEWER}, headers=cookie)
    assert answer.json() == {"data": {"viewer": {"party": {"name": "Chai Point"}}}}
    kind = "application/graphql-response+json"
    answer = await served.post({"query": VIEWER}, Accept=f"{kind}, application/json;q=0.9")
    assert answer.headers["content-type"] == kind


async def test_who_is_not_signed_in_is_told_so(served) -> None:
    for token in ("", "Bearer", "Bearer x", "Bearer " + "0" * 64, "Basic x"):
        answer = await served.http.post(
            "/graphql", json={"query": VIEWER}, headers={"Authorization": token}
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["errors"][0]["extensions"]["code"] == "sessions.unauthenticated"
    served.core.clock.advance(LIFE_MS)
    assert (await served.post({"query": VIEWER})).status_code == 401


async def test_another_sites_origin_is_refused(served) -> None:
    own = served.core.settings.origin
    assert (await served.post({"query": VIEWER}, Origin=own)).status_code == 200
    for origin in ("http://evil.example", "null", own + ".evil.example", own.upper()):
        answer = await served.post({"query": VIEWER}, Origin=origin)
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["extensions"]["code"] == "http.origin"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'[{"query": "{ viewer { role } }"}]', 400),
        (b"{}", 400),
        (b'{"query": 5}', 400),
        (b'{"query": "{ viewer { role } }", "more": 1}', 400),
        (b'{"query": "{ viewer { role } }", "documentHash": "00"}', 400),
        (b'{"documentHash": "00"}', 400),
        (b'{"query": "{ viewer { role } }", "variables": [1]}', 400),
        (b'{"query": "{ viewer { role } }", "operationName": "Other"}', 400),
        (b'{"query": "\\ud800"}', 400),
        (b"\xff\xfe", 400),
        (b'{"query": "{ viewer { role } }"} x', 400),
        (b"[" * 60_000, 400),
        (b'{"query": "' + b" " * 70_000 + b'"}', 413),
        (b'{"query": "{ nothing }"}', 400),
        (b'{"query": "subscription { paymentStatus(id: 1) { id } }"}', 400),
    ],
)
async def test_what_is_malformed_is_said_to_be(served, body: bytes, status: int) -> None:
    headers = served.bearer() | {"Content-Type": "application/json"}
    with capture_logs() as logs:
        answer = await served.http.post("/graphql", content=body, headers=headers)
    assert answer.status_code == status
    [error, *_] = answer.json()["errors"]
    assert error["extensions"]["code"].partition(".")[0] in {"graphql", "http"}
    assert "data" not in answer.json()
    assert logs == []  # a client's mistake is no error of ours


async def test_other_types_and_methods_are_refused(served) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json;charset=x"):
        headers = served.bearer() | {"Content-Type": kind}
        answer = await served.http.post("/graphql", content=b'{"query":"{x}"}', headers=headers)
        assert answer.status_code == 400
    answer = await served.http.get("/graphql", params={"query": VIEWER}, headers=served.bearer())
    assert answer.status_code == 405


@pytest.mark.parametrize(
    "amount", ["5", "true", "1.5", "1e3", "null", "[]", "{}", str(2**53 + 1), "[" * 400 + "]" * 400]
)
async def test_an_amount_that_is_no_string_is_refused(served, amount: str) -> None:
    given = f'{{"idempotencyKey": "k", "payeeId": "pty_x", "amount": {amount}}}'
    body = json.dumps({"query": CREATE})[:-1] + f', "variables": {{"input": {given}}}}}'
    headers = served.bearer() | {"Content-Type": "application/json"}
    with capture_logs() as logs:
        answer = await served.http.post("/graphql", content=body, headers=headers)
    assert (answer.status_code, logs) == (400, [])
    [error] = answer.json()["errors"]
    code = "graphql.invalid" if amount == "null" else "money.amount"
    assert error["extensions"]["code"] == code


async def test_a_payment_from_bill_to_receipt(served) -> None:
    payee = public("pty", served.shop.id)
    made = await served.mutate(CREATE, Role.MERCHANT, payeeId=payee, amount="15000")
    known = made["payment"]["id"]
    asked = {"id": known, "method": "BOOK", "idempotencyKey": "pay-1"}
    by_hash = {"documentHash": hash_of(CONFIRM), "variables": {"input": asked}}
    first = await served.post(by_hash)
    assert first.json()["data"]["confirmPayment"]["payment"]["state"] == "SUCCEEDED"
    assert (await served.post(by_hash)).content == first.content
    other = known[:-1] + ("1" if known[-1] == "0" else "0")
    reused = await served.mutate(CONFIRM, id=other, method="BOOK", idempotencyKey="pay-1")
    assert [one["code"] for one in reused["userErrors"]] == ["idempotency.key_reused"]


async def test_a_bug_is_opaque_and_logged_once(served) -> None:
    intent = await served.bill()
    async with served.core.db.work() as work:  # now its payee is not there
        await work.execute(
            "UPDATE intent SET payee = $1, payer = $2 WHERE id = $1", intent.id, served.asha.id
        )
    text = "query ($id: ID!) { payment(id: $id) { payee { name } } }"
    with capture_logs() as logs:
        answer = await served.post({"query": text, "variables": {"id": public("pay", intent.id)}})
    assert answer.status_code == 200
    [error] = answer.json()["errors"]
    assert error["message"] == "something went wrong on our side"
    assert error["extensions"]["code"] == "internal"
    assert error["extensions"]["trace"].startswith("trc_")
    assert str(intent.id) not in answer.text
    assert [(log["event"], log["log_level"]) for log in logs] == [("bug", "error")]


async def test_introspection_and_the_page_are_for_developers(served) -> None:
    asked = {"query": "{ __schema { queryType { name } } }"}
    assert (await served.post(asked)).status_code == 400
    async with served.another(dev=True) as (other, _):
        answer = await other.post(asked)
        assert answer.json()["data"]["__schema"]["queryType"]["name"] == "Query"
        assert "graphiql" in (await other.http.get("/graphql")).text.lower()
