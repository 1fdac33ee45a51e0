"""A measured rail hands every call through as it is, and counts it under its connection's name."""

from typing import Any
from uuid import UUID

from devices.clock import ManualClock
from server_core.rails.measured import MeasuredRail
from server_core.rails.model import Outcome, Rail, RailAnswer, RailOrder, RailRefund
from server_core.telemetry import metrics

A, B = UUID(int=1), UUID(int=2)
NAME = "test.measured"
ORDER = RailOrder(
    attempt=A, amount_minor=5, currency="INR", instrument="asha@okbank", payee_vpa="chai@okbank"
)
REFUND = RailRefund(refund=B, attempt=A, amount_minor=5, currency="INR")
ANSWER = RailAnswer(outcome=Outcome.DECLINED, code="Z9")


class Recording:
    """Answers alike to everything, two seconds later, and keeps how it was asked."""

    name = "test"

    def __init__(self, clock: ManualClock) -> None:
        self.asked: list[Any] = []
        self.clock = clock

    def __getattr__(self, verb: str) -> Any:
        async def answer(*given: Any, **named: Any) -> Any:
            self.asked.append((verb, given, named))
            self.clock.advance(2_000)
            return None if verb == "paid_by_link" else ANSWER

        return answer


async def test_every_call_is_handed_through_counted_and_timed() -> None:
    clock = ManualClock(0)
    inner = Recording(clock)
    rail: Rail = MeasuredRail(NAME, inner, clock)
    assert rail.name == NAME
    assert await rail.authorize(ORDER) is ANSWER
    assert await rail.capture(A, B, 3, final=True) is ANSWER
    assert await rail.reverse(A) is ANSWER
    assert await rail.status(A, 5) is ANSWER
    assert await rail.paid_by_link("tr") is None
    assert await rail.refund(REFUND) is ANSWER
    assert await rail.refund_status(REFUND) is ANSWER
    assert inner.asked == [
        ("authorize", (ORDER,), {}), ("capture", (A, B, 3), {"final": True}),
        ("reverse", (A,), {}), ("status", (A, 5), {}), ("paid_by_link", ("tr",), {}),
        ("refund", (REFUND,), {}), ("refund_status", (REFUND,), {}),
    ]  # fmt: skip
    for verb, *_ in inner.asked:
        outcome = "unknown" if verb == "paid_by_link" else "declined"
        labels = {"rail": NAME, "operation": verb}
        read = metrics.REGISTRY.get_sample_value
        assert read("hundi_rail_calls_total", labels | {"outcome": outcome}) == 1
        assert read("hundi_rail_call_seconds_sum", labels) == 2
