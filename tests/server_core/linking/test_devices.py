"""A payer's device is linked by proof of possession, is nobody else's, and can be ended."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from nacl.signing import SigningKey

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from offline.signing import enrolment_message
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.linking import service
from server_core.linking.store import Device
from server_core.trust import service as trust
from server_core.trust.service import Keys
from tests.conftest import NOW_MS
from tests.offline import kit

ENTROPY = SystemEntropy()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return trust.load(tmp_path, entropy=ENTROPY, clock=ManualClock(NOW_MS), passphrase=None)


def payer(number: int = 1) -> Actor:
    return Actor(party=UUID(int=number), role=Role.PAYER)


async def link(
    db: Database, keys: Keys, signer: Any, actor: Actor | None = None, **changes: Any
) -> Device | str:
    actor = actor or payer()
    key, nonce = signer.public, keys.new_nonce(db.clock.now_ms(), ENTROPY)
    proof = signer.sign(enrolment_message("payer", nonce, key, actor.party.bytes))
    given = {"key": key, "tier": "software", "label": "phone", "nonce": nonce, "proof": proof}
    try:
        async with db.work() as work:
            return await service.link(work, keys, actor, **given | changes)
    except DomainError as refused:
        return refused.code


@pytest.mark.parametrize("signer", [kit.DEVICE, kit.P256_DEVICE], ids=["ed25519", "p256"])
async def test_linked_listed_linked_again_and_ended(db: Database, keys: Keys, signer: Any) -> None:
    made = await link(db, keys, signer)
    assert isinstance(made, Device)
    assert await link(db, keys, signer) == made
    assert await link(db, keys, signer, payer(2)) == "linking.key"
    async with db.work() as work:
        assert await service.mine(work, payer()) == [made]
        with pytest.raises(DomainError) as caught:
            await service.revoke(work, payer(2), made.id)
        assert caught.value.code == "linking.unknown"
        await service.revoke(work, payer(), made.id)
        [ended] = await service.mine(work, payer())
    assert ended.revoked_at == NOW_MS
    assert await link(db, keys, signer) == "linking.key"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": bytes(32)}, "linking.key"),
        ({"key": b"\x01" + bytes(31)}, "linking.key"),
        ({"key": b"\x02" + b"\xff" * 32}, "linking.key"),
        ({"key": b""}, "linking.key"),
        ({"key": kit.TERM.public}, "linking.proof"),
        ({"proof": bytes(64)}, "linking.proof"),
        ({"proof": b""}, "linking.proof"),
        ({"nonce": bytes(16)}, "trust.nonce_used"),
        ({"tier": "tee"}, "linking.tier"),
        ({"label": ""}, "linking.label"),
        ({"label": "x" * 65}, "linking.label"),
        ({"label": "a\u202eb"}, "linking.label"),
    ],
)
async def test_what_does_not_prove_itself_is_not_linked(
    db: Database, keys: Keys, changes: dict[str, Any], code: str
) -> None:
    assert await link(db, keys, kit.DEVICE, **changes) == code
    async with db.reader() as reader:
        assert await service.mine(reader, payer()) == []


async def test_only_a_payer_links(db: Database, keys: Keys) -> None:
    merchant = Actor(party=payer().party, role=Role.MERCHANT)
    assert await link(db, keys, kit.DEVICE, merchant) == "linking.role"
    assert bytes(SigningKey(kit.DEVICE.seed).verify_key) == kit.DEVICE.public
