"""The programs as a user starts them: run, pay by the README's script, prove the books, tell the story."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from server_core.db.work import Database, Work
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from tests.edge_agent.service import Service

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home: Path, **more: str) -> dict[str, str]:
    port, upi = free_port(), free_port()
    return os.environ | {
        "HUNDI_HOME": str(home),
        "HUNDI_PORT": str(port),
        "HUNDI_UPI_URL": f"http://127.0.0.1:{upi}",
        "HUNDI_ADDRESS": f"http://127.0.0.1:{port}",
        **more,
    }


def hundi(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "hundi"), *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    env = environment(tmp_path_factory.mktemp("home"))
    child = subprocess.Popen(
        [str(BIN / "hundi"), "run"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in child.stdout:
        said.append(line)
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail("".join(said))
    yield env
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=60)
    assert "stopping" in rest
    assert child.returncode == 0
    data = Path(env["HUNDI_HOME"]) / "pg"
    assert not (data / "postmaster.pid").exists(), "the last one out stops PostgreSQL"


@pytest.mark.parametrize(
    "script", ["first-payment.sh", "first-offline-payment.sh", "pay-by-link.sh"]
)
def test_the_readmes_scripts_pay(running: dict[str, str], script: str) -> None:
    done = subprocess.run(
        ["bash", f"docs/examples/{script}"],
        cwd=ROOT,
        env=running | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INR" in done.stdout or "₹" in done.stdout


def edge(env: dict[str, str], home: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [str(BIN / "hundi-edge"), *words, "--home", str(home), "--json"],
        env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_terminal_is_set_up_by_a_picture_and_outlives_its_machine(
    running: dict[str, str], tmp_path: Path
) -> None:
    """Backup and restore against the real server: a new epoch goes on, a copied folder is quarantined."""
    session = hundi(running, "session", "issue", "--party", "Asha", "--role", "payer", "--aal", "2")
    env = running | {"HUNDI_SESSION": session.stdout.strip()}
    picture = str(tmp_path / "pair.png")
    pairing = hundi(env, "terminal", "pair", "--merchant", "Kirana Corner", "--png", picture)
    assert pairing.returncode == 0, pairing.stderr
    shop, phone = tmp_path / "shop", tmp_path / "phone"
    server = ["--server", env["HUNDI_ADDRESS"]]
    said = edge(env, shop, "setup", picture, *server, "--unit-folder", str(tmp_path))
    assert (said["name"], said["synced"]) == ("Kirana Corner", True)
    edge(env, phone, "payer", "enrol", *server)
    edge(env, phone, "payer", "allowance", "--total", "300", "--each", "100")

    def sell(home: Path) -> None:
        asked = edge(env, home, "terminal", "ask", "10")
        paid = edge(env, phone, "payer", "pay", asked["text"], "--yes")
        assert edge(env, home, "terminal", "accept", paid["text"])["paid"]

    sell(shop)
    edge(env, shop, "terminal", "sync")
    sell(shop)
    secret = tmp_path / "secret"
    secret.write_text("correct horse")
    sealed = ["--backup-passphrase-file", str(secret)]
    edge(env, shop, "terminal", "backup", str(tmp_path / "shop.backup"), *sealed)
    sell(shop)
    assert edge(env, shop, "terminal", "sync")["settled"] == "2000"
    shutil.rmtree(shop)
    back = edge(env, shop, "terminal", "restore", str(tmp_path / "shop.backup"), *sealed, "--yes")
    assert back["carried"] == 1
    assert edge(env, shop, "terminal", "ask", "1", code=1)["code"] == "OV_SYNC_OVERDUE"
    with Service(shop) as service:
        assert "nothing waits" in service.until_told("STATUS=open; synced")
        assert service.stop()[0] == 0
    sell(shop)
    assert edge(env, shop, "terminal", "sync")["settled"] == "1000"
    assert edge(env, shop, "terminal", "doctor")["ok"]
    shutil.copytree(shop, tmp_path / "copy")
    sell(shop)
    edge(env, shop, "terminal", "sync")
    sell(tmp_path / "copy")
    assert edge(env, tmp_path / "copy", "terminal", "sync", code=1)["quarantined"]


def test_the_books_are_right_while_it_runs(running: dict[str, str]) -> None:
    done = hundi(running, "ledger", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the ledger is right" in done.stdout


def test_the_ledger_page_runs_as_pasted(running: dict[str, str], tmp_path: Path) -> None:
    """Its block verifies, rebuilds, prints a receipt and checks it; a touched one proves nothing."""
    page = (ROOT / "docs" / "ledger.md").read_text()
    block = page.partition("```bash\n")[2].partition("```")[0].replace(".venv/bin/", f"{BIN}/")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path, env=running, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the ledger is right" in done.stdout
    assert "the journal gives the balances" in done.stdout
    assert "proved: transfer " in done.stdout
    receipt = tmp_path / "receipt.json"
    receipt.write_text(receipt.read_text().replace('"result": "created"', '"result": "refused"'))
    key = hundi(running, "ledger", "head").stdout.split()[1]
    touched = hundi(running, "ledger", "check-receipt", str(receipt), "--key", key)
    assert touched.returncode == 1
    assert "NOT PROVED" in touched.stderr


def test_the_demo_holds_twice_in_a_row(tmp_path: Path) -> None:
    env = environment(tmp_path / "unused")
    for _ in range(2):
        done = hundi(env, "demo", "--home", str(tmp_path / "demo"))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert "Every expectation held" in done.stdout


class TestVerifyNamesWhatIsWrong:
    @pytest.fixture(autouse=True)
    async def _books(self, db: Database) -> None:
        async def do(work: Work) -> None:
            await ledger.open_accounts(
                work,
                [
                    ledger.account(Code.WALLET, "asha", "INR"),
                    ledger.account(Code.CLEARING, "upi", "INR"),
                ],
            )
            await ledger.post(
                work,
                [
                    Transfer(
                        id=derived("e2e", 1),
                        debit=account_id(Code.CLEARING, "upi", "INR"),
                        credit=account_id(Code.WALLET, "asha", "INR"),
                        amount=500,
                    )
                ],
            )

        await db.transact(do)

    async def alter(self, database_url: str, sql: str) -> None:
        """What somebody with the owner's password and no scruples could do."""
        owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
        try:
            await owner.execute("SET session_replication_role = replica;" + sql)
        finally:
            await owner.close()

    def verify(self, database_url: str, home: Path) -> subprocess.CompletedProcess[str]:
        return hundi(environment(home, HUNDI_DATABASE_URL=database_url), "ledger", "verify")

    def test_right_books(self, database_url: str, tmp_path: Path) -> None:
        done = self.verify(database_url, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("sql", "names"),
        [
            ("UPDATE entry SET credits_posted = 501 WHERE credits_posted = 500", "account "),
            ("UPDATE transfer SET amount = 499", "entry "),
            ("DELETE FROM entry WHERE credits_posted = 500", "account "),
            ("UPDATE account SET credits_posted = 400 WHERE code = 'wallet'", "ledger INR"),
            ("DELETE FROM transfer", "entry "),
            ("UPDATE account SET debits_pending = 1 WHERE code = 'wallet'", "ledger INR"),
        ],
    )
    async def test_altered_behind_its_back(
        self, database_url: str, tmp_path: Path, sql: str, names: str
    ) -> None:
        await self.alter(database_url, sql)
        done = self.verify(database_url, tmp_path)
        assert done.returncode == 1
        assert done.stdout.startswith("BROKEN: ")
        assert names in done.stdout


def test_a_refusal_is_one_line_and_no_trace(tmp_path: Path) -> None:
    done = hundi(environment(tmp_path) | {"HUNDI_PORT": "nonsense"}, "ledger", "verify")
    assert done.returncode == 1
    assert done.stderr == "hundi: HUNDI_PORT must be 0 to 65535, not 'nonsense' (settings.port)\n"


def test_the_schema_that_is_committed_is_the_one_that_is_served(tmp_path: Path) -> None:
    done = hundi(environment(tmp_path), "schema", "graphql")
    assert done.stdout == (ROOT / "graph" / "schema.graphql").read_text()
