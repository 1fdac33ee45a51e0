"""The example payer of OV1: nothing of ours in it, held to the vectors, and paying a real terminal through its command line."""

import ast
import asyncio
import importlib.util
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.server import Server
from edge_agent.sync import sync
from edge_agent.terminal import Terminal
from offline.wire import SignedRequest
from tests.edge_agent.conftest import server, world
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.world import NOW_S, World

__all__ = ["server", "world"]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "ov1_payer.py"
VECTORS = ROOT / "offline" / "vectors"
READS = {"allowance", "certificate", "request", "bundle"}


def vectors(name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ov1_payer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def reader(example: ModuleType, body: str) -> Callable[[bytes], list[object]]:
    own = {"allowance": example.read_allowance, "certificate": example.read_certificate}
    forms = {"request": (example.REQUEST, 1200), "bundle": (example.BUNDLE, 8192)}
    return own.get(body) or (lambda data: example.read(data, *forms[body]))


def test_nothing_of_ours_is_in_it() -> None:
    tree = ast.parse(EXAMPLE.read_text())
    found = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }  # fmt: skip
    assert found <= sys.stdlib_module_names | {"base45", "cbor2", "cryptography", "nacl"}
    assert sum(bool(line.strip()) for line in EXAMPLE.read_text().splitlines()) < 210


