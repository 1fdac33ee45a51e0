"""Pairing and enrolment: one code, one terminal, one payee, and only by proof of possession."""

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from offline.codec import read_certificate
from offline.signing import enrolment_message
from offline.trust import check_certificate
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.terminals import service
from server_core.terminals.model import PAIRING_LIFE_MS
from server_core.trust import service as trust
from tests.conftest import NOW_MS

ENTROPY = SystemEntropy()
OPERATOR = Actor(party=None, role=Role.OPERATOR)


@pytest.fixture
def keys(tmp_path: Path) -> trust.Keys:
    return trust.load(tmp_path, entropy=ENTROPY, clock=ManualClock(NOW_MS), passphrase=None)


@pytest.fixture
async def shop(db: Database):
    async with db.work() as work:
        return await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Chai Point", mcc="5814")


async def pair(db: Database, keys, merchant, actor: Actor = OPERATOR) -> str:
    async with db.work() as work:
        text = await service.pair(work, ENTROPY, keys, actor, merchant=merchant.id)
    kind, code, fingerprint = text.split(":")
    assert (kind, fingerprint) == ("HUNDI-PAIR", keys.fingerprint)
    return code


async def enrol(db: Database, keys, code: str, signer: SigningKey | None = None, **changes: bytes):
    signer = signer or SigningKey(ENTROPY.bytes(32))
    nonce = keys.new_nonce(db.clock.now_ms(), ENTROPY)
    public = changes.get("key", bytes(signer.verify_key))
    message = enrolment_message("terminal", nonce, public, code.encode())
    proof = changes.get("proof", signer.sign(message).signature)
    async with db.work() as work:
        return await service.enrol(
            work, ENTROPY, keys, code=code, key=public, nonce=nonce, proof=proof
        )


async def refused(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def test_a_code_makes_one_terminal_of_its_merchant(db, keys, shop) -> None:
    code = await pair(db, keys, shop)
    signer = SigningKey(ENTROPY.bytes(32))
    terminal = await enrol(db, keys, code, signer)
    cert = read_certificate(terminal.cert)
    assert (cert.terminal, cert.payee, cert.name, cert.mcc) == (
        terminal.id, shop.payee, "Chai Point", 5814,
    )  # fmt: skip
    bundle = keys.bundle.bundle
    good = check_certificate(terminal.kid, terminal.cert, terminal.sig_cert, bundle)
    assert good is Verdict.ACCEPTED
    assert await enrol(db, keys, code, signer) == terminal  # its answer was lost
    assert await refused(enrol(db, keys, code)) == "terminals.code"
    assert terminal.actor() == Actor(party=shop.id, role=Role.TERMINAL)


async def test_a_code_is_over_after_ten_minutes(db, keys, shop) -> None:
    code = await pair(db, keys, shop)
    db.clock.advance(PAIRING_LIFE_MS)
    assert await refused(enrol(db, keys, code)) == "terminals.code"


async def test_an_unknown_code(db, keys) -> None:
    assert await refused(enrol(db, keys, "00" * 16)) == "terminals.code"


@pytest.mark.parametrize(
    "key", [bytes(32), b"\x01" + bytes(31), b"", b"\x02" + b"\xff" * 32, b"k" * 31]
)
async def test_keys_that_prove_nothing(db, keys, shop, key: bytes) -> None:
    code = await pair(db, keys, shop)
    assert await refused(enrol(db, keys, code, key=key, proof=bytes(64))) == "terminals.key"


async def test_a_proof_of_another_enrolment(db, keys, shop) -> None:
    code = await pair(db, keys, shop)
    assert await refused(enrol(db, keys, code, proof=bytes(64))) == "terminals.proof"


async def test_a_key_is_one_terminals(db, keys, shop) -> None:
    signer = SigningKey(ENTROPY.bytes(32))
    await enrol(db, keys, await pair(db, keys, shop), signer)
    again = enrol(db, keys, await pair(db, keys, shop), signer)
    assert await refused(again) == "terminals.key"


async def test_who_may_pair(db, keys, shop) -> None:
    await pair(db, keys, shop, Actor(party=shop.id, role=Role.MERCHANT))
    async with db.work() as work:
        person = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
    for actor in (
        Actor(party=shop.id, role=Role.PAYER),
        Actor(party=person.id, role=Role.MERCHANT),
    ):
        assert await refused(pair(db, keys, shop, actor)) == "terminals.role"
    assert await refused(pair(db, keys, person)) == "terminals.merchant"


async def test_a_merchant_sees_its_own(db, keys, shop) -> None:
    terminal = await enrol(db, keys, await pair(db, keys, shop))
    async with db.reader() as reader:
        assert await service.mine(reader, Actor(party=shop.id, role=Role.MERCHANT)) == [terminal]
        assert await service.mine(reader, Actor(party=shop.id, role=Role.PAYER)) == []
