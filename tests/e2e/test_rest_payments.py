"""The issue's own test, over real processes: fifty at once with one key, killed and restarted between.

One payment, one answer: whoever repeats gets the same bytes, and the ledger has moved once.
"""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from devices.clock import SystemClock
from devices.entropy import SeededEntropy, SystemEntropy
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.events import store as event_store
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.payments import service as payments
from server_core.payments.model import Method
from server_core.sessions import service as sessions
from tests.e2e.test_programs import BIN, environment, hundi

OPERATOR = Actor(party=None, role=Role.OPERATOR)
CLOCK = SystemClock()
AT_ONCE = 50
ANSWERED_WITHIN_MS = 30_000


@dataclass(slots=True)
class Town:
    """A running server and switch, a payer, a shop, and the payer's session."""

    env: dict[str, str]
    database_url: str
    asha: Party
    shop: Party
    token: str
    server: subprocess.Popen[bytes] | None = None
    keys: int = 0

    @property
    def url(self) -> str:
        return self.env["HUNDI_ADDRESS"]

    async def start(self) -> None:
        self.server = started(self.env, "serve")
        await answers(f"{self.url}/health/ready", self.server)

    def kill(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, limits=limits)

    def payment(self, method: str, vpa: str = "asha@okbank") -> dict[str, Any]:
        self.keys += 1
        by_bank = {"payer_vpa": vpa} if method == "upi" else {}
        return {
            "payee_id": public("pty", self.shop.id), "amount": "150", "method": method,
            "description": f"payment {self.keys}",
        } | by_bank  # fmt: skip

    async def rows(self, sql: str, *values: object) -> list[Any]:
        owner = await asyncpg.connect(self.database_url, server_settings={"search_path": "cell0"})
        try:
            return await owner.fetch(sql, *values)
        finally:
            await owner.close()

    async def leases_run_out(self) -> None:
        """What 90 seconds do to the claims and the asks of a process that is gone."""
        await self.rows("UPDATE idempotency SET lease_until = 0 WHERE state = 'running'")
        await self.rows("UPDATE attempt SET next_check_at = 0 WHERE state = 'sent'")

    async def moved(self, description: str) -> list[tuple[str, str]]:
        """Mode and result of every transfer of the one intent of that description, sorted."""
        [intent] = await self.rows(
            "SELECT id, state FROM intent WHERE description = $1", description
        )
        assert intent["state"] == "succeeded"
        found = await self.rows(
            "SELECT mode, result FROM transfer WHERE reference = $1", str(intent["id"])
        )
        return sorted((row["mode"], row["result"]) for row in found)


def started(env: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(BIN / "hundi"), *words], env=env, stdout=subprocess.DEVNULL)


