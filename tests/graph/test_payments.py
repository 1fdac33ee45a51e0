"""Payments by mutation: typed refusals, keys, amounts, and what each side may see."""

import pytest

from server_core.ids import public

CREATE = """mutation ($input: CreatePaymentInput!) { createPayment(input: $input) {
  payment { id state purpose description createdAt expiresAt amount { minor currency }
    payee { name kind } payer { name } attempts { number } }
  userErrors { __typename code field ... on LimitExceeded { limit { minor } resetsAt } } } }"""
TOP_UP = """mutation ($input: CreateTopUpInput!) { createTopUp(input: $input) {
  payment { purpose payee { name } payer { name } } userErrors { code field } } }"""
CANCEL = """mutation ($input: CancelPaymentInput!) { cancelPayment(input: $input) {
  payment { state } userErrors { code } } }"""
ATTEMPTS = """query ($id: ID!) { payment(id: $id) { state
  attempts { number method state railCode railReference hint startedAt } } }"""


def given(world, **changes):
    return {
        "idempotencyKey": world.key(), "payeeId": public("pty", world.shop.id), "amount": "15000",
    } | changes  # fmt: skip


async def test_a_payment_is_asked_for_and_paid(world) -> None:
    made = await world.ask(world.shop, CREATE, input=given(world, description="chai"))
    payment = made["createPayment"]["payment"]
    assert made["createPayment"]["userErrors"] == []
    assert (payment["state"], payment["purpose"]) == ("REQUIRES_CONFIRMATION", "PAYMENT")
    assert payment["payee"] == {"name": "Chai Point", "kind": "MERCHANT"}
    assert (payment["payer"], payment["attempts"]) == (None, [])
    assert payment["createdAt"] == "2026-09-21T14:13:20+00:00"
    assert payment["expiresAt"] == "2026-09-21T14:43:20+00:00"
    paid = await world.pay(world.asha, await world.bill())
    assert paid["userErrors"] == []
    assert paid["payment"]["state"] == "SUCCEEDED"
    assert paid["payment"]["payer"] == {"name": "Asha"}
    assert paid["payment"]["amount"] == {"minor": "15000", "currency": "INR", "exponent": 2}


async def test_a_repeat_answers_the_same_and_another_body_is_told(world) -> None:
    asked = given(world)
    first = await world.ask(world.shop, CREATE, input=asked)
    assert await world.ask(world.shop, CREATE, input=asked) == first
    other = await world.ask(world.shop, CREATE, input=asked | {"amount": "15001"})
    [error] = other["createPayment"]["userErrors"]
    assert (error["code"], error["field"]) == ("idempotency.key_reused", "idempotencyKey")
    intent = await world.bill()
    paid = await world.pay(world.asha, intent, idempotencyKey="one")
    assert await world.pay(world.asha, intent, idempotencyKey="one") == paid
    again = await world.pay(world.asha, intent)
    assert [one["code"] for one in again["userErrors"]] == ["payments.state"]
    assert again["payment"]["state"] == "SUCCEEDED"


async def test_insufficient_funds_say_what_is_available(world) -> None:
    refused = await world.pay(world.asha, await world.bill(100_001))
    [error] = refused["userErrors"]
    assert (error["__typename"], error["code"]) == (
        "InsufficientFunds",
        "payments.insufficient_funds",
    )
    assert error["available"] == {"minor": "100000", "currency": "INR", "exponent": 2}
    assert refused["payment"]["state"] == "REQUIRES_PAYMENT_METHOD"


