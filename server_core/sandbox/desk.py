"""A desk: takes, answers, tells and steers orders of one kind, each id once."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Final

from server_core.sandbox import requests, rules
from server_core.sandbox.dialects import Dialect
from server_core.sandbox.line import Due, Line
from server_core.sandbox.model import Answer, Delivery, Entry, Fate, Order, Refusal
from server_core.sandbox.store import Store

_UNREADABLE: Final = b"<html>gateway</html>"
_MEGABYTE: Final = 1024 * 1024
_OTHER_ID: Final = "XXX" + "0" * 32

Tell = Callable[[str, dict[str, Any]], None]
"""Hears the kind of an order and what is known of it, each time that an outcome is known."""


class Desk(ABC):
    """One kind of order over one line and one store; a subclass says how its orders are read.

    An id names one order for ever: a repeat is answered the same, another body under it is a
    conflict, and one that was asked about before it came is refused from then on.
    """

    __slots__ = ("_line", "_store", "_tell")
    door: str
    dialect: Dialect
    noun: ClassVar[str] = "txn"
    waiting: ClassVar[str | None] = None

    def __init__(self, line: Line, store: Store, tell: Tell) -> None:
        self._line, self._store, self._tell = line, store, tell

    @property
    def kind(self) -> str:
        return f"{self.door}.{self.noun}"

    @property
    def key(self) -> str:
        return f"{self.noun}_id"

    @abstractmethod
    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        """The order of a request whose id has been read; raises a Refusal of status 400."""

    def _fate(self, order: Order) -> Fate:
        """What becomes of a new order; raises a Refusal of one that cannot be taken at all."""
        return rules.fate(order, self._line.behaviour, self.dialect)

    def _more(self, entry: Entry) -> dict[str, Any]:  # noqa: ARG002 - a hook
        """What this desk says of an entry besides what every desk says."""
        return {}

    def _aged(self, entry: Entry) -> Entry:
        """The entry as time has left it."""
        return entry

    async def take(self, said: dict[str, Any]) -> Answer:
        """Move money once per id."""
        key = requests.parse_id(said.get(self.key), self.door, self.key)
        return await self._carry("pay", key, lambda: self._taken(key, said))

    async def status(self, key: str) -> Answer:
        """What became of an id. One that is not known is refused from now on, and that is said."""
        requests.parse_id(key, self.door, self.key)
        return await self._carry("status", key, lambda: self._told(self.known(key)))

    def steer(self, key: str, said: dict[str, Any]) -> Answer:
        """Make a known order's status say something else, as a contradiction would."""
        code, asks = requests.parse_steering(said, self.dialect.code, self.door)
        entry = self.find(requests.parse_id(key, self.door, self.key))
        if entry is None or entry.order is None:
            raise self.refusal(404, "not_found", f"no such {self.noun}", key)
        debited = entry.debited or code == self.dialect.ok
        self.keep(entry, replace(entry, later=code, asks=asks, returns=False, debited=debited))
        return Answer(said={self.key: key, "code": code, "asks": asks})

    def find(self, key: str) -> Entry | None:
        """The entry or its tombstone, with nothing asked and nothing buried."""
        entry = self._store.get(self.kind, key)
        if entry is None:
            return None
        aged = self._aged(entry)
        if aged != entry:
            self.keep(entry, aged)
        return aged

    def buried(self, key: str) -> Entry | None:
        """The entry; None of an id that is not known, which is refused from now on."""
        found = self.find(key)
        if found is None:
            self.check_room(key)
            found = _tombstone(key, self._line.clock.now_ms())
            self._store.insert(self.kind, found)
        return None if found.order is None else found

    def known(self, key: str) -> Entry:
        found = self.buried(key)
        if found is None:
            raise self.refusal(404, "not_found", f"no such {self.noun}, and none to come", key)
        return found

    def keep(self, before: Entry | None, after: Entry) -> None:
        """Store what changed, and tell an outcome that was not known before."""
        if before is None:
            self._store.insert(self.kind, after)
        elif after != before:
            self._store.save(self.kind, after)
        outcome = self._outcome(after)
        if outcome is not None and (before is None or outcome != self._outcome(before)):
            self._tell(self.kind, outcome)

    def moved(self, entry: Entry) -> int:
        """How much of it moved, or may have: that is never moved a second time."""
        gone = entry.debited and not entry.given_back and not self.dialect.is_no(entry.later)
        return entry.order.amount_minor if entry.order is not None and gone else 0

    def under(self, about: str, most: int = -1) -> list[Entry]:
        return self._store.under(self.kind, about, most)

    def said(self, entry: Entry, code: str) -> dict[str, Any]:
        if entry.order is None:
            raise AssertionError("a tombstone has no answer")
        plain = {
            self.key: entry.id,
            "code": code,
            "rrn": entry.rrn,
            "amount_minor": entry.order.amount_minor,
            "reversed": entry.given_back,
        }
        return plain | self._more(entry)

    def refusal(self, status: int, reason: str, message: str, key: str) -> Refusal:
        """`door.noun_reason`, about one id of this desk."""
        return Refusal(status, f"{self.door}.{self.noun}_{reason}", message, {self.key: key})

    def check_room(self, key: str) -> None:
        if self._store.is_full:
            raise Refusal(503, f"{self.door}.full", "no more is taken", {self.key: key})

    async def _carry(self, verb: str, key: str, act: Callable[[], Due]) -> Answer:
        out = Refusal(503, f"{self.door}.outage", "upi-core is out of service", {self.key: key})
        return await self._line.carry(f"{self.kind}.{verb}", key, act, lambda: out)

    def _taken(self, key: str, said: dict[str, Any]) -> Due:
        known = self.find(key)
        return self._new(self._parse(key, said)) if known is None else self._repeated(known, said)

    def _new(self, order: Order) -> Due:
        key, fate = order.id, self._fate(order)
        if fate.delivery is not Delivery.LOST_REQUEST:
            self.check_room(key)
            self.keep(None, self._entry(order, fate))
        extra_ms = fate.extra_ms
        if fate.delivery is Delivery.HELD:
            extra_ms += self._line.behaviour.hold_ms
        if fate.delivery in {Delivery.LOST_REQUEST, Delivery.LOST_ANSWER}:
            return Due(say=lambda: Answer(status=504), extra_ms=extra_ms)
        return Due(say=lambda: self._delivered(key, fate.delivery), extra_ms=extra_ms)

    def _entry(self, order: Order, fate: Fate) -> Entry:
        now_ms = self._line.clock.now_ms()
        return Entry(
            id=order.id,
            order=order,
            code=fate.code,
            later=fate.later,
            asks=fate.asks,
            debited=fate.debited,
            returns=fate.returns,
            given_back=False,
            rrn=rules.rrn(now_ms, self._store.count),
            taken_at_ms=now_ms,
        )

    def _repeated(self, known: Entry, said: dict[str, Any]) -> Due:
        if known.order is None:
            raise self.refusal(
                410,
                "tombstoned",
                "this id was asked about before it came, and is refused",
                known.id,
            )
        with suppress(Refusal):  # a body that is not even well-formed is another body
            if self._parse(known.id, said) == known.order:
                spoilt = rules.mangling(known.order.word, self.dialect)
                return Due(say=lambda: self._delivered(known.id, spoilt))
        raise self.refusal(409, "conflict", "this id names another order already", known.id)

    def _told(self, entry: Entry) -> Due:
        said = self._asked(entry)
        return Due(say=lambda: Answer(said=said))

    def _asked(self, entry: Entry) -> dict[str, Any]:
        """What is said to one who asks; each ask counts."""
        if entry.asks > 0:
            code, after = entry.code, replace(entry, asks=entry.asks - 1)
        else:
            code = entry.later
            after = replace(entry, given_back=entry.given_back or entry.returns)
        self.keep(entry, after)
        return self.said(after, code)

    def _delivered(self, key: str, delivery: Delivery) -> Answer:
        entry = self.find(key)
        if entry is None:
            raise AssertionError("a taken order is kept")
        if delivery is Delivery.GARBAGE:
            return Answer(raw=_UNREADABLE)
        if delivery is Delivery.OVERSIZED:
            return Answer(raw=b" " * _MEGABYTE + b"{}")
        said = self.said(entry, entry.code)
        if delivery is Delivery.WRONG_ID:
            said[self.key] = _OTHER_ID
        return Answer(said=said)

    def _outcome(self, entry: Entry) -> dict[str, Any] | None:
        """What a callback would say of it; None while the desk itself does not know."""
        returning = entry.returns and not entry.given_back
        if entry.order is None or entry.asks > 0 or returning or entry.later == self.waiting:
            return None
        return self.said(entry, entry.later)


