"""A payer's device: its file, which may be put back, and its key's counter, which may not."""

from typing import Self

from devices.keystore import port
from edge_agent import payer_rules
from offline import payer, signing
from offline.model import NO_PREV, Voucher
from offline.verdicts import Verdict
from offline.wire import SignedRequest
from tests.model_offline import cast
from tests.model_offline.part import Part


class Device(Part):
    """`answered`: (terminal, nonce) to (request's hash, voucher, is it signed). `key`: counter state."""

    __slots__ = ("answered", "counter", "cum", "hold", "key", "last_h", "state", "who")

    @classmethod
    def new(cls, who: int, hold: int) -> Self:
        made = object.__new__(cls)
        made.who, made.hold, made.counter, made.cum = who, hold, 0, 0
        made.last_h, made.state, made.key, made.answered = b"", "active", None, {}
        made._name = None
        return made

    @property
    def stands_back(self) -> bool:
        counted = 0 if self.key is None else self.key.counter
        reserved = any(
            cast.VOUCHERS[h].voucher.counter == self.counter
            for _, h, is_signed in self.answered.values()
            if not is_signed
        )
        return payer_rules.rolled_back(counted, self.counter, reserved=reserved)

    def pay(self, request: SignedRequest, now_s: int, *, crash: bool) -> bytes | None:
        """Reserve, and unless it crashes sign, what `request` asks for; the voucher that is shown."""
        terminal, digest = payer.request_key(request)
        known = self.answered.get((terminal, request.body.nonce))
        if known is not None or self.state != "active":
            return None
        if self.stands_back:
            self.state = "blocked"
            return None
        facts = payer.PayerFacts(
            bundle=cast.BUNDLE, now_s=now_s,
            allowance=cast.allowance(self.who, self.hold).allowance,
            counter=self.counter, cum=self.cum,
        )  # fmt: skip
        if payer.check_request(request, facts).verdict is not Verdict.ACCEPTED:
            return None
        body = payer_rules.next_voucher(
            request, counter=self.counter, cum=self.cum, last_h=self.last_h, now_s=cast.NOW
        )
        h = cast.voucher(self.who, self.hold, body)
        self.counter, self.cum, self.last_h = body.counter, body.cum, h
        self.answered[terminal, body.nonce] = (digest, h, False)
        return None if crash else self._sign(h)

    def recover(self) -> list[bytes]:
        """Sign each reserved payload, the same one; those that may be shown now."""
        if self.stands_back:
            self.state = "blocked"
            return []
        made = []
        for _, h, is_signed in list(self.answered.values()):
            if not is_signed and (one := self._sign(h)) is not None:
                made.append(one)
        return made

    def _sign(self, h: bytes) -> bytes | None:
        signed = cast.VOUCHERS[h]
        message = signing.voucher_message(signed.allowance_raw, signed.voucher_raw)
        try:
            moved = port.advance(self.key, signed.voucher.counter, message)
        except port.CounterRefused:
            self.state = "blocked"
            return None
        self.key = moved or self.key
        place = (signed.voucher.terminal, signed.voucher.nonce)
        self.answered[place] = (self.answered[place][0], h, True)
        return h

    def put_back(self, copy: "Device") -> "Device":
        """The file of the copy, the key as it is: its counter never goes back."""
        made = copy.fork()
        made.key = self.key
        return made


def forgeries(device: Device, request: SignedRequest, seen: frozenset[bytes]) -> list[bytes]:
    """What a broken device may sign for a request: any counter, right or wrong sums and places."""
    amount, made = request.body.amount, []
    own = [
        h for h in seen if cast.VOUCHERS[h].allowance.aid[0] == 0xA0 + device.who and len(h) == 32
    ]
    for counter in (1, 2):
        befores = sorted(h for h in own if cast.VOUCHERS[h].voucher.counter == counter - 1)
        prevs = {NO_PREV, *(h[:8] for h in befores[:1])}
        sums = {amount, *(cast.VOUCHERS[h].voucher.cum + amount for h in befores[:1])}
        if counter == 1:
            sums.add(min(device.hold, amount + 1))
        made += [
            cast.voucher(
                device.who,
                device.hold,
                Voucher(
                    counter=counter, amount=amount, cum=cum, payee=request.cert.payee,
                    terminal=request.cert.terminal, nonce=request.body.nonce, ts=cast.NOW, prev=prev,
                ),
            )
            for cum in sorted(sums)
            for prev in sorted(prevs)
            if cum <= device.hold
        ]  # fmt: skip
    return made
