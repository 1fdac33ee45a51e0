"""Taking an allowance: set aside once, within the limits, by a proved payer; and giving it back."""

import asyncio

import pytest
from msgspec.structs import replace

from devices.clock import ManualClock, SystemClock
from offline.signing import surrender_message
from server_core.errors import DomainError
from server_core.linking import service as linking
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from tests.server_core.vouchers.street import ENTROPY, Phone


async def refused(awaitable) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def test_ten_at_once_with_one_key_set_aside_once(street) -> None:
    actor = await street.payer()
    key, device = await street.link(actor)
    made = await asyncio.gather(*(street.issue(actor, device) for _ in range(10)))
    assert len({one.aid for one in made}) == 1
    phone = Phone(key, made[0])
    assert (await street.wallet(phone), await street.hold(phone)) == (300_000, 200_000)


async def test_one_open_allowance_a_device_even_at_once(street) -> None:
    actor = await street.payer()
    _, device = await street.link(actor)
    results = await asyncio.gather(
        *(street.issue(actor, device, key=f"k{i}") for i in range(4)), return_exceptions=True
    )
    codes = sorted(r.code if isinstance(r, DomainError) else "issued" for r in results)
    assert codes == ["issued"] + ["vouchers.allowance_open"] * 3


async def test_what_is_set_aside_at_once_is_bounded(street) -> None:
    actor = await street.payer()
    for i in range(2):
        await street.issue(actor, (await street.link(actor))[1], key=f"k{i}")
    third = street.issue(actor, (await street.link(actor))[1], key="k3")
    assert await refused(third) == "vouchers.holds"


@pytest.mark.parametrize(
    ("caps", "code"),
    [
        ({"cap_total": 200_001}, "vouchers.over_limit"),
        ({"cap_each": 50_001}, "vouchers.over_limit"),
        ({"cap_total": 100, "cap_each": 101}, "vouchers.caps"),
        ({"cap_total": 0}, "money.amount"),
        ({"cap_total": True}, "money.amount"),
        ({"cap_each": 1.5}, "money.amount"),
        ({"cap_total": 2**63}, "money.amount"),
    ],
)
async def test_caps(street, caps: dict, code: str) -> None:
    actor = await street.payer()
    _, device = await street.link(actor)
    assert await refused(street.issue(actor, device, **caps)) == code
    assert (await street.issue(actor, device)).hold == 200_000  # the key is still free


async def test_a_poor_wallet(street) -> None:
    actor = await street.payer(funds=1_000)
    _, device = await street.link(actor)
    assert await refused(street.issue(actor, device)) == "vouchers.insufficient_funds"


async def test_a_fresh_second_factor_is_asked_for(street) -> None:
    actor = await street.payer()
    _, device = await street.link(actor)
    weak = replace(actor, assurance=1)
    assert await refused(street.issue(weak, device)) == "sessions.step_up_required"
    street.db.clock.advance(300_001)
    assert await refused(street.issue(actor, device)) == "sessions.step_up_required"


async def test_a_foreign_device_does_not_exist(street) -> None:
    actor, other = await street.payer(), await street.payer()
    _, device = await street.link(other)
    assert await refused(street.issue(actor, device)) == "linking.unknown"


async def test_surrender_is_the_devices_own_word(street) -> None:
    actor = await street.payer()
    phone = await street.phone(actor)
    a = phone.allowance
    message = surrender_message(a.raw, 0, 0, bytes(32))

    def give_up(sig: bytes, by=actor):
        return vouchers.surrender(street.db, by, aid=a.aid, counter=0, cum=0, h=bytes(32), sig=sig)

    assert await refused(give_up(bytes(64))) == "vouchers.surrender"
    good = phone.key.sign(message).signature
    assert await refused(give_up(good, await street.payer())) == "vouchers.unknown"
    assert [await give_up(good), await give_up(good)] == ["draining", "draining"]
    assert await street.hold(phone) == 200_000  # the hold stays until close


async def test_spending_time_over_it_drains(street) -> None:
    street.db.clock = ManualClock(SystemClock().now_ms() - 2 * 86_400_000)
    phone = await street.phone()
    street.db.clock.advance(86_401_000)
    await jobs.tick(street.db)
    assert (await street.row(phone))["state"] == "draining"


async def test_witness_is_for_ones_own(street) -> None:
    shop, phone = await street.shop(), await street.phone()
    text = phone.pay(shop, 100).to_text()
    stranger = await street.payer()
    for texts, code in (
        ([text], "vouchers.unknown"),
        ([], "vouchers.witness"),
        (["OV1V:nonsense"], "vouchers.witness"),
        ([text] * 501, "vouchers.witness"),
    ):
        taken = vouchers.witness(street.db, street.keys, stranger, texts)
        assert await refused(taken) == code


class TestLinking:
    async def test_the_same_key_again_is_the_same_device(self, street) -> None:
        actor = await street.payer()
        key, device = await street.link(actor)
        assert (await street.link(actor, key))[1] == device
        with pytest.raises(DomainError, match=r"linking\.key"):
            await street.link(await street.payer(), key)

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"proof": bytes(64)}, "linking.proof"),
            ({"key": bytes(32)}, "linking.key"),
            ({"key": b"\x01" + bytes(31)}, "linking.key"),
            ({"key": b""}, "linking.key"),
            ({"tier": "tpm"}, "linking.tier"),
            ({"label": ""}, "linking.label"),
            ({"label": "a\n"}, "linking.label"),
            ({"nonce": bytes(16)}, "trust.nonce_used"),
        ],
    )
    async def test_what_is_not_proved(self, street, changes: dict, code: str) -> None:
        actor = await street.payer()
        asked = {
            "key": ENTROPY.bytes(32), "tier": "software", "label": "phone",
            "nonce": street.keys.new_nonce(street.db.clock.now_ms(), ENTROPY), "proof": bytes(64),
        }  # fmt: skip
        if code in {"linking.proof", "trust.nonce_used"}:
            asked["key"] = bytes((await street.link(actor))[0].verify_key)
        async with street.db.work() as work:
            done = linking.link(work, street.keys, actor, **asked | changes)
            assert await refused(done) == code
