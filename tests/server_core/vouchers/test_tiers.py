"""What an allowance may be follows the device's tier, which only an operator's word changes."""

import asyncio

import asyncpg
import pytest

from devices.keystore.port import Tier
from server_core.errors import DomainError
from server_core.linking import service as linking
from server_core.vouchers import service as vouchers
from server_core.vouchers import tiers
from tests.server_core.vouchers.street import OPERATOR

CAPS = {Tier.SOFTWARE: 100_000, Tier.TEE: 150_000, Tier.HARDWARE_COUNTER: 200_000}


async def judge(street, device, tier: str) -> bool:
    async with street.db.work() as work:
        return (await linking.set_tier(work, OPERATOR, device, tier, evidence="seen"))[1]


@pytest.mark.parametrize(("tier", "most"), CAPS.items())
async def test_each_tier_has_its_most(street, tier: Tier, most: int) -> None:
    actor = await street.payer()
    _, device = await street.link(actor, tier=tier)
    with pytest.raises(DomainError) as caught:
        await street.issue(actor, device, cap_total=most + 1)
    refused = caught.value
    assert (refused.code, refused.field) == ("vouchers.over_limit", "cap_total")
    assert refused.facts == {"limit": most, "tier": tier}
    assert f"at most {most} minor units on a device of the tier {tier}" in refused.message
    assert (await street.issue(actor, device, cap_total=most)).hold == most


async def test_the_bundle_tells_terminals_the_widest(street) -> None:
    async with street.db.reader() as reader:
        found = await vouchers.by_tier(reader)
    policy = street.keys.bundle.bundle.policy("INR")
    assert policy.cap_total == max(one["cap_total"] for one in found.values())
    assert {tier: one["cap_total"] for tier, one in found.items()} == CAPS


async def test_a_tier_without_limits_gets_none_and_no_row_widens(street, database_url: str) -> None:
    async with street.db.reader() as reader:
        with pytest.raises(DomainError, match=r"limits\.no_profile"):
            await tiers.limits_of(reader, "tpm")
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    try:
        await owner.execute(
            "INSERT INTO limit_profile VALUES"
            " ('offline.hardware_counter', 'cap_total', 900000, 'minor', 1, 'a test'),"
            " ('offline.hardware_counter', 'cap_each', 10000, 'minor', 1, 'a test')"
        )
        async with street.db.reader() as reader:
            found = await tiers.limits_of(reader, Tier.HARDWARE_COUNTER)
        assert (found["cap_total"], found["cap_each"]) == (200_000, 10_000)
    finally:
        await owner.execute(
            "ALTER TABLE limit_profile DISABLE TRIGGER USER;"
            " DELETE FROM limit_profile WHERE source = 'a test';"
            " ALTER TABLE limit_profile ENABLE TRIGGER USER"
        )
        await owner.close()


async def test_what_is_out_stays_as_it_was_signed(street) -> None:
    actor = await street.payer()
    shop, phone = await street.shop(), await street.phone(actor)
    assert await judge(street, phone.allowance.device, "software")
    for amount in (50_000, 50_000, 50_000):
        shop.accept(phone.pay(shop, amount))
    await shop.sync()
    assert await street.owed(shop) == 150_000


async def test_a_tier_that_is_lowered_while_an_allowance_is_asked_for_bounds_it(street) -> None:
    """The device's row is locked by both, so that no allowance is issued by a tier that is over."""
    actor = await street.payer()
    _, device = await street.link(actor)
    async with street.db.work() as work:
        await linking.set_tier(work, OPERATOR, device, "software", evidence="lost its chip")
        asked = asyncio.create_task(street.issue(actor, device))
        while not (asked.done() or await street.db_waits()):
            await asyncio.wait([asked], timeout=0.01)
    with pytest.raises(DomainError, match=r"vouchers\.over_limit"):
        await asked


async def test_an_allowance_that_came_first_stands(street) -> None:
    actor = await street.payer()
    _, device = await street.link(actor)
    made, changed = await asyncio.gather(
        street.issue(actor, device, cap_total=100_000), judge(street, device, "tee")
    )
    assert (made.hold, changed) == (100_000, True)
    assert not await judge(street, device, "tee")
