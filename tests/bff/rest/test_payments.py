"""Payments over REST: what each door answers, with which status, to whom."""

import asyncio

import httpx
import pytest

from server_core.ids import public

PROBLEM = "application/problem+json"


def told(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"].startswith(PROBLEM), answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["code"]


async def test_an_intent_is_asked_for_confirmed_and_read(door) -> None:
    body = {"payee_id": public("pty", door.shop.id), "amount": "15000", "description": "two teas"}
    made = await door.post("/intents", body, by="shop")
    assert made.status_code == 201
    said = made.json()
    assert made.headers["location"] == f"/intents/{said['id']}"
    assert made.headers["cache-control"] == "no-store"
    assert {name: said[name] for name in ("state", "purpose", "amount", "currency")} == {
        "state": "requires_confirmation", "purpose": "payment", "amount": "15000",
        "currency": "INR",
    }  # fmt: skip
    assert (said["payee_id"], said["payer_id"]) == (public("pty", door.shop.id), None)
    assert said["description"] == "two teas"
    assert said["created_at"].endswith("Z")
    assert said["created_at"] < said["expires_at"]
    paid = await door.post(f"/intents/{said['id']}/confirm", {"method": "book"})
    assert (paid.status_code, paid.json()["state"]) == (200, "succeeded")
    assert paid.json()["payer_id"] == public("pty", door.asha.id)
    for by in ("asha", "shop"):
        assert (await door.get(f"/intents/{said['id']}", by)).json() == paid.json()
    assert told(await door.get(f"/intents/{said['id']}", "ravi")) == (404, "payments.unknown")
    assert await door.balance(door.shop) == 15_000


async def test_create_and_confirm_in_one(door) -> None:
    paid = await door.post("/payments", door.payment(description="lunch"))
    assert (paid.status_code, paid.json()["state"]) == (201, "succeeded")
    assert paid.headers["location"] == f"/intents/{paid.json()['id']}"
    assert await door.balance(door.shop) == 15_000
    assert (await door.get(paid.headers["location"])).json() == paid.json()
    rows = await door.sql(
        "SELECT type FROM event WHERE aggregate_id = (SELECT id FROM intent WHERE payer = $1)"
        " ORDER BY seq",
        door.asha.id,
    )
    assert [row["type"] for row in rows] == ["payment.created", "payment.succeeded"]


async def test_by_bank_in_one(door) -> None:
    body = door.payment(method="upi", payer_vpa="asha@okbank")
    paid = await door.post("/payments", body)
    assert (paid.status_code, paid.json()["state"]) == (201, "succeeded")
    assert (await door.balance(door.shop), await door.balance(door.asha)) == (15_000, 100_000)


async def test_a_top_up_names_no_payee(door) -> None:
    body = {"amount": "500", "purpose": "top_up", "method": "upi", "payer_vpa": "asha@okbank"}
    topped = await door.post("/payments", body)
    assert (topped.status_code, topped.json()["purpose"]) == (201, "top_up")
    assert await door.balance(door.asha) == 100_500


async def test_cancel_ends_an_intent_and_a_paid_one_is_not_canceled(door) -> None:
    intent = await door.bill()
    over = await door.post(f"/intents/{intent}/cancel", by="shop")
    assert (over.status_code, over.json()["state"]) == (200, "canceled")
    late = await door.post(f"/intents/{intent}/confirm", {"method": "book"})
    assert told(late) == (409, "payments.state")
    paid = (await door.post("/payments", door.payment())).json()["id"]
    assert told(await door.post(f"/intents/{paid}/cancel", {})) == (409, "payments.state")
    assert told(await door.post(f"/intents/{paid}/cancel", {"x": 1})) == (400, "http.malformed")


async def test_a_refused_payment_names_its_intent_and_may_go_another_way(door) -> None:
    refused = await door.post("/payments", door.payment(amount="100001"))
    assert told(refused) == (409, "payments.insufficient_funds")
    said = refused.json()
    assert said["available"] == "100000"
    stands = (await door.get(f"/intents/{said['payment']}")).json()
    assert stands["state"] == "requires_payment_method"
    body = {"method": "upi", "payer_vpa": "asha@okbank"}
    assert (await door.post(f"/intents/{said['payment']}/confirm", body)).status_code == 200
    assert await door.balance(door.shop) == 100_001


async def test_what_a_rule_refuses_leaves_no_intent(door) -> None:
    for changes, expected in (
        ({"amount": "10000001"}, (429, "payments.over_limit")),
        ({"payee_id": public("pty", door.asha.id)}, (400, "payments.to_oneself")),
        ({"payee_id": "pty_" + "0" * 26}, (404, "payments.payee_unknown")),
        ({"method": "offline"}, (400, "payments.method")),
        ({"method": "upi"}, (400, "payments.instrument")),
        ({"currency": "XXX"}, (400, "money.unknown_currency")),
    ):
        assert told(await door.post("/payments", door.payment(**changes))) == expected
    by_shop = door.payment(payee_id=public("pty", door.ravi.id))
    assert told(await door.post("/payments", by_shop, by="shop")) == (403, "payments.role")
    assert await door.sql("SELECT id FROM intent WHERE payer = $1", door.asha.id) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"amount": "1.5"}, "money.amount", "amount"),
        ({"amount": "007"}, "money.amount", "amount"),
        ({"amount": ""}, "money.amount", "amount"),
        ({"amount": 15000}, "http.malformed", None),
        ({"amount": None}, "http.malformed", None),
        ({"payee_id": None}, "http.malformed", None),
        ({"expires_in": 0}, "payments.expiry", "expires_in"),
        ({"expires_in": 2**53 - 1}, "payments.expiry", "expires_in"),
        ({"expires_in": 2**53}, "http.malformed", None),
        ({"expires_in": 60.0}, "http.malformed", None),
        ({"expires_in": "60"}, "http.malformed", None),
        ({"expires_in": True}, "http.malformed", None),
        ({"description": "a\x00b"}, "payments.description", "description"),
        ({"description": "x" * 141}, "payments.description", "description"),
        ({"purpose": "gift"}, "http.malformed", None),
        ({"colour": "red"}, "http.malformed", None),
    ],
)
async def test_a_wrong_member_is_named(door, changes, code, field) -> None:
    body = {"payee_id": public("pty", door.shop.id), "amount": "15000"} | changes
    answer = await door.post("/intents", body, by="shop")
    assert told(answer) == (400, code)
    assert answer.json().get("field") == field


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"amount": "1"}',
        b'{"amount": "1", "amount": "2"}',
        b'{"amount": "1", "am\\u006funt": "2"}',
        b'{"amount": "1", "description": "\\ud800"}',
        b'{"amount": "1", "description": "\xed\xa0\x80"}',
        b'{"amount": "1", "expires_in": NaN}',
        b'{"amount": "1", "expires_in": 1e3}',
        b'{"amount": "1", "expires_in": ' + b"9" * 9000 + b"}",
        b'{"amount": ' + b"[" * 20_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
