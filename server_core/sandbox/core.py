"""upi-core in one piece: its line, its store, its desks and its callbacks, wired by hand."""

from pathlib import Path
from typing import Any

from devices.clock import Clock
from server_core.sandbox.banks import BankDesk
from server_core.sandbox.callbacks import Callbacks
from server_core.sandbox.cards import CaptureDesk, CardDesk
from server_core.sandbox.line import Line
from server_core.sandbox.model import MAX_ENTRIES, Behaviour, Refusal
from server_core.sandbox.refunds import RefundDesk
from server_core.sandbox.requests import parse_behaviour
from server_core.sandbox.store import Store
from server_core.sandbox.upi import UpiDesk


class UpiCore:
    """Every desk over one line and one store; to be opened in the loop that will use it."""

    __slots__ = (
        "_callbacks", "bank_refunds", "banks", "captures", "card_refunds", "cards", "line",
        "store", "upi", "upi_refunds",
    )  # fmt: skip

    def __init__(
        self,
        *,
        behaviour: Behaviour,
        clock: Clock,
        path: Path | None = None,
        callback_key: bytes | None = None,
        most: int = MAX_ENTRIES,
    ) -> None:
        self.line = line = Line(behaviour, clock)
        self.store = store = Store(path, most=most)
        self._callbacks = Callbacks(line, callback_key)
        tell = self._callbacks.tell
        self.upi = UpiDesk(line, store, tell)
        self.upi_refunds = RefundDesk(self.upi, line, store, tell)
        self.cards = CardDesk(line, store, tell)
        self.captures = CaptureDesk(self.cards, line, store, tell)
        self.card_refunds = RefundDesk(self.cards, line, store, tell)
        self.banks = BankDesk(line, store, tell)
        self.bank_refunds = RefundDesk(self.banks, line, store, tell)

    def open(self) -> None:
        """Raises sqlite3.OperationalError when another process holds the file."""
        self.store.open()
        self._callbacks.open()

    async def close(self) -> None:
        await self._callbacks.close()
        self.store.close()

    def behave(self, said: dict[str, Any]) -> Behaviour:
        """Change how all of it behaves; raises upi.behaviour and changes nothing."""
        then = parse_behaviour(said, self.line.behaviour)
        if then.callback_url and not self._callbacks.can_sign:
            raise Refusal(400, "upi.behaviour", "callbacks need the key that is given at start")
        self.line.behaviour = then
        return then
