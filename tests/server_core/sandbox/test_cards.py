"""No card's number is taken, kept or logged; and the card door's own refusals."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server_core.sandbox.running import sandbox

NUMBER = "4111111111111111"


def body(number: int, **other: object) -> dict[str, Any]:
    return {
        "txn_id": f"HUN{number:032X}", "amount_minor": 100, "currency": "INR", "token": "tok_abc",
    } | other  # fmt: skip


def test_a_card_s_number_is_refused_wherever_it_stands_and_kept_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "upi.db"
    txn = body(1)["txn_id"]
    escaped = "".join(f"\\u00{ord(one):02x}" for one in NUMBER)
    with sandbox(path=path) as address, httpx.Client(base_url=address) as client:
        before = client.get("/health").json()
        sent = [
            client.post("/card/authorize", json=body(1, token=f"tok_{NUMBER}")),
            client.post("/card/authorize", json=body(1, payee_name="4111-1111-1111-1111")),
            client.post("/card/authorize", json=body(1, surprise={"deep": [NUMBER]})),
            client.post("/card/authorize", json=body(1) | {NUMBER: 1}),
            client.post("/card/authorize", content='{"token": "' + escaped + '"}'),
            client.post("/card/authorize", content=NUMBER),
            client.post("/card/authorize", json=body(1, amount_minor=int(NUMBER))),
            client.post(f"/card/authorize?pan={NUMBER}", json=body(1)),
            client.post("/card/authorize", json=body(1), headers={"x-card": NUMBER}),
            client.get(f"/card/txn/{NUMBER}"),
            client.post("/card/capture", json={"capture_id": txn, "txn_id": NUMBER}),
            client.post("/card/refund", json={"refund_id": txn, "note": f"of {NUMBER}"}),
            client.post(f"/card/admin/txn/{NUMBER}", json={"code": "00"}),
            client.post("/bank/initiate", json=body(1, bank=NUMBER)),
            client.post(f"/bank/page/{txn}", content=f"decision={NUMBER[:4]}+{NUMBER[4:]}"),
        ]
        assert client.get("/health").json() == before
        assert client.post("/card/authorize", json=body(2)).json()["code"] == "00"
        kept = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    for answer in sent:
        assert (answer.status_code, answer.json()["error"]) == (400, "card.number")
        assert NUMBER not in answer.text
    kept += b"".join(one.read_bytes() for one in tmp_path.iterdir())
    told = "".join(capfd.readouterr())
    own = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    assert b"tok_abc" in kept
    for text in (kept.decode("latin-1"), told, "".join(own)):
        assert NUMBER not in text


@pytest.fixture(scope="module")
def client() -> Any:
    with sandbox() as address, httpx.Client(base_url=address) as one:
        yield one


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"token": "abc"}, "card.token"),
        ({"token": "tok_"}, "card.token"),
        ({"amount_minor": 10**11}, "card.amount"),
        ({"amount_minor": True}, "card.amount"),
        ({"currency": "XXX"}, "card.currency"),
        ({"capture": 1}, "card.capture"),
        ({"txn_id": "short"}, "card.txn_id"),
        ({"surprise": 1}, "card.field"),
    ],
)
def test_a_bad_request_has_a_name(client: httpx.Client, wrong: dict[str, Any], code: str):
    refused = client.post("/card/authorize", json=body(3, **wrong))
    assert (refused.status_code, refused.json()["error"]) == (400, code)


def test_a_token_says_its_network_and_last_four(client: httpx.Client):
    said = [client.post("/card/authorize", json=body(n, token="tok_x")).json() for n in (4, 5)]
    assert said[0]["card"] == said[1]["card"]
    assert len(said[0]["card"]["last4"]) == 4


@pytest.mark.parametrize("door", ["card", "bank"])
def test_each_door_says_what_steers(client: httpx.Client, door: str):
    told = client.get(f"/{door}/admin/help").json()
    assert any("decline" in word for word in told)


def test_an_id_is_of_one_door(client: httpx.Client):
    client.post("/card/authorize", json=body(6))
    for path in ("/upi/txn/", "/bank/txn/"):
        assert client.get(path + body(6)["txn_id"]).status_code == 404
    assert client.get("/card/txn/" + body(6)["txn_id"]).json()["code"] == "00"
    held = client.post("/card/authorize", json=body(7, capture=False)).json()
    assert (held["captured_minor"], held["open_minor"]) == (0, 100)
    steered = client.post("/card/admin/txn/" + body(7)["txn_id"], json={"code": "05"})
    assert steered.status_code == 200
    assert client.get("/card/txn/" + body(7)["txn_id"]).json()["code"] == "05"
