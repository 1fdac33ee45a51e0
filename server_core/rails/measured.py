"""A rail whose every call is counted and timed, under the name of its connection."""

from collections.abc import Awaitable
from typing import Final
from uuid import UUID

from devices.clock import Clock
from server_core.rails.model import LinkPayment, Rail, RailAnswer, RailOrder, RailRefund
from server_core.telemetry import metrics

_HEARD: Final = "heard"
"""What a look under a link comes to, since it may find many debits or none."""


class MeasuredRail:
    """`name` is that of the connection: two of them may carry one method."""

    __slots__ = ("_clock", "_rail", "name")

    def __init__(self, name: str, rail: Rail, clock: Clock) -> None:
        self.name, self._rail, self._clock = name, rail, clock

    async def authorize(self, order: RailOrder) -> RailAnswer:
        return await self._told("authorize", self._rail.authorize(order))

    async def capture(
        self, attempt: UUID, capture: UUID, amount_minor: int, *, final: bool = False
    ) -> RailAnswer:
        return await self._told(
            "capture", self._rail.capture(attempt, capture, amount_minor, final=final)
        )

    async def reverse(self, attempt: UUID) -> RailAnswer:
        return await self._told("reverse", self._rail.reverse(attempt))

    async def status(self, attempt: UUID, amount_minor: int | None = None) -> RailAnswer:
        return await self._told("status", self._rail.status(attempt, amount_minor))

    async def paid_by_link(self, reference: str) -> list[LinkPayment] | None:
        began_ms = self._clock.monotonic_ms()
        found = await self._rail.paid_by_link(reference)
        self._counted("paid_by_link", "unknown" if found is None else _HEARD, began_ms)
        return found

    async def refund(self, refund: RailRefund) -> RailAnswer:
        return await self._told("refund", self._rail.refund(refund))

    async def refund_status(self, refund: RailRefund) -> RailAnswer:
        return await self._told("refund_status", self._rail.refund_status(refund))

    async def _told(self, operation: str, call: Awaitable[RailAnswer]) -> RailAnswer:
        began_ms = self._clock.monotonic_ms()
        answer = await call
        self._counted(operation, answer.outcome, began_ms)
        return answer

    def _counted(self, operation: str, outcome: str, began_ms: int) -> None:
        metrics.counter(metrics.RAIL_CALLS, self.name, operation, outcome).inc()
        took_s = (self._clock.monotonic_ms() - began_ms) / 1000
        metrics.timer(metrics.RAIL_SECONDS, self.name, operation).observe(took_s)
