"""The payer's device: crash points, repeats, clones and rollbacks."""

import shutil

import cbor2
import pytest

from devices.keystore.port import KeyStore, Tier
from edge_agent.accepting import accept
from edge_agent.allowances import surrender, take_allowance, witness
from edge_agent.asking import ask
from edge_agent.errors import AgentError, VerdictError
from edge_agent.payer import Payer
from edge_agent.server import Server, ServerRefused, ServerUnreachable
from offline.codec import read_request, request_bytes
from offline.model import Algorithm, PaymentRequest
from offline.signing import request_message
from offline.verdicts import Verdict
from offline.wire import SignedRequest
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.world import NOW_S, World, content, give


class PowerCut(BaseException):
    """The device loses power: nothing after this runs."""


class FailingKeys:
    """A key store of its own: the real one behind a plug that is pulled before or after the signature."""

    def __init__(self, inner: KeyStore, moment: str) -> None:
        self.inner, self.moment = inner, moment

    @property
    def algorithm(self) -> Algorithm:
        return self.inner.algorithm

    @property
    def tier(self) -> Tier:
        return self.inner.tier

    def public_key(self) -> bytes:
        return self.inner.public_key()

    def counter(self, scope: bytes) -> int:
        return self.inner.counter(scope)

    def sign(self, counter: int, payload: bytes) -> bytes:
        if self.moment == "payload reserved":
            raise PowerCut
        self.inner.sign(counter, payload)
        raise PowerCut

    def sign_plain(self, payload: bytes) -> bytes:
        return self.inner.sign_plain(payload)


def reopened(world: World, payer: Payer) -> Payer:
    payer.store.db.close()
    return world.payer()


@pytest.mark.parametrize("moment", ["payload reserved", "counter advanced"])
def test_a_crash_while_paying_ends_in_the_same_voucher(world: World, moment: str):
    terminal = world.terminal()
    plugged = world.payer(keys=FailingKeys(world.keys("asha"), moment))
    asked = ask(terminal, 500)
    with pytest.raises(PowerCut):
        plugged.pay(asked.text)
    [reserved] = plugged.store.reserved()
    assert reserved.sig is None
    payer = reopened(world, plugged)
    assert payer.recover() == 1
    signed = payer.pay(asked.text)
    assert signed.voucher_raw == reserved.body
    assert accept(terminal, signed.to_text()).paid
    following = payer.pay(ask(terminal, 200).text)
    assert (following.voucher.counter, following.voucher.cum) == (2, 700)
    assert following.voucher.prev == signed.h[:8]
    assert accept(terminal, following.to_text()).paid


def test_a_crash_after_signing_or_showing_shows_the_same_voucher_again(world: World):
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 500)
    first = payer.pay(asked.text)
    payer = reopened(world, payer)
    assert payer.offer(asked.text).paid is not None
    again = payer.pay(asked.text)
    assert again.to_text() == first.to_text()
    assert payer.store.usable().counter == 1


def test_a_reserved_payload_keeps_its_place_though_another_request_comes_first(world: World):
    terminal = world.terminal()
    plugged = world.payer(keys=FailingKeys(world.keys("asha"), "payload reserved"))
    asked = ask(terminal, 500)
    with pytest.raises(PowerCut):
        plugged.pay(asked.text)
    payer = reopened(world, plugged)
    other = payer.pay(ask(terminal, 100).text)
    assert (other.voucher.counter, other.voucher.cum) == (2, 600)
    assert accept(terminal, other.to_text()).paid
    assert accept(terminal, payer.pay(asked.text).to_text()).paid


def test_the_same_nonce_with_another_request_is_refused(world: World):
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 500)
    payer.pay(asked.text)
    request = SignedRequest.from_text(asked.text)
    req = read_request(request.body_raw)
    body = request_bytes(PaymentRequest(amount=501, ccy="INR", nonce=req.nonce, ts=req.ts))
    sig = terminal.keys.sign_plain(request_message(request.cert_raw, body))
    other = SignedRequest.of(request.kid, request.cert_raw, request.sig_cert, body, sig)
    before = content(payer.store.db)
    with pytest.raises(VerdictError) as refusal:
        payer.pay(other.to_text())
    assert refusal.value.verdict is Verdict.REQUEST_REUSED
    assert content(payer.store.db) == before


