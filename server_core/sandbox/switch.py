"""The switch itself: takes, answers, tells and reverses transactions, each id once."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from devices.clock import Clock
from server_core.sandbox import requests, rules
from server_core.sandbox.model import (
    MAX_TRANSACTIONS,
    Behaviour,
    Delivery,
    Fate,
    Order,
    Refusal,
    Txn,
)
from server_core.sandbox.store import Store

_UNREADABLE: Final = b"<html>gateway</html>"
_MEGABYTE: Final = 1024 * 1024
_OTHER_ID: Final = "XXX" + "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`said` as JSON, or `raw` bytes in its place where the answer is spoilt on the way."""

    status: int = 200
    said: dict[str, Any] | None = None
    raw: bytes = b""


class Switch:
    """One switch over one store.

    Every method changes its state before it first waits, so that a caller who stops listening
    changes nothing about what happened.
    """

    __slots__ = ("_clock", "_most", "_path", "_stopping", "_store", "behaviour")

    def __init__(
        self,
        *,
        behaviour: Behaviour,
        clock: Clock,
        path: Path | None = None,
        most: int = MAX_TRANSACTIONS,
    ) -> None:
        self.behaviour = behaviour
        self._clock, self._path, self._most = clock, path, most
        self._store: Store | None = None
        self._stopping = asyncio.Event()

    def open(self) -> None:
        """In the thread and loop that will use it."""
        self._store = Store(self._path)

    def stop(self) -> None:
        """Let go of every held answer; nothing waits any more."""
        self._stopping.set()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def count(self) -> int:
        return self._open_store.count

    @property
    def _open_store(self) -> Store:
        if self._store is None:
            raise AssertionError("the switch is not open")
        return self._store

    async def pay(self, said: dict[str, Any]) -> Answer:
        """Debit once per id. A repeat answers the same; another body under it is upi.txn_conflict."""
        txn_id = requests.parse_txn_id(said.get("txn_id"))
        self._check_outage(txn_id)
        known = self._open_store.get(txn_id)
        if known is not None:
            return await self._repeat(known, said)
        order = requests.parse_order(said)
        fate = rules.fate(order, self.behaviour)
        if fate.delivery is not Delivery.LOST_REQUEST:
            self._take(order, fate)
        wait_ms = rules.latency_ms(self.behaviour, txn_id, "pay") + fate.extra_ms
        if fate.delivery is Delivery.HELD:
            wait_ms += self.behaviour.hold_ms
        await self._wait(wait_ms)
        if fate.delivery in {Delivery.LOST_REQUEST, Delivery.LOST_ANSWER}:
            return Answer(status=504)
        return self._delivered(self._open_store.get(txn_id), fate.delivery)

    async def status(self, txn_id: str) -> Answer:
        """What became of an id. One that is not known is refused from now on, and that is said."""
        requests.parse_txn_id(txn_id)
        self._check_outage(txn_id)
        txn = self._known_or_buried(txn_id)
        if txn.asks > 0:
            code, after = txn.code, replace(txn, asks=txn.asks - 1)
        else:
            code, after = txn.later, replace(txn, given_back=txn.given_back or txn.returns)
        if after != txn:
            self._open_store.save(after)
        await self._wait(rules.latency_ms(self.behaviour, txn_id, "status"))
        return Answer(said=_said(after, code))

    async def reverse(self, said: dict[str, Any]) -> Answer:
        """Give a debit back, once; of what was not debited, say the code that ended it."""
        txn_id = requests.parse_reversal(said)
        self._check_outage(txn_id)
        txn = self._known_or_buried(txn_id)
        if txn.debited and not txn.given_back:
            txn = replace(txn, given_back=True)
            self._open_store.save(txn)
        await self._wait(rules.latency_ms(self.behaviour, txn_id, "reverse"))
        return Answer(said=_said(txn, "00" if txn.given_back else txn.later))

    def steer(self, txn_id: str, said: dict[str, Any]) -> Answer:
        """Make a known transaction's status say something else, as a contradiction would."""
        code, asks = requests.parse_steering(said)
        txn = self._open_store.get(requests.parse_txn_id(txn_id))
        if txn is None or txn.order is None:
            raise Refusal(404, "upi.txn_not_found", "no such transaction", txn_id)
        self._open_store.save(
            replace(txn, later=code, asks=asks, returns=False, debited=txn.debited or code == "00")
        )
        return Answer(said={"txn_id": txn_id, "code": code, "asks": asks})

    async def _repeat(self, known: Txn, said: dict[str, Any]) -> Answer:
        if known.order is None:
            raise Refusal(
                410,
                "upi.txn_tombstoned",
                "this id was asked about before it came, and is refused",
                known.txn_id,
            )
        with suppress(Refusal):  # a body that is not even well-formed is another body
            if requests.parse_order(said) == known.order:
                await self._wait(rules.latency_ms(self.behaviour, known.txn_id, "repeat"))
                return self._delivered(
                    self._open_store.get(known.txn_id), rules.mangling(known.order.payer_vpa)
                )
        raise Refusal(
            409, "upi.txn_conflict", "this id names another transaction already", known.txn_id
        )

    def _take(self, order: Order, fate: Fate) -> None:
        self._check_room(order.txn_id)
        now_ms = self._clock.now_ms()
        self._open_store.insert(
            Txn(
                txn_id=order.txn_id,
                order=order,
                code=fate.code,
                later=fate.later,
                asks=fate.asks,
                debited=fate.debited,
                returns=fate.returns,
                given_back=False,
                rrn=rules.rrn(now_ms, self._open_store.count),
                taken_at_ms=now_ms,
            )
        )

    def _known_or_buried(self, txn_id: str) -> Txn:
        """The transaction; or its tombstone is set, which makes `not found` final."""
        found = self._open_store.get(txn_id)
        if found is None:
            self._check_room(txn_id)
            found = _tombstone(txn_id, self._clock.now_ms())
            self._open_store.insert(found)
        if found.order is None:
            raise Refusal(404, "upi.txn_not_found", "no such transaction, and none to come", txn_id)
        return found

    def _delivered(self, txn: Txn | None, delivery: Delivery) -> Answer:
        if txn is None:
            raise AssertionError("a taken transaction is kept")
        if delivery is Delivery.GARBAGE:
            return Answer(raw=_UNREADABLE)
        if delivery is Delivery.OVERSIZED:
            return Answer(raw=b" " * _MEGABYTE + b"{}")
        said = _said(txn, txn.code)
        if delivery is Delivery.WRONG_ID:
            said["txn_id"] = _OTHER_ID
        return Answer(said=said)

    def _check_outage(self, txn_id: str) -> None:
        if self.behaviour.outage:
            raise Refusal(503, "upi.outage", "the switch is out of service", txn_id)

    def _check_room(self, txn_id: str) -> None:
        if self._open_store.count >= self._most:
            raise Refusal(503, "upi.full", "no more transactions are taken", txn_id)

    async def _wait(self, ms: int) -> None:
        """For so long, or until the switch stops."""
        if ms <= 0:
            return
        waits = {
            asyncio.ensure_future(self._clock.sleep(ms / 1000)),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


def _said(txn: Txn, code: str) -> dict[str, Any]:
    if txn.order is None:
        raise AssertionError("a tombstone has no answer")
    return {
        "txn_id": txn.txn_id,
        "code": code,
        "rrn": txn.rrn,
        "amount_minor": txn.order.amount_minor,
        "reversed": txn.given_back,
    }


def _tombstone(txn_id: str, now_ms: int) -> Txn:
    return Txn(
        txn_id=txn_id,
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
