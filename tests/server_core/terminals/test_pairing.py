"""A pairing code makes one terminal, of one shop, for ever."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from offline.codec import read_certificate
from offline.signing import enrolment_message
from offline.trust import check_certificate
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.db.work import Database, Work
from server_core.errors import DomainError
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.terminals import service
from server_core.terminals.model import Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys
from tests.conftest import NOW_MS

OPERATOR = Actor(party=None, role=Role.OPERATOR)
ENTROPY = SystemEntropy()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return trust.load(tmp_path, entropy=ENTROPY, clock=ManualClock(NOW_MS), passphrase=None)


@pytest.fixture
async def shop(db: Database) -> Party:
    async with db.work() as work:
        return await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="चाय घर", mcc="5814")


async def pair(db: Database, keys: Keys, merchant: Party, actor: Actor = OPERATOR) -> str:
    async with db.work() as work:
        said = await service.pair(work, ENTROPY, keys, actor, merchant=merchant.id)
    return said.split(":")[1]


async def enrol(
    db: Database, keys: Keys, code: str, signer: SigningKey, **changes: Any
) -> Terminal | str:
    public, nonce = bytes(signer.verify_key), keys.new_nonce(db.clock.now_ms(), ENTROPY)
    message = enrolment_message("terminal", nonce, public, code.encode())
    given = {"code": code, "key": public, "nonce": nonce, "proof": signer.sign(message).signature}

    async def do(work: Work) -> Terminal:
        return await service.enrol(work, ENTROPY, keys, **given | changes)

    try:
        return await db.transact(do)
    except DomainError as refused:
        return refused.code


def new_key() -> SigningKey:
    return SigningKey(ENTROPY.bytes(32))


async def test_a_certificate_names_shop_terminal_and_key(db: Database, keys: Keys, shop: Party):
    key = new_key()
    made = await enrol(db, keys, await pair(db, keys, shop), key)
    assert isinstance(made, Terminal)
    cert = read_certificate(made.cert)
    assert (cert.terminal, cert.payee, cert.terminal_key) == (
        made.id, shop.payee, bytes(key.verify_key),
    )  # fmt: skip
    assert (cert.name, cert.mcc) == ("चाय घर", 5814)
    assert cert.not_after <= keys.not_after
    bundle = keys.bundle.bundle
    verdict = check_certificate(made.kid, made.cert, made.sig_cert, bundle, NOW_MS // 1000)
    assert verdict is Verdict.ACCEPTED
    async with db.reader() as reader:
        merchant = Actor(party=shop.id, role=Role.MERCHANT)
        assert await service.mine(reader, merchant) == [made]
        assert await service.mine(reader, OPERATOR) == []
    assert made.actor() == Actor(party=shop.id, role=Role.TERMINAL)


async def test_a_code_is_for_one_key_and_ten_minutes(db: Database, keys: Keys, shop: Party) -> None:
    code, key = await pair(db, keys, shop), new_key()
    first = await enrol(db, keys, code, key)
    assert await enrol(db, keys, code, key) == first
    assert await enrol(db, keys, code, new_key()) == "terminals.code"
    assert await enrol(db, keys, "00" * 16, new_key()) == "terminals.code"
    late = await pair(db, keys, shop)
    db.clock = ManualClock(NOW_MS + 600_000)
    assert await enrol(db, keys, late, new_key()) == "terminals.code"


async def test_two_devices_race_for_one_code(db: Database, keys: Keys, shop: Party) -> None:
    code = await pair(db, keys, shop)
    results = await asyncio.gather(*(enrol(db, keys, code, new_key()) for _ in range(6)))
    assert sorted(isinstance(one, Terminal) for one in results) == [False] * 5 + [True]


async def test_a_key_is_one_terminals_for_ever(db: Database, keys: Keys, shop: Party) -> None:
    key = new_key()
    await enrol(db, keys, await pair(db, keys, shop), key)
    assert await enrol(db, keys, await pair(db, keys, shop), key) == "terminals.key"


async def test_the_code_is_stored_hashed(db: Database, keys: Keys, shop: Party) -> None:
    code = await pair(db, keys, shop)
    async with db.reader() as reader:
        stored = await reader.value("SELECT code_hash FROM pairing")
    assert code.encode() not in stored
    assert bytes.fromhex(code) not in stored


async def test_proof_key_and_nonce_must_hold_and_a_failure_uses_nothing_up(
    db: Database, keys: Keys, shop: Party
) -> None:
    code, key = await pair(db, keys, shop), new_key()
    other = bytes(new_key().verify_key)
    assert await enrol(db, keys, code, key, key=other) == "terminals.proof"
    assert await enrol(db, keys, code, key, proof=bytes(64)) == "terminals.proof"
    assert await enrol(db, keys, code, key, proof=b"") == "terminals.proof"
    assert await enrol(db, keys, code, key, nonce=bytes(16)) == "trust.nonce_used"
    for bad in (b"", bytes(32), b"\x01" + bytes(31), b"\x02" + b"\xff" * 32, bytes(31)):
        assert await enrol(db, keys, code, key, key=bad) == "terminals.key"
    assert isinstance(await enrol(db, keys, code, key), Terminal)


async def test_who_may_pair(db: Database, keys: Keys, shop: Party) -> None:
    async with db.work() as work:
        asha = await parties.add(work, OPERATOR, kind=Kind.PERSON, name="Asha")
        other = await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name="Dosa Hut")
    assert await pair(db, keys, shop, Actor(party=shop.id, role=Role.MERCHANT))
    for actor, merchant, code in (
        (Actor(party=other.id, role=Role.MERCHANT), shop, "terminals.role"),
        (Actor(party=shop.id, role=Role.PAYER), shop, "terminals.role"),
        (OPERATOR, asha, "terminals.merchant"),
    ):
        with pytest.raises(DomainError) as caught:
            await pair(db, keys, merchant, actor)
        assert caught.value.code == code
