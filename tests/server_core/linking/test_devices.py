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
        ({"tier": "tpm"}, "linking.tier"),
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


OPERATOR = Actor(party=None, role=Role.OPERATOR)


@pytest.mark.parametrize("claimed", ["hardware_counter", "tee", "software"])
async def test_what_a_device_claims_gives_it_nothing(
    db: Database, keys: Keys, claimed: str
) -> None:
    made = await link(db, keys, kit.DEVICE, tier=claimed)
    assert isinstance(made, Device)
    assert made.tier == "software"
    [said] = await told(db, "device.linked")
    assert said == {"party": str(made.party), "tier": "software", "claimed": claimed}


async def told(db: Database, name: str) -> list[dict[str, Any]]:
    async with db.reader() as reader:
        rows = await reader.rows("SELECT payload FROM event WHERE type = $1 ORDER BY seq", name)
    return [row["payload"] for row in rows]


async def test_an_operator_says_how_well_a_key_is_kept(db: Database, keys: Keys) -> None:
    made = await link(db, keys, kit.DEVICE)
    assert isinstance(made, Device)

    async def judge(tier: str, actor: Actor = OPERATOR, evidence: str = "order 7, sealed") -> Any:
        try:
            async with db.work() as work:
                return await service.set_tier(work, actor, made.id, tier, evidence=evidence)
        except DomainError as refused:
            return refused.code

    for actor in (payer(), Actor(party=payer().party, role=Role.MERCHANT)):
        assert await judge("tee", actor) == "linking.operator"
    for bad in ("", "  ", "a\n", "x" * 501):
        assert await judge("tee", evidence=bad) == "linking.evidence"
    assert await judge("tpm") == "linking.tier"
    raised, new = await judge("hardware_counter")
    assert (raised.tier, new) == ("hardware_counter", True)
    assert (await judge("hardware_counter"))[1] is False
    assert (await judge("tee"))[1] is True
    changes = [(one["before"], one["after"]) for one in await told(db, "device.tier_changed")]
    assert changes == [("software", "hardware_counter"), ("hardware_counter", "tee")]
    assert {one["evidence"] for one in await told(db, "device.tier_changed")} == {"order 7, sealed"}
    # The same key linked again does not fall back, and does not rise by what it claims.
    again = await link(db, keys, kit.DEVICE, tier="hardware_counter")
    assert isinstance(again, Device)
    assert again.tier == "tee"
    async with db.work() as work:
        assert await service.of_party(work, OPERATOR, payer().party) == [again]
        with pytest.raises(DomainError, match=r"linking\.operator"):
            await service.of_party(work, payer(), payer().party)
        await service.revoke(work, payer(), made.id)
    assert await judge("software") == "linking.revoked"
    async with db.work() as work:
        with pytest.raises(DomainError, match=r"linking\.unknown"):
            await service.set_tier(work, OPERATOR, UUID(int=9), "tee", evidence="seen")