class DebitDesk(Desk):
    """A desk that takes debits, which can be given back."""

    __slots__ = ()

    def taken_of(self, entry: Entry) -> int:
        """How much of it the payer has paid for certain, in minor units."""
        paid = entry.debited and entry.asks == 0 and entry.later == self.dialect.ok
        return entry.order.amount_minor if entry.order and paid and not entry.given_back else 0

    async def reverse(self, said: dict[str, Any]) -> Answer:
        """Give a debit back, once; of what was not debited, say the code that ended it."""
        key = requests.parse_id(said.get(self.key), self.door, self.key)
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only({self.key})
        return await self._carry("reverse", key, lambda: self._reversed(self.known(key)))

    def _reversed(self, entry: Entry) -> Due:
        self._check_reversal(entry)
        after = replace(entry, given_back=entry.given_back or entry.debited)
        self.keep(entry, after)
        said = self.said(after, self.dialect.ok if after.given_back else after.later)
        return Due(say=lambda: Answer(said=said))

    def _check_reversal(self, entry: Entry) -> None:
        """Raises a Refusal of a debit of which a part has gone back already."""
        if any(map(self.moved, self._store.under(f"{self.door}.refund", entry.id))):
            raise self.refusal(409, "refunded", "a part of it has been refunded", entry.id)


def _tombstone(key: str, now_ms: int) -> Entry:
    return Entry(
        id=key,
        order=None,
        code="",
        later="",
        asks=0,
        debited=False,
        returns=False,
        given_back=False,
        rrn=None,
        taken_at_ms=now_ms,
    )
