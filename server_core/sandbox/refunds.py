"""Refunds at any door: of what was taken, in parts, never more than all of it."""

from typing import Any

from server_core.sandbox import requests, rules
from server_core.sandbox.desk import DebitDesk, Desk, Tell
from server_core.sandbox.line import Line
from server_core.sandbox.model import Entry, Fate, Order, Refusal
from server_core.sandbox.store import Store


class RefundDesk(Desk):
    """Refunds of one desk's debits; the whole note of a refund may steer its fate."""

    __slots__ = ("_debits", "dialect", "door")
    noun = "refund"

    def __init__(self, debits: DebitDesk, line: Line, store: Store, tell: Tell) -> None:
        super().__init__(line, store, tell)
        self._debits, self.door, self.dialect = debits, debits.door, debits.dialect

    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only({self.key, "txn_id", "amount_minor", "currency"}, {"note"})
        note = members.text("note", requests.MAX_NOTE)
        debit = members.shaped("txn_id", requests.ID, "txn_id", "35 letters and digits")
        currency = members.shaped("currency", requests.CURRENCY, "currency", "three letters")
        return Order(
            id=key,
            amount_minor=members.amount(),
            about=debit,
            word=note,
            said={"currency": currency, "note": note},
        )

    def _fate(self, order: Order) -> Fate:
        debit = self._debits.buried(order.about)
        if debit is None or debit.order is None:
            raise Refusal(404, f"{self.door}.txn_not_found", "no such debit", {self.key: order.id})
        given = sum(map(self.moved, self.under(order.about)))
        left = self._debits.taken_of(debit) - given
        same = order.said["currency"] == debit.order.said["currency"]
        if not same or order.amount_minor > left:
            return rules.declined(self.dialect.invalid)
        plain = Fate(code=self.dialect.ok, later=self.dialect.ok)
        return rules.steered(order.word, self.dialect) or plain

    def _more(self, entry: Entry) -> dict[str, Any]:
        return {} if entry.order is None else {"txn_id": entry.order.about}
