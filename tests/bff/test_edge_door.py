"""The agents' door over HTTP: the whole walk, and wrong input at every route."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from nacl.signing import SigningKey

from bff.app import MAX_BODY
from bff.problems import HANDLERS
from bff.routes import edge
from devices.clock import ManualClock
from offline.codec import read_certificate, voucher_bytes
from offline.journal import Accept, row_bytes
from offline.journal import chain as chained
from offline.model import NO_PREV, Voucher
from offline.signing import (
    enrolment_message,
    surrender_message,
    sync_request_message,
    voucher_message,
)
from offline.sync import (
    Header,
    SeqRow,
    SignedAnswer,
    SyncBody,
    SyncRequest,
    body_bytes,
    check_sync_answer,
)
from offline.trust import check_bundle, check_certificate
from offline.verdicts import Verdict
from offline.wire import SignedAllowance, SignedBundle, SignedVoucher
from server_core.actor import Actor, Role
from server_core.app import Core, open_core
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.sessions import service as sessions
from server_core.settings import Settings
from server_core.terminals import service as terminals
from tests.conftest import NOW_MS, empty

OPERATOR = Actor(party=None, role=Role.OPERATOR)
CBOR = {"content-type": "application/cbor"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(slots=True)
class Door:
    """A client of the app, a payer's token, a shop."""

    core: Core
    http: httpx.AsyncClient
    asha: Party
    shop: Party
    token: str
    shop_token: str
    key: SigningKey
    till: SigningKey

    async def post(self, path: str, body: Any, *, token: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.http.post(path, json=body, headers=headers)

    async def mine(self, path: str, body: Any) -> httpx.Response:
        return await self.post(path, body, token=self.token)

    async def nonce(self) -> bytes:
        answer = await self.post("/edge/nonce", {})
        assert answer.status_code == 200
        assert answer.json()["expires_in_s"] == 300
        return unb64(answer.json()["nonce"])

    async def pairing(self) -> str:
        async with self.core.db.work() as work:
            return await terminals.pair(
                work, self.core.entropy, self.core.trust, OPERATOR, merchant=self.shop.id
            )

    async def enrol_terminal(self, **changes: Any) -> httpx.Response:
        code = (await self.pairing()).split(":")[1]
        key, nonce = bytes(self.till.verify_key), await self.nonce()
        proof = self.till.sign(enrolment_message("terminal", nonce, key, code.encode())).signature
        body = {"code": code, "key": b64(key), "server_nonce": b64(nonce), "proof": b64(proof)}
        return await self.post("/edge/terminals/enrol", body | changes)

    async def enrol_device(self, **changes: Any) -> httpx.Response:
        key, nonce = bytes(self.key.verify_key), await self.nonce()
        subject = self.asha.id.bytes
        proof = self.key.sign(enrolment_message("payer", nonce, key, subject)).signature
        body = {
            "key": b64(key), "tier": "software", "label": "Asha's phone",
            "server_nonce": b64(nonce), "proof": b64(proof),
        }  # fmt: skip
        return await self.mine("/edge/devices/enrol", body | changes)

    async def take(self, **changes: Any) -> httpx.Response:
        body = {
            "device": (await self.enrol_device()).json()["device"], "currency": "INR",
            "cap_total": "100000", "cap_each": "50000", "idempotency_key": "a-1",
        }  # fmt: skip
        return await self.mine("/edge/allowances", body | changes)

    async def wallet(self) -> int:
        account = parties.money_account(self.asha, "INR")
        async with self.core.db.reader() as reader:
            return (await ledger.balances(reader, [account]))[account].balance


@pytest.fixture(scope="module")
async def core(database_url: str, tmp_path_factory: Any) -> AsyncIterator[Core]:
    env = {"HUNDI_HOME": str(tmp_path_factory.mktemp("home")), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env), clock=ManualClock(NOW_MS)) as made:
        yield made


