"""What each side sees of the tries at a payment."""

import pytest

from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.payments import showing
from server_core.payments.model import (
    Attempt,
    AttemptState,
    Capture,
    CaptureMethod,
    Method,
    Operation,
)
from server_core.payments.service import capture
from server_core.payments.showing import shown
from tests.server_core.payments.conftest import NO_RAILS, OPERATOR, World


def tried(intent, payer, **changes) -> Attempt:
    known = {
        "id": intent.id, "intent": intent.id, "number": 1, "amount": 15_000, "method": Method.UPI,
        "state": AttemptState.UNKNOWN, "hint": "as***@okbank", "code": "U30",
        "rail_reference": "7", "asked": 0, "next_check_at": None, "scope": str(payer.id),
        "key": "k", "verb": "", "body": b"", "started_at": 1, "ended_at": None,
    }  # fmt: skip
    return Attempt(**known | changes)


async def test_an_address_is_for_its_owner_and_masked(world: World) -> None:
    intent = await world.ask()
    attempt = tried(intent, world.asha)
    [mine] = shown(world.actor(world.asha), intent, [attempt])
    assert (mine.hint, mine.code, mine.rail_reference) == ("as***@okbank", "U30", "7")
    [theirs] = shown(world.actor(world.shop), intent, [attempt])
    assert (theirs.hint, theirs.code, theirs.rail_reference) == (None, None, "7")
    assert shown(world.actor(world.ravi), intent, [attempt]) == []
    assert shown(OPERATOR, intent, [tried(intent, world.asha, scope="None")]) == []


async def test_of_two_who_tried_each_sees_their_own_and_the_shop_both(world: World) -> None:
    intent = await world.ask()
    both = [tried(intent, world.asha), tried(intent, world.ravi, number=2)]
    for party, numbers in ((world.asha, [1]), (world.ravi, [2]), (world.shop, [1, 2])):
        assert [one.number for one in shown(world.actor(party), intent, both)] == numbers


async def test_a_capture_is_told_to_the_shop_in_order(world: World) -> None:
    intent = await world.ask(capture_method=CaptureMethod.MANUAL_MULTIPLE)
    await world.confirm(world.pay(intent))
    for amount in (4_000, 11_000):
        shop = world.actor(world.shop)
        command = Capture(
            actor=shop, key=world.key(), intent=intent.id, amount=amount, final=amount > 4_000
        )
        await capture(world.db, NO_RAILS, command)
    async with world.db.reader() as reader:
        seen = await showing.attempts(reader, shop, intent.id)
        stranger = Actor(party=world.ravi.id, role=Role.PAYER)
        with pytest.raises(DomainError, match="no such payment intent"):
            await showing.attempts(reader, stranger, intent.id)
    assert [(one.number, one.operation, one.amount) for one in seen] == [
        (1, Operation.PAY, 15_000), (2, Operation.CAPTURE, 4_000), (3, Operation.CAPTURE, 11_000),
    ]  # fmt: skip
