"""The connected rails: which one carries a payment, and how each has been doing."""

import json
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from devices.clock import Clock, SystemClock
from devices.entropy import Entropy, SystemEntropy
from server_core.rails import router
from server_core.rails.health import Health
from server_core.rails.model import Rail, RailAnswer, RailOrder
from server_core.rails.router import Ask, Decision, Reason
from server_core.rails.traits import carrier_of, method_of

_ON_US: Final = "book"
_SHOWN: Final = frozenset({"upi_link"})
"""Methods whose payer's own app pays: their rail is not called to pay."""


class Choice(Struct, frozen=True, kw_only=True):
    """Which rail, and why: `record` is JSON that `router.replay` decides again from.

    It is None where the ledger alone suffices: nothing was weighed.
    """

    decision: Decision
    record: str | None


class Rails(Struct, frozen=True, kw_only=True):
    """The rails by name: `upi`, and `upi.2` for a second connection that carries the same method.

    `pace` below 1 asks a sandbox sooner than a real switch allows. Without `probes` a choice takes
    nobody's place: what is chosen is not called.
    """

    by_name: Mapping[str, Rail]
    pace: float = 1.0
    health: Health = field(default_factory=Health)
    clock: Clock = field(default_factory=SystemClock)
    entropy: Entropy = field(default_factory=SystemEntropy)
    probes: bool = True

    def choose(self, ask: Ask) -> Choice:
        """Where a payment goes now; never raises: that there is no way is a decision too."""
        if ask.method == _ON_US:
            return _BOOK
        now_ms = self.clock.monotonic_ms()
        carrier = carrier_of(ask.method)
        names = sorted(name for name in self.by_name if method_of(name) == carrier)
        readings = self.health.reading(names, ask.bank, now_ms)
        draw = self.entropy.below(1000)
        decision = router.decide(ask, readings, draw)
        calls = self.probes and ask.method not in _SHOWN
        if calls and decision.reason is Reason.PROBE and decision.rail is not None:
            self.health.probe(decision.rail, now_ms)
        record = json.dumps(router.stored(ask, readings, draw, decision), separators=(",", ":"))
        return Choice(decision=decision, record=record)

    async def authorize(self, rail: str, bank: str, order: RailOrder) -> RailAnswer:
        """Ask the rail to pay, and note how it did: the next choice is made of that."""
        answer = await self.by_name[rail].authorize(order)
        self.health.record(rail, bank, answer, self.clock.monotonic_ms())
        return answer


_BOOK: Final = Choice(
    decision=router.decide(
        Ask(method=_ON_US, currency="", amount=0, bank="", captures_later=False), (), 0
    ),
    record=None,
)
