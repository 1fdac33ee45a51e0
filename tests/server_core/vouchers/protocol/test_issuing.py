"""An allowance is set aside once, inside the limits, for a proved device of a fresh session."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from offline.codec import read_allowance
from offline.signing import allowance_message, sha256
from offline.trust import check_issued
from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.limits import service as limits
from server_core.trust.model import MAXIMA
from server_core.vouchers import rules
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import PROFILE, State
from tests.server_core.vouchers.protocol.field import Phone, Shop, World


async def ask(world: World, phone: Phone, actor: Actor | None = None, **changes: Any) -> Any:
    given = {
        "key": "a-1", "device": phone.device.id, "currency": "INR", "cap_total": 200_000,
        "cap_each": 50_000,
    }  # fmt: skip
    return await vouchers.issue(
        world.db, world.keys, world.entropy, actor or phone.actor, **given | changes
    )


async def refused(awaitable: Any) -> str:
    with pytest.raises(DomainError) as caught:
        await awaitable
    return caught.value.code


async def test_a_new_homes_bundle_tells_the_limits_in_force(world: World) -> None:
    async with world.db.reader() as reader:
        found = await limits.in_force(reader, PROFILE)
    assert (rules.policy_of("INR", found),) == MAXIMA


async def test_a_is_signed_and_says_what_was_set_aside(world: World, phone: Phone) -> None:
    made = phone.allowance
    a = read_allowance(made.raw)
    assert (a.aid, a.device_key, a.cap_total) == (made.aid, phone.device.key, 200_000)
    assert made.digest == sha256(made.raw)
    assert a.spend_until == world.now_s + 86_400
    assert a.settle_until == world.now_s + 345_600
    message = allowance_message(made.kid, made.raw)
    bundle = world.keys.bundle.bundle
    assert check_issued(bundle, made.kid, "A", message, made.sig) is Verdict.ACCEPTED
    assert await world.wallet(phone.party) == 800_000


async def test_a_repeat_answers_the_same_a_even_with_an_old_session(
    world: World, phone: Phone
) -> None:
    world.clock.advance(3_600_000)
    stale = world.payer(phone.party, authenticated_at=0, assurance=1)
    answers = await asyncio.gather(*(ask(world, phone, stale) for _ in range(10)))
    assert {one.raw for one in answers} == {phone.allowance.raw}
    assert await world.wallet(phone.party) == 800_000
    assert await refused(ask(world, phone, cap_total=100_000)) == "idempotency.key_reused"


async def test_ten_first_asks_at_once_set_aside_once(world: World) -> None:
    phone = await world.phone(await world.person("Asha"))
    answers = await asyncio.gather(*(ask(world, phone) for _ in range(10)))
    assert len({one.raw for one in answers}) == 1
    assert await world.wallet(phone.party) == 800_000


async def test_one_open_allowance_a_device_and_a_cap_on_all_holds(
    world: World, phone: Phone
) -> None:
    assert await refused(ask(world, phone, key="a-2")) == "vouchers.allowance_open"
    others = [await world.phone(phone.party) for _ in range(3)]
    results = await asyncio.gather(
        *(ask(world, one, key=f"b-{i}") for i, one in enumerate(others)), return_exceptions=True
    )
    codes = sorted(r.code if isinstance(r, DomainError) else "issued" for r in results)
    assert codes == ["issued", "vouchers.holds", "vouchers.holds"]
    assert await world.wallet(phone.party) == 600_000


async def test_after_its_spending_time_a_device_takes_the_next_one(
    world: World, phone: Phone
) -> None:
    world.clock.advance(86_401_000)
    await ask(world, phone, key="a-2")
    assert (await world.allowance(phone.allowance.aid)).state is State.DRAINING
    assert await world.wallet(phone.party) == 600_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cap_total": 200_001}, "vouchers.over_limit"),
        ({"cap_each": 50_001}, "vouchers.over_limit"),
        ({"cap_total": 40_000}, "vouchers.caps"),
        ({"cap_total": True}, "money.amount"),
        ({"cap_total": 1.5}, "money.amount"),
        ({"cap_total": 0}, "money.amount"),
        ({"cap_each": -1}, "money.amount"),
        ({"cap_total": 2**53}, "money.amount"),
        ({"currency": "XXX"}, "money.unknown_currency"),
        ({"currency": "USD"}, "vouchers.currency"),
        ({"key": ""}, "idempotency.key_missing"),
        ({"key": "a b"}, "idempotency.key_malformed"),
    ],
)
async def test_what_is_asked_wrongly_sets_nothing_aside(
    world: World, changes: dict[str, Any], code: str
) -> None:
    phone = await world.phone(await world.person("Asha"))
    assert await refused(ask(world, phone, **changes)) == code
    assert await world.wallet(phone.party) == 1_000_000


async def test_who_may_not_take_one(world: World) -> None:
    phone = await world.phone(await world.person("Asha", 100_000))
    stranger = await world.person("Ravi")
    assert await refused(ask(world, phone)) == "vouchers.insufficient_funds"
    assert await refused(ask(world, phone, world.payer(stranger))) == "linking.unknown"
    old = world.payer(phone.party, authenticated_at=world.clock.now_ms() - 300_001)
    weak = world.payer(phone.party, assurance=1)
    for actor in (old, weak):
        assert await refused(ask(world, phone, actor)) == "sessions.step_up_required"
    for role in (Role.MERCHANT, Role.OPERATOR, Role.TERMINAL):
        actor = replace(phone.actor, role=role)
        assert await refused(ask(world, phone, actor)) == "vouchers.role"
    # A refusal leaves the key free.
    assert (await ask(world, phone, cap_total=100_000)).hold == 100_000


async def test_a_surrender_is_the_devices_own_word(world: World, phone: Phone, shop: Shop) -> None:
    signed = phone.pay(shop, 5_000)
    aid = phone.allowance.aid
    forged = vouchers.surrender(
        world.db, phone.actor, aid=aid, counter=1, cum=5_000, h=signed.h, sig=bytes(64)
    )
    assert await refused(forged) == "vouchers.surrender"
    stranger = world.payer(await world.person("Ravi"))
    foreign = vouchers.surrender(
        world.db, stranger, aid=aid, counter=1, cum=5_000, h=signed.h, sig=bytes(64)
    )
    assert await refused(foreign) == "vouchers.unknown"
    for _ in range(2):
        assert await phone.surrender(h=signed.h) is State.DRAINING
    await ask(world, phone, key="a-2")
    assert await shop.settle(signed) == [Verdict.ACCEPTED]


async def test_a_device_that_signed_twice_takes_no_new_one(
    world: World, phone: Phone, shop: Shop
) -> None:
    clone = phone.fork()
    await shop.settle(phone.pay(shop, 100), clone.pay(shop, 200))
    await phone.surrender()
    assert await refused(ask(world, phone, key="a-2")) == "vouchers.frozen"


async def test_a_revoked_device_is_stopped_and_takes_nothing(world: World, phone: Phone) -> None:
    stranger = world.payer(await world.person("Ravi"))
    device = phone.device.id
    assert await refused(vouchers.revoke_device(world.db, stranger, device)) == "linking.unknown"
    await vouchers.revoke_device(world.db, phone.actor, device)
    assert (await world.allowance(phone.allowance.aid)).frozen
    other = await world.phone(phone.party)
    assert (await ask(world, other, key="a-3")).hold == 200_000
    again = vouchers.revoke_device(world.db, phone.actor, device)
    assert await refused(again) == "linking.unknown"
    assert await refused(ask(world, phone, key="a-2")) == "linking.unknown"
    assert await world.evidence() == []
