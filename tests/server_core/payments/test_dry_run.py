"""A dry run decides as a confirm does and leaves nothing behind."""

import pytest

from server_core.errors import DomainError
from server_core.payments import commands
from server_core.payments.model import CaptureMethod, Method, State
from server_core.rails.connected import Rails
from tests.server_core.payments.conftest import NO_RAILS, World

TABLES = ("intent", "attempt", "transfer", "entry", "event", "idempotency")


async def rows(world: World) -> dict[str, list[object]]:
    async with world.db.reader() as reader:
        return {
            name: [tuple(row) for row in await reader.rows(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in TABLES
        }


@pytest.mark.parametrize(
    ("amount", "how", "says"),
    [
        (15_000, CaptureMethod.AUTOMATIC, State.SUCCEEDED),
        (15_000, CaptureMethod.MANUAL, State.REQUIRES_CAPTURE),
        (100_001, CaptureMethod.AUTOMATIC, "payments.insufficient_funds"),
    ],
)
async def test_it_says_what_a_confirm_then_does(world: World, amount, how, says) -> None:
    intent = await world.ask(amount, capture_method=how)
    before, command = await rows(world), world.pay(intent)
    for _ in range(2):
        assert await said(commands.dry_run(world.db, NO_RAILS, command)) == says
    assert await rows(world) == before
    assert await said(world.confirm(command)) == says


async def test_no_rail_is_called(world: World) -> None:
    nobody = Rails(by_name={"upi": object()})
    command = world.pay(await world.ask(), method=Method.UPI, instrument="asha@okbank")
    assert await said(commands.dry_run(world.db, nobody, command)) == State.PROCESSING


async def test_a_key_that_was_used_answers_as_it_did(world: World) -> None:
    command = world.pay(await world.ask())
    paid = await world.confirm(command)
    assert await commands.dry_run(world.db, NO_RAILS, command) == paid


async def said(decided) -> object:
    try:
        return (await decided).state
    except DomainError as refused:
        return refused.code