async def test_a_body_that_can_be_read_in_two_ways_is_refused(door, body: bytes) -> None:
    for path in ("/intents", "/payments"):
        assert told(await door.post(path, body)) == (400, "http.malformed")


async def test_other_requests_that_are_no_json(door) -> None:
    huge = b'{"description": "' + b"x" * 70_000 + b'"}'
    assert told(await door.post("/intents", huge)) == (413, "http.too_large")
    form = await door.post("/intents", b"amount=1", **{"Content-Type": "text/plain"})
    assert told(form) == (400, "http.malformed")
    stranger = await door.http.post("/payments", json={})
    assert told(stranger) == (401, "sessions.unauthenticated")
    assert stranger.headers["www-authenticate"] == "Bearer"
    foreign = await door.post("/payments", door.payment(), Origin="https://evil.example")
    assert told(foreign) == (403, "http.origin")
    assert told(await door.get("/intents/pay_nobody")) == (404, "id.unknown")
    assert told(await door.post("/intents/pay_x/confirm", {"method": "book"})) == (
        404, "id.unknown",
    )  # fmt: skip


async def test_a_cookie_signs_in_too(door) -> None:
    cookie = {"Cookie": f"hundi_session={door.tokens['asha']}", "Idempotency-Key": door.key()}
    paid = await door.http.post("/payments", json=door.payment(), headers=cookie)
    assert paid.status_code == 201