def test_what_may_not_be_paid_changes_nothing(world: World):
    terminal = world.terminal()
    payer = world.payer(cap_total=60_000, cap_each=40_000)
    payer.pay(ask(terminal, 40_000).text)
    good = SignedRequest.from_text(ask(terminal, 100).text)
    flipped = SignedRequest.of(
        good.kid,
        good.cert_raw,
        good.sig_cert,
        good.body_raw,
        bytes([good.sig[0] ^ 1]) + good.sig[1:],
    )
    renamed = cbor2.loads(good.cert_raw)
    renamed[4] = "Somebody Else"
    forged = SignedRequest.of(
        good.kid,
        cbor2.dumps(renamed, canonical=True),
        good.sig_cert,
        good.body_raw,
        good.sig,
    )
    for text, verdict in (
        (ask(terminal, 40_001).text, Verdict.OVER_VOUCHER_LIMIT),
        (ask(terminal, 20_001).text, Verdict.OVER_ALLOWANCE_CAP),
        (flipped.to_text(), Verdict.REQUEST_SIGNATURE),
        (forged.to_text(), Verdict.CERTIFICATE_SIGNATURE),
        ("OV1R:", Verdict.MALFORMED),
        ("rubbish", Verdict.MALFORMED),
    ):
        before = content(payer.store.db)
        with pytest.raises(VerdictError) as refusal:
            payer.pay(text)
        assert refusal.value.verdict is verdict
        assert content(payer.store.db) == before
    world.clock.advance(2 * 86_400_000)
    with pytest.raises(VerdictError) as refusal:
        payer.offer(good.to_text())
    assert refusal.value.verdict is Verdict.ALLOWANCE_EXPIRED


@pytest.mark.parametrize(
    ("days", "verdict"), [(-3, Verdict.NOT_YET_VALID), (3, Verdict.ALLOWANCE_EXPIRED)]
)
def test_a_clock_that_leaps_pays_nothing_and_takes_no_counter(
    world: World, days: int, verdict: Verdict
):
    terminal, payer = world.terminal(), world.payer()
    asked, right_ms = ask(terminal, 100), world.clock.now_ms()
    before = content(payer.store.db)
    world.clock.set_wall(right_ms + days * 86_400_000)
    with pytest.raises(VerdictError) as refusal:
        payer.pay(asked.text)
    assert refusal.value.verdict is verdict
    assert content(payer.store.db) == before
    world.clock.set_wall(right_ms)
    assert accept(terminal, payer.pay(asked.text).to_text()).paid


def test_an_old_request_is_a_warning_only(world: World):
    terminal, payer = world.terminal(), world.payer()
    asked = ask(terminal, 100)
    world.clock.advance(1_000_000)
    assert payer.offer(asked.text).stale


def test_a_copied_folder_signs_the_same_counter_for_another_terminal(world: World):
    """What the software tier cannot stop: the server pays one of the two, and has the proof."""
    one, two = world.terminal(), world.terminal("two", terminal=b"T002")
    payer = world.payer()
    shutil.copytree(world.folder / "asha", world.folder / "clone")
    clone = world.payer("clone")
    here = payer.pay(ask(one, 500).text)
    there = clone.pay(ask(two, 500).text)
    assert here.voucher.counter == there.voucher.counter == 1
    assert here.h != there.h
    assert accept(one, here.to_text()).paid
    assert accept(two, there.to_text()).paid


