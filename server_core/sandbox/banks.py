"""Netbanking's desk: the payer decides on the bank's page before anything moves."""

import re
from dataclasses import replace
from typing import Any, Final

from server_core.sandbox import requests
from server_core.sandbox.desk import DebitDesk
from server_core.sandbox.dialects import NETBANKING
from server_core.sandbox.line import Due
from server_core.sandbox.model import Answer, Entry, Fate, Order

_BANK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,39}")
PAGE: Final = "/bank/page/"


class BankDesk(DebitDesk):
    """Debits that wait for the payer's yes or no; the bank's code steers what the yes brings."""

    __slots__ = ()
    door = "bank"
    dialect = NETBANKING
    waiting = "INITIATED"

    def decide(self, key: str, *, approve: bool) -> Entry:
        """What the payer pressed, once: a decision that was made, or came too late, stands."""
        requests.parse_id(key, self.door, self.key)
        entry = self.find(key)
        if entry is None or entry.order is None:
            raise self.refusal(404, "not_found", "no such payment", key)
        if entry.later != self.waiting:
            return entry
        if not approve:
            return self._ended(entry, "CANCELLED")
        fate = self._fate(entry.order)
        first = 1 if fate.code != fate.later else 0  # the first ask hears what others hear at once
        after = replace(
            entry,
            code=fate.code,
            later=fate.later,
            asks=fate.asks + first,
            debited=fate.debited,
            returns=fate.returns,
        )
        self.keep(entry, after)
        return after

    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only(["txn_id", "amount_minor", "currency", "bank"], ["payee_name", "mcc", "note"])
        bank = members.shaped("bank", _BANK, "bank", "a bank's code such as HDFC")
        return Order(
            id=key,
            amount_minor=members.amount(),
            word=bank,
            said={
                "currency": members.currency({"INR"}),
                "bank": bank,
                "payee_name": members.text("payee_name", requests.MAX_NAME),
                "mcc": members.mcc(),
                "note": members.text("note", requests.MAX_NOTE),
            },
        )

    def _entry(self, order: Order, fate: Fate) -> Entry:  # noqa: ARG002 - it comes with the yes
        still = Fate(code=self.waiting, later=self.waiting, debited=False)
        return super()._entry(order, still)

    def _aged(self, entry: Entry) -> Entry:
        late = self._line.clock.now_ms() >= entry.taken_at_ms + self._line.behaviour.action_ms
        if entry.later != self.waiting or not late:
            return entry
        return replace(entry, code="EXPIRED", later="EXPIRED")

    def _reversed(self, entry: Entry) -> Due:
        """Called back before the payer decided, it can no longer be approved."""
        if entry.later != self.waiting:
            return super()._reversed(entry)
        after = self._ended(entry, "CANCELLED")
        said = self.said(after, after.later)
        return Due(say=lambda: Answer(said=said))

    def _more(self, entry: Entry) -> dict[str, Any]:
        return {"page": PAGE + entry.id} if entry.later == self.waiting else {}

    def _ended(self, entry: Entry, code: str) -> Entry:
        after = replace(entry, code=code, later=code)
        self.keep(entry, after)
        return after