async def test_two_payments_at_once_never_spend_the_same_money(door) -> None:
    asked = [door.post("/payments", door.payment(amount="40000")) for _ in range(4)]
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [201, 201, 409, 409]
    assert (await door.balance(door.shop), await door.balance(door.asha)) == (80_000, 20_000)


async def test_the_schema_lists_the_doors(door) -> None:
    schema = (await door.http.get("/schema/openapi.json")).json()
    for path, ok in (
        ("/intents", {"201"}), ("/payments", {"201", "202"}),
        ("/intents/{intent}/confirm", {"200", "202"}), ("/intents/{intent}/cancel", {"200"}),
    ):  # fmt: skip
        told_of = schema["paths"][path]["post"]
        assert set(told_of["responses"]) >= ok | {"400", "401", "403", "404", "409", "422", "503"}
        [header] = [one for one in told_of["parameters"] if one["in"] == "header"]
        assert (header["name"], header["required"]) == ("Idempotency-Key", True)
        content = told_of["requestBody"]["content"]["application/json"]["schema"]
        assert content["additionalProperties"] is False
        assert "Idempotency-Replayed" in told_of["responses"]["409"]["headers"]
        problem = told_of["responses"]["422"]["content"][PROBLEM]["schema"]
        assert problem == {"$ref": "#/components/schemas/Problem"}
    body = schema["paths"]["/payments"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["required"]) == {"amount", "method"}
    assert body["schema"]["properties"]["method"]["enum"] == [
        "book",
        "card",
        "netbanking",
        "offline",
        "upi",
        "upi_link",
    ]
    shown = schema["paths"]["/intents/{intent}"]["get"]["responses"]
    assert set(shown) >= {"200", "401", "404"}
    assert "$defs" not in str(schema)


async def test_authorize_capture_and_refund(door) -> None:
    held = await door.post("/payments", door.payment(capture_method="manual_multiple"))
    assert (held.status_code, held.json()["state"]) == (201, "requires_capture")
    assert held.json()["amount_capturable"] == "15000"
    at = f"/intents/{held.json()['id']}/capture"
    assert told(await door.post(at, {"amount": "1"})) == (403, "payments.not_the_payee")
    part = await door.post(at, {"amount": "4000", "final": False}, by="shop")
    assert (part.status_code, part.json()["amount_captured"]) == (200, "4000")
    over = await door.post(at, {"amount": "11001"}, by="shop")
    assert (told(over), over.json()["capturable"]) == ((400, "payments.over_capturable"), "11000")
    done = await door.post(at, {}, by="shop")
    assert (done.json()["state"], done.json()["amount_captured"]) == ("succeeded", "15000")
    body = {"payment_id": held.json()["id"], "amount": "5000", "reason": "duplicate"}
    back = await door.post("/refunds", body, by="shop")
    assert (back.status_code, back.json()["state"]) == (201, "succeeded")
    assert (await door.get(back.headers["location"], "asha")).json() == back.json()
    assert told(await door.get(back.headers["location"], "ravi")) == (404, "refunds.unknown")
    now = (await door.get(f"/intents/{held.json()['id']}", "shop")).json()
    assert (now["amount_refunded"], await door.balance(door.shop)) == ("5000", 10_000)
    more = await door.post("/refunds", body | {"amount": "10001"}, by="shop")
    assert (told(more), more.json()["refundable"]) == ((409, "refunds.exceeds_captured"), "10000")


async def test_a_dry_run_does_nothing(door) -> None:
    asked = {"payee_id": public("pty", door.shop.id), "amount": "15000"}
    at = f"/intents/{(await door.post('/intents', asked, by='shop')).json()['id']}"
    run = await door.post(f"{at}/confirm", {"method": "book", "dry_run": True}, key="once")
    assert (run.status_code, run.json()["state"]) == (200, "succeeded")
    assert (await door.get(at, "shop")).json()["state"] == "requires_confirmation"
    assert await door.balance(door.shop) == 0
    paid = await door.post(f"{at}/confirm", {"method": "book"}, key="once")
    assert (paid.status_code, paid.json()["state"]) == (200, "succeeded")