@pytest.fixture
async def door(core: Core, database_url: str) -> AsyncIterator[Door]:
    await empty(database_url)
    async with core.db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        shop = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")
        clearing = ledger.account(Code.CLEARING, "upi", "INR")
        await ledger.open_accounts(work, [clearing])
        fund = Transfer(
            id=derived("fund", asha.id), debit=clearing.id, amount=1_000_000,
            credit=parties.money_account(asha, "INR"),
        )  # fmt: skip
        assert (await ledger.post(work, [fund]))[0].ok
        token = await sessions.issue(
            work, core.entropy, OPERATOR, party=asha.id, role=Role.PAYER, assurance=2
        )
        shop_token = await sessions.issue(
            work, core.entropy, OPERATOR, party=shop.id, role=Role.MERCHANT
        )
    app = Litestar(
        route_handlers=edge.routes(),
        state=State({"core": core}),
        exception_handlers=HANDLERS,
        request_max_body_size=MAX_BODY,
        logging_config=None,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hundi.test") as http:
        keys = SigningKey(core.entropy.bytes(32)), SigningKey(core.entropy.bytes(32))
        yield Door(core, http, asha, shop, token, shop_token, *keys)


async def test_from_pairing_to_a_settled_voucher(door: Door) -> None:
    pairing = await door.pairing()
    assert pairing.split(":")[2] == door.core.trust.fingerprint
    enrolled = (await door.enrol_terminal()).json()
    signed = SignedBundle.from_bytes(unb64(enrolled["bundle"]))
    root = unb64(enrolled["root_key"])
    assert check_bundle(signed, signed.root_kid, root, 0) is Verdict.ACCEPTED
    cert = unb64(enrolled["cert"])
    assert (
        check_certificate(
            unb64(enrolled["kid"]), cert, unb64(enrolled["sig_cert"]), signed.bundle,
            NOW_MS // 1000,
        )
        is Verdict.ACCEPTED
    )  # fmt: skip
    assert (await door.http.get("/edge/bundle")).content == signed.to_bytes()
    certificate = read_certificate(cert)
    assert certificate.name == "Chai Point"
    terminal, payee = unb64(enrolled["terminal"]), unb64(enrolled["payee"])
    assert (certificate.terminal, certificate.payee) == (terminal, payee)

    me = await door.http.get("/edge/me", headers={"authorization": f"Bearer {door.token}"})
    nobody = {"party": b64(door.asha.id.bytes), "name": "Asha", "device": None, "devices": []}
    assert me.json() == nobody
    said = (await door.take()).json()
    me = await door.http.get("/edge/me", headers={"authorization": f"Bearer {door.token}"})
    [mine] = me.json()["devices"]
    assert (mine["device"], mine["tier"]) == (me.json()["device"], "software")
    told = (await door.http.get("/edge/tiers")).json()["tiers"]
    assert told["software"] == {"cap_total": "100000", "cap_each": "50000"}
    assert set(told) == {"hardware_counter", "tee", "software"}
    allowance = SignedAllowance.of(*(unb64(said[name]) for name in ("kid", "allowance", "sig")))

    v = Voucher(
        counter=1, amount=12_345, cum=12_345, payee=payee, terminal=terminal, nonce=b"nonce001",
        ts=NOW_MS // 1000, prev=NO_PREV,
    )  # fmt: skip
    raw, a_raw = voucher_bytes(v), allowance.allowance_raw
    voucher = SignedVoucher.of(
        allowance.kid, a_raw, allowance.sig_a, raw,
        door.key.sign(voucher_message(a_raw, raw)).signature,
    )  # fmt: skip
    witnessed = await door.mine("/edge/vouchers/witness", {"vouchers": [voucher.to_text()]})
    assert witnessed.json() == {"recorded": 1}

    row, epoch = row_bytes(Accept(signed=voucher, accepted_at=NOW_MS // 1000)), b"epoch001"
    head = chained(terminal, epoch, 1, bytes(32), row)
    header = Header(
        epoch=epoch, acked_seq=0, head_seq=1, head=head, applied=0, beacon_nonce=b"beacon00"
    )
    body, nonce = body_bytes(SyncBody(header=header, rows=(SeqRow(seq=1, row=row),))), None
    nonce = await door.nonce()
    request = SyncRequest.of(
        terminal, nonce, body, door.till.sign(sync_request_message(terminal, nonce, body)).signature
    )
    answer = await door.http.post("/edge/sync", content=request.to_bytes(), headers=CBOR)
    assert answer.headers["content-type"] == "application/cbor"
    got = SignedAnswer.from_bytes(answer.content)
    assert check_sync_answer(got, signed.bundle, request) is Verdict.ACCEPTED
    assert [item.result for item in got.answer.items] == [Verdict.ACCEPTED]
    account = account_id(Code.PAYABLE, door.shop.id, "INR")
    async with door.core.db.reader() as reader:
        assert (await ledger.balances(reader, [account]))[account].balance == 12_345

    given = {"counter": 1, "cum": 12_345, "h": voucher.h}
    sig = door.key.sign(surrender_message(a_raw, **given)).signature
    surrendered = await door.mine(
        "/edge/allowances/surrender",
        {
            "aid": b64(allowance.allowance.aid), "counter": 1, "cum": 12_345,
            "h": b64(voucher.h), "sig": b64(sig),
        },
    )  # fmt: skip
    assert surrendered.json() == {"state": "draining"}


async def test_an_enrolment_whose_answer_was_lost_answers_the_same(door: Door) -> None:
    code = (await door.pairing()).split(":")[1]
    answers = []
    for _ in range(2):
        key, nonce = bytes(door.till.verify_key), await door.nonce()
        proof = door.till.sign(enrolment_message("terminal", nonce, key, code.encode())).signature
        body = {"code": code, "key": b64(key), "server_nonce": b64(nonce), "proof": b64(proof)}
        answers.append((await door.post("/edge/terminals/enrol", body)).json())
    assert answers[0] == answers[1]
    first, second = (await door.enrol_device()).json(), (await door.enrol_device()).json()
    assert first == second


async def test_a_session_is_needed_where_an_account_is_touched(door: Door) -> None:
    for path in (
        "/edge/devices/enrol", "/edge/allowances", "/edge/allowances/surrender",
        "/edge/vouchers/witness",
    ):  # fmt: skip
        answer = await door.post(path, _BODIES[path])
        assert (answer.status_code, answer.json()["code"]) == (401, "sessions.unauthenticated")
    assert (await door.http.get("/edge/me")).status_code == 401
    merchants = await door.post(
        "/edge/allowances", _BODIES["/edge/allowances"], token=door.shop_token
    )
    assert (merchants.status_code, merchants.json()["code"]) == (403, "vouchers.role")


_BODIES: dict[str, dict[str, Any]] = {
    "/edge/terminals/enrol": {
        "code": "ab", "key": b64(bytes(32)), "server_nonce": b64(bytes(16)), "proof": b64(bytes(64)),
    },
    "/edge/devices/enrol": {
        "key": b64(bytes(32)), "tier": "software", "label": "x", "server_nonce": b64(bytes(16)),
        "proof": b64(bytes(64)),
    },
    "/edge/allowances": {
        "device": "dev_00000000000000000000000000", "currency": "INR", "cap_total": "200000",
        "cap_each": "50000", "idempotency_key": "k",
    },
    "/edge/allowances/surrender": {
        "aid": b64(bytes(16)), "counter": 1, "cum": 1, "h": b64(bytes(32)), "sig": b64(bytes(64)),
    },
    "/edge/vouchers/witness": {"vouchers": ["OV1V:AB"]},
    "/edge/voids": {"void": "OV1X:AB"},
}  # fmt: skip
_NONSENSE: list[Any] = [
    None, True, False, 1, -1, 1.5, 2**53, 2**64, 10**400, "", "=", "A", "é", "\x00", "x" * 5_000,
    [], {}, [None], ["\x00"], {"a": 1}, b64(bytes(31)), "1.0", "-5", " 5", "1e3",
]  # fmt: skip


@pytest.mark.parametrize("path", list(_BODIES))
async def test_nonsense_in_any_member_is_a_named_refusal_and_moves_nothing(
    door: Door, path: str
) -> None:
    device = (await door.enrol_device()).json()["device"]
    good = dict(_BODIES[path])
    if "device" in good:  # all else right, it would still be above the limit
        good |= {"device": device, "cap_each": "50001"}
    bodies: list[Any] = [good | {name: bad} for name in good for bad in _NONSENSE]
    bodies += [{k: v for k, v in good.items() if k != name} for name in good]
    bodies += [good | {"extra": 1}, [], "x", None, 7]
    for body in bodies:
        answer = await door.mine(path, body)
        assert 400 <= answer.status_code < 500, (body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "." in answer.json()["code"], (body, answer.text)
    assert await door.wallet() == 1_000_000


@pytest.mark.parametrize("path", [*_BODIES, "/edge/sync", "/edge/nonce"])
async def test_broken_and_oversize_bodies_are_refused(door: Door, path: str) -> None:
    headers = {"authorization": f"Bearer {door.token}"}
    for body in (b"{", b"\xff\xfe", b"[" * 10_000, b'{"a":' * 5_000):
        answer = await door.http.post(path, content=body, headers=headers)
        expected = {200, 400} if path == "/edge/nonce" else {400}
        assert answer.status_code in expected, answer.text
    large = await door.http.post(path, content=b" " * (2 << 20), headers=headers | CBOR)
    if path != "/edge/nonce":
        assert (large.status_code, large.json()["code"]) == (413, "http.too_large")


async def test_numbers_are_numbers_and_amounts_are_strings(door: Door) -> None:
    for changes, code in (
        ({"cap_total": 200_000}, "http.malformed"),
        ({"cap_total": "0"}, "money.amount"),
        ({"cap_total": "100001"}, "vouchers.over_limit"),
        ({"cap_total": "200000.0"}, "money.amount"),
        ({"cap_total": "٢٠٠٠٠٠"}, "money.amount"),
        ({"device": "dev_x"}, "id.unknown"),
        ({"idempotency_key": ""}, "idempotency.key_missing"),
    ):
        answer = await door.take(**changes)
        assert answer.json()["code"] == code, answer.text
    surrender = _BODIES["/edge/allowances/surrender"]
    for bad in ("1", True, 1.0):
        answer = await door.mine("/edge/allowances/surrender", surrender | {"counter": bad})
        assert answer.json()["code"] == "http.malformed", answer.text


async def test_keys_that_are_no_keys_and_proofs_that_prove_nothing(door: Door) -> None:
    small_order = bytes(32)
    identity = b"\x01" + bytes(31)
    off_curve = b"\x02" + b"\xff" * 32
    for key in (small_order, identity, off_curve, b"\xff" * 32):
        assert (await door.enrol_device(key=b64(key))).json()["code"] == "linking.key"
        assert (await door.enrol_terminal(key=b64(key))).json()["code"] == "terminals.key"
    other = bytes(SigningKey(bytes(range(32))).verify_key)
    assert (await door.enrol_device(key=b64(other))).json()["code"] == "linking.proof"
    assert (await door.enrol_terminal(key=b64(other))).json()["code"] == "terminals.proof"
    assert (await door.enrol_device(tier="tpm")).json()["code"] == "linking.tier"
    assert (await door.enrol_device(label="\x07")).json()["code"] == "linking.label"
    wrong = await door.enrol_device(server_nonce=b64(bytes(16)))
    assert (wrong.status_code, wrong.json()["code"]) == (409, "trust.nonce_used")


async def test_sync_takes_only_cbor(door: Door) -> None:
    answer = await door.http.post("/edge/sync", content=b"{}", headers={"content-type": "text/x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "edge.content_type")
    answer = await door.http.post("/edge/sync", content=json.dumps({}).encode(), headers=CBOR)
    assert (answer.status_code, answer.json()["code"]) == (400, "vouchers.sync")
