import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_core.sandbox.dialects import UPI
from server_core.sandbox.model import Behaviour
from server_core.sandbox.rules import help_for
from server_core.sandbox.store import Store
from tests.server_core.sandbox.running import PROMPT, sandbox

ROOT = Path(__file__).parents[3]
SERVE = (
    "import sys; from pathlib import Path; from server_core.sandbox.app import serve;"
    "serve('127.0.0.1', 0, 1, Path(sys.argv[1]),"
    " ready=lambda address: print(address, flush=True))"
)


def body(number: int, payer: str = "asha@okbank", **other: object) -> dict[str, Any]:
    return {
        "txn_id": f"HUN{number:032X}",
        "amount_minor": 100,
        "currency": "INR",
        "payer_vpa": payer,
        "payee_vpa": "shop@hundi",
    } | other


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with sandbox() as address, httpx.Client(base_url=address, timeout=10) as one:
        yield one


def test_pay_status_and_reverse(client: httpx.Client):
    paid = client.post("/upi/pay", json=body(1))
    assert paid.status_code == 200
    said = paid.json()
    assert said == {
        "txn_id": body(1)["txn_id"],
        "code": "00",
        "rrn": said["rrn"],
        "amount_minor": 100,
        "reversed": False,
    }
    assert client.get(f"/upi/txn/{body(1)['txn_id']}").json() == said
    given_back = client.post("/upi/reverse", json={"txn_id": body(1)["txn_id"]}).json()
    assert given_back == said | {"reversed": True}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"amount_minor": True}, "upi.amount"),
        ({"amount_minor": 1.5}, "upi.amount"),
        ({"amount_minor": 0}, "upi.amount"),
        ({"amount_minor": -1}, "upi.amount"),
        ({"amount_minor": 2**63}, "upi.amount"),
        ({"currency": "USD"}, "upi.currency"),
        ({"payer_vpa": "asha"}, "upi.vpa"),
        ({"txn_id": "HUN"}, "upi.txn_id"),
        ({"note": "\ud800"}, "upi.note"),
    ],
)
def test_a_bad_request_has_a_name_and_its_transaction(
    client: httpx.Client, wrong: dict[str, object], code: str
):
    said = body(2) | wrong
    refused = client.post("/upi/pay", content=json.dumps(said))
    assert (refused.status_code, refused.json()["error"]) == (400, code)
    assert refused.json().get("txn_id") == (None if code == "upi.txn_id" else said["txn_id"])


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/upi/pay", b"", 400),
        ("POST", "/upi/pay", b"\xff", 400),
        ("POST", "/upi/pay", b"[" * 10_000, 400),
        ("POST", "/upi/pay", b" " * 20_000, 413),
        ("POST", "/upi/reverse", b"{}", 400),
        ("POST", "/upi/reverse", b'{"txn_id": 1}', 400),
        ("POST", "/upi/admin/behaviour", b'{"seed": 1.5}', 400),
        ("POST", "/upi/admin/behaviour", b"x", 400),
        ("POST", "/upi/admin/txn/HUN", b'{"code": "00"}', 400),
        ("GET", "/upi/txn/short", b"", 400),
        ("GET", "/upi/txn/" + "%00" * 35, b"", 400),
        ("GET", "/upi/txn/" + "%ff" * 35, b"", 400),
        ("GET", "/nowhere", b"", 404),
        ("GET", "/upi/pay", b"", 405),
    ],
)
def test_nothing_sent_breaks_it(
    client: httpx.Client, method: str, path: str, content: bytes, status: int
):
    refused = client.request(method, path, content=content)
    assert refused.status_code == status
    assert refused.json()["error"].startswith("upi.")


def test_one_id_sent_at_once_by_many_is_one_debit(client: httpx.Client):
    before = client.get("/health").json()["transactions"]
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: client.post("/upi/pay", json=body(3)).json(), range(24)))
    assert all(one == answers[0] for one in answers)
    assert client.get("/health").json()["transactions"] == before + 1


def test_help_says_what_steers(client: httpx.Client):
    assert client.get("/upi/admin/help").json() == help_for(UPI)


def test_behaviour_is_steered_and_an_outage_spares_health_and_admin(client: httpx.Client):
    changed = client.post("/upi/admin/behaviour", json={"outage": True, "decline_rate": 1})
    assert changed.json() == PROMPT.facts() | {"outage": True, "decline_rate": 1}
    assert client.post("/upi/pay", json=body(4)).status_code == 503
    assert client.get(f"/upi/txn/{body(1)['txn_id']}").status_code == 503
    assert client.get("/health").json()["status"] == "outage"
    client.post("/upi/admin/behaviour", json={"outage": False})
    assert client.post("/upi/pay", json=body(4)).json()["code"] != "00"
    client.post("/upi/admin/behaviour", json={"decline_rate": 0})
    assert client.get("/upi/admin/behaviour").json() == PROMPT.facts()


def test_a_transaction_is_steered(client: httpx.Client):
    client.post("/upi/pay", json=body(5))
    path = f"/upi/admin/txn/{body(5)['txn_id']}"
    assert client.post(path, json={"code": "RB"}).status_code == 200
    assert client.get(f"/upi/txn/{body(5)['txn_id']}").json()["code"] == "RB"


def test_stopping_lets_go_of_a_held_answer():
    held = Behaviour(latency_median_ms=0, hold_ms=600_000)
    with ThreadPoolExecutor(1) as one, httpx.Client(timeout=30) as client:
        with sandbox(held) as address:
            waiting = one.submit(client.post, f"{address}/upi/pay", json=body(1, "timeout@okbank"))
            while httpx.get(f"{address}/health").json()["transactions"] == 0:
                pass
            assert not waiting.done()
        assert waiting.result(timeout=20).json()["code"] == "00"


def started(path: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_process_stops_and_its_debits_outlive_it(tmp_path: Path, how: signal.Signals):
    path = tmp_path / "upi.db"
    process, address = started(path)
    paid = httpx.post(f"{address}/upi/pay", json=body(1)).json()
    assert paid["code"] == "00"
    os.kill(process.pid, how)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-9 if how is signal.SIGKILL else 0, "", "")

    again, address = started(path)
    try:
        assert httpx.post(f"{address}/upi/pay", json=body(1)).json() == paid
    finally:
        again.terminate()
        again.communicate(timeout=20)
    assert again.returncode == 0


def test_one_file_is_one_switch(tmp_path: Path):
    path = tmp_path / "upi.db"
    second = Store(path)
    with sandbox(path=path), pytest.raises(sqlite3.OperationalError, match="locked"):
        second.open()
    second.open()
    second.close()