async def test_a_limit_says_itself(world) -> None:
    said = await world.ask(world.shop, CREATE, input=given(world, amount="10000001"))
    assert said["createPayment"]["userErrors"] == [
        {
            "__typename": "LimitExceeded", "code": "payments.over_limit", "field": None,
            "limit": {"minor": "10000000"}, "resetsAt": None,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "amount",
    ["", "0", "-1", "+1", " 5", "5 ", "5.0", "1e3", "007", "0x10", "١٢", "5\n", "NaN", "1_000",
     str(2**53), str(2**53 + 1), str(2**63), "9" * 400],
)  # fmt: skip
async def test_a_wrong_amount_is_a_named_user_error(world, amount: str) -> None:
    for text, name in ((CREATE, "createPayment"), (TOP_UP, "createTopUp")):
        asked = given(world, amount=amount)
        if text is TOP_UP:
            del asked["payeeId"]
        said = (await world.ask(world.asha, text, input=asked))[name]
        assert said["payment"] is None
        [error] = said["userErrors"]
        assert (error["code"], error["field"]) == ("money.amount", "amount")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"idempotencyKey": ""}, "idempotency.key_missing", "idempotencyKey"),
        ({"idempotencyKey": "a b"}, "idempotency.key_malformed", "idempotencyKey"),
        ({"payeeId": "pty_nobody"}, "id.unknown", "payeeId"),
        ({"payeeId": 5}, "id.unknown", "payeeId"),
        ({"currency": "XXX"}, "money.unknown_currency", "currency"),
        ({"currency": "\x00"}, "money.unknown_currency", "currency"),
        ({"description": "a\x00b"}, "payments.description", "description"),
        ({"expiresIn": 0}, "payments.expiry", "expiresIn"),
        ({"expiresIn": -(2**31)}, "payments.expiry", "expiresIn"),
    ],
)
async def test_a_wrong_input_is_named_by_its_field(world, changes, code, field) -> None:
    said = await world.ask(world.shop, CREATE, input=given(world, **changes))
    [error] = said["createPayment"]["userErrors"]
    assert (error["code"], error["field"]) == (code, field)


async def test_a_top_up_fills_ones_own_wallet_only_from_a_bank(world) -> None:
    asked = {"idempotencyKey": world.key(), "amount": "500"}
    said = (await world.ask(world.asha, TOP_UP, input=asked))["createTopUp"]
    assert said["payment"] == {
        "purpose": "TOP_UP", "payee": {"name": "Asha"}, "payer": {"name": "Asha"},
    }  # fmt: skip
    as_shop = (await world.ask(world.shop, TOP_UP, input=asked))["createTopUp"]
    assert [one["code"] for one in as_shop["userErrors"]] == ["payments.top_up_self"]


async def test_cancel_ends_it_once_and_not_for_strangers(world) -> None:
    intent = await world.bill()
    asked = {"id": public("pay", intent.id)}
    by_ravi = (await world.ask(world.ravi, CANCEL, input=asked))["cancelPayment"]
    assert by_ravi == {"payment": None, "userErrors": [{"code": "payments.unknown"}]}
    for _ in range(2):
        said = (await world.ask(world.shop, CANCEL, input=asked))["cancelPayment"]
        assert said == {"payment": {"state": "CANCELED"}, "userErrors": []}
    late = await world.pay(world.asha, intent)
    assert [one["code"] for one in late["userErrors"]] == ["payments.state"]


async def test_a_foreign_payment_cannot_be_confirmed_or_known(world) -> None:
    intent = await world.bill()
    await world.pay(world.asha, intent)
    for stranger in (public("pay", intent.id), "pay_x", public("pay", world.ravi.id)):
        said = await world.pay(world.ravi, intent, id=stranger)
        assert said["payment"] is None
        assert said["userErrors"][0]["code"] in {"payments.unknown", "id.unknown"}


async def test_attempts_are_told_to_each_side_as_far_as_they_concern_it(world) -> None:
    intent = await world.bill(100_001)
    await world.pay(world.asha, intent)
    known = public("pay", intent.id)
    mine = (await world.ask(world.asha, ATTEMPTS, id=known))["payment"]
    [attempt] = mine["attempts"]
    assert (attempt["state"], attempt["railCode"]) == ("DECLINED", "exceeds_funds")
    [seen] = (await world.ask(world.shop, ATTEMPTS, id=known))["payment"]["attempts"]
    assert (seen["state"], seen["railCode"]) == ("DECLINED", None)
    assert (await world.ask(world.ravi, ATTEMPTS, id=known))["payment"]["attempts"] == []
