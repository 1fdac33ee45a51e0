"""Through a brown-out every attempt ends in one truth, whatever was lost on the way."""

from dataclasses import replace

from devices.clock import SystemClock
from devices.entropy import SeededEntropy
from server_core.ids import Ids
from server_core.rails.model import Outcome, RailOrder
from server_core.rails.upi import UpiRail
from tests.server_core.sandbox.running import PROMPT, sandbox

_IDS = Ids(SystemClock(), SeededEntropy("brown-out"))


async def settled(rail: UpiRail, asked: RailOrder) -> Outcome:
    for _ in range(200):
        answer = await rail.status(asked.attempt)
        if answer.outcome is not Outcome.UNKNOWN:
            return answer.outcome
    raise AssertionError("never heard")


async def test_an_attempt_through_a_brown_out_is_debited_or_never_was():
    with sandbox(replace(PROMPT, brownout_rate=0.8, brownout_factor=2)) as address:
        async with UpiRail.connect(address) as rail:
            found = []
            for _ in range(60):
                asked = RailOrder(
                    attempt=_IDS.new(), amount_minor=100, currency="INR",
                    instrument="asha@okbank", payee_vpa="shop@hundi",
                )  # fmt: skip
                first = (await rail.authorize(asked)).outcome
                then = await settled(rail, asked)
                found.append((first, then, await settled(rail, asked)))
    assert all(then == last for _, then, last in found)
    assert {first for first, *_ in found} == {Outcome.SUCCEEDED, Outcome.UNKNOWN}
    assert {then for first, then, _ in found if first is Outcome.SUCCEEDED} == {Outcome.SUCCEEDED}
    lost = {then for first, then, _ in found if first is Outcome.UNKNOWN}
    assert lost == {Outcome.SUCCEEDED, Outcome.NOT_FOUND}