@pytest.mark.parametrize(
    "vector",
    [one for one in vectors("bodies_valid") if one["body"] in READS],
    ids=lambda one: str(one["body"]),
)
def test_what_is_sound_is_read(example: ModuleType, vector: dict[str, str]) -> None:
    assert reader(example, vector["body"])(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize(
    "vector",
    [one for one in vectors("bodies_invalid") if one["body"] in READS - {"bundle"}],
    ids=lambda one: f"{one['body']}: {one['why']}",
)
def test_what_is_not_sound_is_the_vectors_verdict(
    example: ModuleType, vector: dict[str, str]
) -> None:
    with pytest.raises(example.Refused) as refused:
        reader(example, vector["body"])(bytes.fromhex(vector["hex"]))
    assert str(refused.value) == vector["verdict"]


@pytest.mark.parametrize("vector", vectors("signatures"), ids=lambda one: str(one["why"]))
def test_signatures_hold_as_the_vectors_say(example: ModuleType, vector: dict[str, object]) -> None:
    parts = [bytes.fromhex(str(vector[name])) for name in ("key", "message", "sig")]
    assert example.verifies(*parts) is vector["valid"]


def test_a_voucher_is_the_vectors_byte_for_byte(example: ModuleType, tmp_path: Path) -> None:
    """The first wire of the vectors, from the device's key, the allowance and a request for its challenge."""
    context = json.loads((VECTORS / "context.json").read_text())
    [wire, *_] = vectors("wires")
    request = next(one for one in vectors("wires") if one["form"] == "request")
    seeds = {one["name"]: one for one in context["keys"]}
    (tmp_path / "key").write_bytes(bytes.fromhex(seeds["device"]["seed"]))
    payer = example.Payer(tmp_path, context["now_s"])
    bundle = next(one for one in vectors("wires") if one["form"] == "bundle")
    _, kid, a, sig_a, *_ = example.cbor2.loads(bytes.fromhex(str(wire["hex"])))
    allowance = example.cbor2.dumps([1, kid, a, sig_a], canonical=True)
    root = bytes.fromhex(seeds["root"]["public"])
    payer.take(root, bytes.fromhex(str(bundle["hex"])), allowance)
    assert payer.pay(str(request["text"])) == wire["text"]


# With a terminal and a server


class Home:
    """The example by its command line, and an allowance for its key."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder, self.world = folder, world
        self.key = bytes.fromhex(self.run("init", str(folder)))

    def run(self, *words: str, code: int = 0) -> str:
        # The agents' tests live in another year: the clock of this process is theirs.
        start = (
            f"import runpy, sys, time; time.time = lambda: {NOW_S}; sys.argv = sys.argv[1:];"
            " runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", start, str(EXAMPLE), *words],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return (done.stdout if code == 0 else done.stderr).strip()

    def take(self, **changes: object) -> None:
        issuer = self.world.issuer
        gave = issuer.allowance(self.key, **changes).to_bytes().hex()
        self.run("take", str(self.folder), issuer.root_key.hex(), issuer.bundle().to_bytes().hex(), gave)  # fmt: skip

    def pay(self, request: str, code: int = 0) -> str:
        return self.run("pay", str(self.folder), request, code=code)

    def rows(self) -> list[tuple[int, int]]:
        with sqlite3.connect(self.folder / "payer.db") as db:
            return db.execute("SELECT counter, cum FROM voucher ORDER BY counter").fetchall()


class OneNonce:
    """Chance that gives the same challenge twice."""

    def __init__(self, nonce: bytes) -> None:
        self.nonce = nonce

    def bytes(self, _n: int) -> bytes:
        return self.nonce

    def below(self, n: int) -> int:
        return n - 1


@pytest.fixture
def home(world: World, tmp_path: Path) -> Home:
    made = Home(world, tmp_path / "other")
    made.take()
    return made


@pytest.fixture
def terminal(world: World, server: RunningServer) -> Terminal:
    made = world.terminal("shop", server=server.url)
    server.side.terminals[b"T001"] = KnownTerminal(key=made.keys.public_key())
    return made


def test_it_pays_a_terminal_and_the_sales_are_settled(
    home: Home, terminal: Terminal, server: RunningServer
) -> None:
    for amount in (12_345, 500):
        result = accept(terminal, home.pay(ask(terminal, amount).text))
        assert (result.paid, result.amount) == (True, amount)

    async def synced() -> int:
        async with Server(server.url) as door:
            return (await sync(terminal, door)).settled

    assert asyncio.run(synced()) == 12_845
    assert home.rows() == [(1, 12_345), (2, 12_845)]


def test_the_same_request_is_the_same_voucher_and_another_one_of_its_nonce_is_refused(
    home: Home, terminal: Terminal
) -> None:
    text = ask(terminal, 700).text
    first = home.pay(text)
    assert home.pay(text) == first
    with terminal.store.db.write() as c:
        c.execute("DELETE FROM open_request")
    terminal._entropy = OneNonce(SignedRequest.from_text(text).req.nonce)
    assert home.pay(ask(terminal, 800).text, code=1) == "NOT PAID: OV_REQUEST_REUSED"
    assert home.rows() == [(1, 700)]


def test_what_was_reserved_before_a_crash_is_signed_after_it(
    home: Home, terminal: Terminal
) -> None:
    text = ask(terminal, 700).text
    first = home.pay(text)
    with sqlite3.connect(home.folder / "payer.db") as db:
        db.execute("UPDATE voucher SET sig = NULL")
    home.pay(ask(terminal, 100).text)
    with sqlite3.connect(home.folder / "payer.db") as db:
        assert db.execute("SELECT count(*) FROM voucher WHERE sig IS NULL").fetchone() == (0,)
    assert home.pay(text) == first
    assert home.rows() == [(1, 700), (2, 800)]


@pytest.mark.parametrize(
    ("changes", "amount", "verdict"),
    [
        ({"cap_each": 600}, 700, "OV_OVER_VOUCHER_LIMIT"),
        ({"cap_total": 600, "cap_each": 600}, 600, None),
        ({"cap_total": 600, "cap_each": 600}, 601, "OV_OVER_VOUCHER_LIMIT"),
        ({"ccy": "JPY"}, 700, "OV_CURRENCY_MISMATCH"),
        ({"not_before": NOW_S + 1}, 700, "OV_NOT_YET_VALID"),
        ({"spend_until": NOW_S - 1}, 700, "OV_ALLOWANCE_EXPIRED"),
        ({"spend_until": NOW_S}, 700, None),
    ],
)  # fmt: skip
def test_its_allowance_is_held_to(
    home: Home, terminal: Terminal, changes: dict[str, object], amount: int, verdict: str | None
) -> None:
    home.take(**changes)
    said = home.pay(ask(terminal, amount).text, code=0 if verdict is None else 1)
    assert said == f"NOT PAID: {verdict}" if verdict else said.startswith("OV1V:")


def test_counter_and_total_run_out(home: Home, terminal: Terminal) -> None:
    home.take(max_count=2, cap_total=1_000, cap_each=600)
    home.pay(ask(terminal, 600).text)
    assert home.pay(ask(terminal, 600).text, code=1) == "NOT PAID: OV_OVER_ALLOWANCE_CAP"
    home.pay(ask(terminal, 100).text)
    assert home.pay(ask(terminal, 100).text, code=1) == "NOT PAID: OV_COUNTER_RANGE"


def test_what_is_no_request_of_a_known_shop_is_refused_in_words(
    home: Home, terminal: Terminal
) -> None:
    good = SignedRequest.from_text(ask(terminal, 700).text)
    flipped = SignedRequest.of(
        good.kid, good.cert_raw, good.sig_cert, good.body_raw, bytes([good.sig[0] ^ 1]) + good.sig[1:]
    )  # fmt: skip
    other = SignedRequest.of(
        good.kid, good.cert_raw, bytes([good.sig_cert[0] ^ 1]) + good.sig_cert[1:], good.body_raw, good.sig
    )  # fmt: skip
    unknown = SignedRequest.of(b"zz", good.cert_raw, good.sig_cert, good.body_raw, good.sig)
    for text, verdict in (
        (flipped.to_text(), "OV_REQUEST_SIGNATURE"),
        (other.to_text(), "OV_CERTIFICATE_SIGNATURE"),
        (unknown.to_text(), "OV_ISSUER_KEY_UNKNOWN"),
        ("OV1R:", "OV_MALFORMED"),
        ("OV1R:ABC:", "OV_MALFORMED"),
        ("hello", "OV_MALFORMED"),
        (good.to_text() + " ", "OV_MALFORMED"),
        (good.to_text().lower(), "OV_MALFORMED"),
    ):
        assert home.pay(text, code=1) == f"NOT PAID: {verdict}", text[:20]
    assert home.rows() == []
