"""Server, worker and the example consumer as processes: duplicates, a killed worker, one effect."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from devices.clock import SystemClock

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONSUMER = ROOT / "docs" / "examples" / "webhook_consumer.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(slots=True)
class Street:
    """The programs that run, and the shop's session."""

    home: Path
    env: dict[str, str]
    hook_port: int
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    server: subprocess.Popen[str] | None = None
    token: str = ""
    party: str = ""

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            words, env=self.env | more, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.children.append(child)
        return child

    def hundi(self, *words: str) -> str:
        done = subprocess.run(
            [str(BIN / "hundi"), *words], env=self.env, capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def serve(self) -> None:
        words = ("serve", "--no-workers", "--allow-private-webhooks")
        self.server = self.start(str(BIN / "hundi"), *words)

    def work(self) -> subprocess.Popen[str]:
        child = self.start(str(BIN / "hundi"), "work", "--allow-private-webhooks")
        assert "jobs are running" in child.stdout.readline()
        return child

    def consume(self, secret: str) -> subprocess.Popen[str]:
        child = self.start(
            sys.executable, str(CONSUMER), "--port", str(self.hook_port),
            "--inbox", str(self.home / "inbox.db"), HUNDI_WEBHOOK_SECRET=secret,
        )  # fmt: skip
        assert child.stdout.readline() == "ready\n"
        return child

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = httpx.request(
            method, f"http://127.0.0.1:{self.env['HUNDI_PORT']}{path}", json=body,
            headers={"Authorization": f"Bearer {self.token}"} | headers, timeout=30,
        )  # fmt: skip
        assert answer.is_success, answer.text
        return answer.json()

    def ask(self, key: str) -> str:
        """The shop asks for money: one event, payment.created."""
        body = {"payee_id": self.party, "amount": "15000"}
        return self.call("POST", "/intents", body, **{"Idempotency-Key": key})["id"]

    def settled(self, endpoint: str) -> None:
        """Wait until the server knows what the consumer answered."""
        for _ in range(300):
            found = self.call("GET", f"/webhooks/endpoints/{endpoint}/messages?state=pending")
            if not found["messages"]:
                return
            Event().wait(0.05)
        pytest.fail("messages stay pending")

    def payments(self) -> dict[str, tuple[str, int, int]]:
        """What the consumer holds: id to (state, sequence, effects)."""
        inbox = sqlite3.connect(self.home / "inbox.db")
        rows = inbox.execute("SELECT id, state, sequence, effects FROM payment").fetchall()
        inbox.close()
        return {row[0]: tuple(row[1:]) for row in rows}


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    hook = free_port()
    env = os.environ | {
        "HUNDI_HOME": str(tmp_path / "home"),
        "HUNDI_PORT": str(free_port()),
        "HUNDI_ALLOW_PRIVATE_WEBHOOKS": "1",
    }
    made = Street(tmp_path, env, hook)
    yield made
    # The server last: it may be the one that stops PostgreSQL.
    for child in sorted(made.children, key=lambda one: one is made.server):
        if child.poll() is None:
            child.terminate()
            child.wait(60)
    for child in made.children:
        child.stdout.close()


def wait_for(street: Street) -> None:
    url = f"http://127.0.0.1:{street.env['HUNDI_PORT']}/health/ready"
    for _ in range(600):
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        Event().wait(0.1)
    pytest.fail("the server does not come up")


def lines(child: subprocess.Popen[str], count: int) -> list[str]:
    return [child.stdout.readline().strip() for _ in range(count)]


def test_duplicates_and_a_killed_worker_have_one_effect(street: Street) -> None:
    street.serve()
    wait_for(street)
    street.party = street.hundi(
        "party", "add", "--name", "Chai Point", "--kind", "merchant", "--mcc", "5814"
    )
    street.token = street.hundi("session", "issue", "--party", street.party, "--role", "merchant")
    endpoint = street.call(
        "POST", "/webhooks/endpoints",
        {"url": f"http://127.0.0.1:{street.hook_port}/", "events": ["payment.*"]},
        **{"Idempotency-Key": "hook"},
    )  # fmt: skip
    consumer = street.consume(endpoint["secret"])
    worker = street.work()
    first = street.ask("sale-1")
    [taken] = lines(consumer, 1)
    assert taken.startswith("taken msg_")
    street.settled(endpoint["id"])

    worker.kill()
    worker.wait(30)
    second = street.ask("sale-2")
    street.work()
    assert lines(consumer, 1)[0].startswith("taken msg_")

    street.settled(endpoint["id"])
    # Everything again, over the API and by the operator: the same ids, no second effect.
    again = street.call(
        "POST", f"/webhooks/endpoints/{endpoint['id']}/replay", {"since": "2020-01-01T00:00:00Z"}
    )
    assert again == {"replayed": 2, "next": None}
    assert {one.split()[0] for one in lines(consumer, 2)} == {"again"}
    street.settled(endpoint["id"])
    said = street.hundi("webhooks", "replay", endpoint["id"], "--message", taken.split()[1])
    assert said == "1 go out again"
    assert lines(consumer, 1) == [f"again {taken.split()[1]}"]
    assert street.payments() == {
        first: ("requires_confirmation", 1, 1), second: ("requires_confirmation", 1, 1),
    }  # fmt: skip

    # A stranger's message has none.
    forged = httpx.post(
        f"http://127.0.0.1:{street.hook_port}/", content=b"{}",
        headers={"webhook-id": "msg_x", "webhook-timestamp": str(SystemClock().now_ms() // 1000),
                 "webhook-signature": "v1,AAAA"},
    )  # fmt: skip
    assert forged.status_code == 401

    # The consumer takes a rotated secret over in its own time.
    rotated = street.hundi("webhooks", "rotate", endpoint["id"])
    street.ask("sale-3")
    assert lines(consumer, 1)[0].startswith("taken msg_"), "the old secret signs for a day"
    consumer.terminate()
    consumer.wait(30)
    consumer = street.consume(rotated)
    street.ask("sale-4")
    assert lines(consumer, 1)[0].startswith("taken msg_")
    assert len(street.payments()) == 4
    kid = street.hundi("webhooks", "rotate", "--house")
    published = street.call("GET", "/.well-known/webhook-keys")["keys"]
    assert [one["kid"] for one in published if one["expires_at"] is None] == [kid]
    added, secret = street.hundi(
        "webhooks", "add", "--party", street.party, "--url", "https://8.8.8.8/", "--event", "*"
    ).split()
    assert secret.startswith("whsec_")
    assert street.call("GET", f"/webhooks/endpoints/{added}")["events"] == ["*"]
    listed = street.hundi("webhooks", "list", "--party", "Chai Point")
    assert listed.startswith(f"{endpoint['id']} {street.party} enabled payment.* ")
    assert street.hundi("webhooks", "dead") == ""