async def answers(url: str, child: subprocess.Popen[bytes]) -> None:
    until = CLOCK.monotonic_ms() + ANSWERED_WITHIN_MS
    async with httpx.AsyncClient(timeout=2) as http:
        while CLOCK.monotonic_ms() < until:
            assert child.poll() is None
            try:
                if (await http.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await CLOCK.sleep(0.05)
    pytest.fail(f"{url} does not answer")


@pytest.fixture(scope="module")
def environ(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    env = environment(tmp_path_factory.mktemp("home"), HUNDI_DATABASE_URL=database_url)
    port = env["HUNDI_UPI_URL"].rpartition(":")[2]
    switch = started(env, "sandbox", "--port", port)
    yield env
    switch.kill()
    switch.wait()


@pytest.fixture(scope="module")
async def town(environ: dict[str, str], database_url: str) -> AsyncIterator[Town]:
    db = await Database.connect(
        database_url, clock=CLOCK, entropy=SystemEntropy(), flush=event_store.flush
    )
    async with db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        await payments.open_rail_account(work, Method.UPI, "INR")
        fund = Transfer(
            id=derived("fund"),
            debit=account_id(Code.CLEARING, Method.UPI, "INR"),
            credit=parties.money_account(asha, "INR"),
            amount=1_000_000,
        )
        assert (await ledger.post(work, [fund]))[0].ok
        token = await sessions.issue(
            work, SystemEntropy(), OPERATOR, party=asha.id, role=Role.PAYER
        )
    await db.close()
    made = Town(environ, database_url, asha, shop, token)
    await made.start()
    yield made
    made.kill()


CHAIN = {
    "book": [("single", "created")],
    "upi": [("pending", "created"), ("post", "created")],
}

GIVEN_BACK = [("pending", "created"), ("void", "created")]


async def post(http: httpx.AsyncClient, body: dict[str, Any], key: str) -> httpx.Response | None:
    """One try; None when the connection broke."""
    try:
        return await http.post("/payments", json=body, headers={"Idempotency-Key": key})
    except httpx.TransportError:
        return None


async def until_answered(http: httpx.AsyncClient, body: dict[str, Any], key: str) -> httpx.Response:
    """What a patient client does: the same request with the same key until it is decided."""
    until = CLOCK.monotonic_ms() + ANSWERED_WITHIN_MS
    while CLOCK.monotonic_ms() < until:
        answer = await post(http, body, key)
        if answer is not None and answer.status_code not in {409, 503}:
            return answer
        if answer is not None and answer.status_code == 409:
            assert answer.json()["code"] == "idempotency.still_running", answer.text
        await CLOCK.sleep(0.1)
    pytest.fail("not answered in time")


@pytest.mark.parametrize("method", ["book", "upi"])
async def test_fifty_at_once_with_one_key_are_one_payment(town: Town, method: str) -> None:
    body, key = town.payment(method), f"fifty-{method}"
    async with town.client() as http:
        answers = await asyncio.gather(*(post(http, body, key) for _ in range(AT_ONCE)))
    assert None not in answers
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}
    assert sum("idempotency-replayed" not in one.headers for one in answers) == 1
    assert await town.moved(body["description"]) == CHAIN[method]


async def until_moment(
    town: Town, moment: str, key: str, asked: list[asyncio.Future[httpx.Response | None]]
) -> None:
    """Some way into the flight: before anything stands, after transaction 1, among the answers."""
    drawn = SeededEntropy(key)
    if moment == "early":
        await CLOCK.sleep(drawn.below(100) / 1000)
    elif moment == "committed":
        while not await town.rows("SELECT 1 FROM idempotency WHERE key = $1", key):
            await CLOCK.sleep(0.001)
        await CLOCK.sleep(drawn.below(300) / 1000 if "upi" in key else 0)
    else:
        enough = 1 + drawn.below(AT_ONCE // 2)
        while sum(one.done() for one in asked) < enough:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=0.001)


@pytest.mark.parametrize("method", ["book", "upi"])
@pytest.mark.parametrize("moment", ["early", "committed", "answered"])
async def test_killed_and_restarted_in_between_the_same(
    town: Town, method: str, moment: str
) -> None:
    body, key = town.payment(method, "slow.300@okbank"), f"killed-{method}-{moment}"
    async with town.client() as http:
        first = [asyncio.ensure_future(post(http, body, key)) for _ in range(AT_ONCE)]
        await until_moment(town, moment, key, first)
        town.kill()
        before = [one for one in await asyncio.gather(*first) if one is not None]
        await town.start()
        await town.leases_run_out()
        answers = await asyncio.gather(*(until_answered(http, body, key) for _ in range(AT_ONCE)))
    said = f"killed when {moment}, {len(before)} answered before"
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}, said
    assert {one.content for one in before} <= {answers[0].content}, said
    assert (len(before) > 0) or moment != "answered", said
    moved = await town.moved(body["description"])
    # What the rail never took was given back, and only then sent again: two holds, one posting.
    assert moved in (CHAIN[method], sorted(GIVEN_BACK + CHAIN[method])), said


async def test_the_books_are_right_after_it_all(town: Town) -> None:
    done = await asyncio.to_thread(hundi, town.env, "ledger", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    [paid] = await town.rows(
        "SELECT count(*) AS payments FROM intent WHERE state = 'succeeded' AND payee = $1",
        town.shop.id,
    )
    assert paid["payments"] == town.keys
    [shop] = await town.rows(
        "SELECT credits_posted FROM account WHERE id = $1", parties.money_account(town.shop, "INR")
    )
    assert shop["credits_posted"] == 150 * town.keys