def test_a_record_put_back_behind_its_key_refuses_until_a_new_allowance(world: World):
    terminal, payer = world.terminal(), world.payer()
    payer.pay(ask(terminal, 100).text)
    payer.store.db.close()
    shutil.copy(world.folder / "asha" / "agent.db", world.folder / "old.db")
    payer = world.payer()
    payer.pay(ask(terminal, 200).text)
    payer.store.db.close()
    for tail in ("-wal", "-shm"):
        (world.folder / "asha" / f"agent.db{tail}").unlink(missing_ok=True)
    shutil.copy(world.folder / "old.db", world.folder / "asha" / "agent.db")
    back = world.payer()
    asked = ask(terminal, 300)
    for _ in range(2):
        with pytest.raises(VerdictError) as refusal:
            back.pay(asked.text)
        assert refusal.value.verdict is Verdict.DEVICE_ROLLED_BACK
    assert back.store.usable().state == "blocked"
    back.store.set_allowance_state(back.store.usable().signed.allowance.aid, "surrendered")
    give(back.store, world.issuer.allowance(back.keys.public_key()))
    assert accept(terminal, back.pay(asked.text).to_text()).paid


def test_a_key_put_back_behind_its_record_refuses_too(world: World):
    terminal, payer = world.terminal(), world.payer()
    shutil.copytree(world.folder / "asha" / "keys", world.folder / "oldkeys")
    payer.pay(ask(terminal, 100).text)
    shutil.copy(
        world.folder / "oldkeys" / "counters.sealed",
        world.folder / "asha" / "keys" / "counters.sealed",
    )
    with pytest.raises(VerdictError) as refusal:
        payer.pay(ask(terminal, 200).text)
    assert refusal.value.verdict is Verdict.DEVICE_ROLLED_BACK


def test_without_an_allowance_nothing_can_be_paid(world: World):
    terminal, payer = world.terminal(), world.payer(allowance=False)
    with pytest.raises(AgentError, match="no allowance"):
        payer.pay(ask(terminal, 100).text)


@pytest.fixture
def online(world: World, server: RunningServer) -> Payer:
    payer = world.payer(allowance=False, server=server.url)
    server.side.payer_key = payer.keys.public_key()
    with payer.store.db.write() as c:
        c.execute("UPDATE self SET device = 'dev_7'")
    return world.payer()


async def test_an_allowance_is_taken_once_though_the_answer_was_lost(
    world: World, server: RunningServer, online: Payer
):
    server.side.lose_answers = 1
    async with Server(server.url, token=server.side.token) as door:
        with pytest.raises(ServerUnreachable):
            await take_allowance(online, door, ccy="INR", cap_total=100_000, cap_each=20_000)
        taken = await take_allowance(online, door, ccy="INR", cap_total=100_000, cap_each=20_000)
        assert len(server.side.allowances) == 1
        assert taken.cap_total == 100_000
        with pytest.raises(AgentError, match="surrender"):
            await take_allowance(online, door, ccy="INR", cap_total=100_000, cap_each=20_000)


async def test_a_refused_allowance_is_asked_for_anew(
    world: World, server: RunningServer, online: Payer
):
    async with Server(server.url, token=server.side.token) as door:
        with pytest.raises(ServerRefused) as refusal:
            await take_allowance(online, door, ccy="INR", cap_total=900_000, cap_each=20_000)
        assert refusal.value.code == "limits.too_large"
        taken = await take_allowance(online, door, ccy="INR", cap_total=90_000, cap_each=20_000)
        assert taken.cap_total == 90_000


async def test_a_surrendered_allowance_is_dead_before_the_server_hears(
    world: World, server: RunningServer, online: Payer
):
    terminal = world.terminal()
    async with Server(server.url, token=server.side.token) as door:
        await take_allowance(online, door, ccy="INR", cap_total=100_000, cap_each=20_000)
        signed = online.pay(ask(terminal, 500).text)
        async with Server("http://127.0.0.1:9", token="x") as nobody:
            with pytest.raises(ServerUnreachable):
                await surrender(online, nobody)
        with pytest.raises(AgentError, match="given back"):
            online.pay(ask(terminal, 100).text)
        done = await surrender(online, door)
        assert (done.state, done.unspent) == ("draining", 99_500)
        assert server.side.surrendered == [(1, 500, signed.h)]
        assert await witness(online, door) == 1
        assert await witness(online, door) == 0
        assert server.side.witnessed == {signed.h}
        taken = await take_allowance(online, door, ccy="INR", cap_total=50_000, cap_each=20_000)
        assert accept(terminal, online.pay(ask(terminal, 100).text).to_text()).paid
        assert taken.spend_until > NOW_S
