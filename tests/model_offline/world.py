"""A world: devices, shops, one server, and what is on its way between them; and every move from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from edge_agent.store.terminal_rows import ShopLimits
from offline.journal import Accept, CloseReason
from offline.model import VoidReason
from offline.sync import SyncRequest
from offline.verdicts import Verdict
from offline.verify import ChallengeState
from server_core.actor import Actor, Role
from server_core.vouchers import histories, rules
from tests.model_offline import cast, laws
from tests.model_offline.device import Device, forgeries
from tests.model_offline.part import law
from tests.model_offline.server import Server
from tests.model_offline.shop import Shop

GOOD = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})


@dataclass(frozen=True, kw_only=True)
class Scope:
    """How small a world is. `budget`: how often each kind of move may be made, 0 where it is not named.

    `honest`: every payer and terminal is, so what was accepted must settle. `quarantines`: somebody here
    runs two histories of one terminal. `most`: rows in one batch. `flight`: requests on their way at once.
    """

    name: str
    about: str
    budget: dict[str, int] = field(default_factory=dict)
    devices: int = 1
    shops: int = 1
    hold: int = 3
    amounts: tuple[int, ...] = (1,)
    most: int = 500
    flight: int = 1
    honest: bool = True
    quarantines: bool = False
    limits: ShopLimits = ShopLimits()
    ends: tuple[CloseReason, ...] = (CloseReason.EXPIRED,)


Move = tuple[str, str, Callable[[], "World | None"]]
_INTERNED: dict[object, int] = {}
_BY_NUMBER: list[object] = []


def _number(value: object) -> int:
    """A small number for a large value, so that a state's name is cheap."""
    if value not in _INTERNED:
        _INTERNED[value] = len(_BY_NUMBER)
        _BY_NUMBER.append(value)
    return _INTERNED[value]


class World:
    """`net`: requests on their way; `answers`: (request, answer) that their terminal may still take.

    `asked`: (shop, number, amount) of each request shown; `air`: vouchers that anybody may hold;
    `voids`: voids that their payers hold; `copies`, `device_copies`: of files, to be put back.
    """

    __slots__ = (
        "air", "answers", "asked", "clock", "copies", "device_copies", "devices", "net", "scope",
        "server", "shops", "spent", "voids",
    )  # fmt: skip

    @classmethod
    def begin(cls, scope: Scope) -> Self:
        made = object.__new__(cls)
        made.scope, made.clock, made.spent = scope, cast.SPENDING, {}
        made.devices = tuple(Device.new(d, scope.hold) for d in range(scope.devices))
        made.shops = tuple(Shop.new(s, scope.limits) for s in range(scope.shops))
        made.server = Server.new(scope.devices, scope.shops, scope.hold)
        made.net = made.answers = made.asked = made.air = made.voids = frozenset()
        made.copies, made.device_copies = (None,) * scope.shops, (None,) * scope.devices
        return made

    def name(self) -> int:
        return hash((
            self.clock, self.net, self.answers, self.asked, self.air, self.voids,
            tuple(sorted(self.spent.items())),
            *(one and one.name() for one in (*self.devices, *self.shops, *self.copies)),
            *(one and one.name() for one in self.device_copies),
            self.server.name(),
        ))  # fmt: skip

    def fork(self, kind: str) -> "World":
        made = object.__new__(World)
        for slot in self.__slots__:
            setattr(made, slot, getattr(self, slot))
        made.spent = {**self.spent, kind: self.spent.get(kind, 0) + 1} if kind else self.spent
        return made

    @property
    def now_s(self) -> int:
        return cast.TIMES[self.clock]

    def may(self, kind: str) -> bool:
        return self.spent.get(kind, 0) < self.scope.budget.get(kind, 0)

    def with_shop(self, shop: Shop) -> None:
        self.shops = (*self.shops[: shop.who], shop, *self.shops[shop.who + 1 :])

    def with_device(self, device: Device) -> None:
        self.devices = (*self.devices[: device.who], device, *self.devices[device.who + 1 :])

    def check(self, before: "World") -> None:
        """The laws that every state keeps, and every step."""
        if self.server is not before.server:
            laws.check_server(self.server)
            laws.check_step(before.server, self.server, quarantines=self.scope.quarantines)
        for shop, was in zip(self.shops, before.shops, strict=True):
            if shop is not was:
                _check_shop(shop)

    # Every move

    def moves(self) -> Iterator[Move]:
        for shop in self.shops:
            # Of two shops that are alike the first to act is the first: the others mirror it.
            if shop.who == 0 or any(who == 0 for who, *_ in self.asked):
                yield from self._sales(shop)
                yield from self._syncs(shop)
                yield from self._copies(shop)
        for device in self.devices:
            if device.who == 0 or self.devices[0].counter:
                yield from self._payer(device)
        yield from self._server()
        if self.may("time") and self.clock + 1 < len(cast.TIMES):
            yield "time", "time passes", self._time

    def _sales(self, shop: Shop) -> Iterator[Move]:
        number = sum(who == shop.who for who, *_ in self.asked)
        if self.may(f"ask {shop.who}"):
            for amount in self.scope.amounts:
                yield (
                    f"ask {shop.who}", f"shop {shop.who} shows request {number + 1} for {amount}",
                    lambda amount=amount: self._ask(shop, number, amount),
                )  # fmt: skip
        if self.may("end"):
            for nonce, row in shop.requests.items():
                if row.state == "open":
                    for reason in self.scope.ends:
                        yield (
                            "end", f"shop {shop.who} closes request {nonce[7]} as {reason}",
                            lambda nonce=nonce, reason=reason: self._end(shop, nonce, reason),
                        )  # fmt: skip
        for name in sorted(self.air):
            yield (
                "", f"shop {shop.who} scans {cast.said(name)}",
                lambda name=name: self._scan(shop, name),
            )  # fmt: skip
            for kind in ("void", "return"):
                if self.may(kind):
                    yield (
                        kind, f"shop {shop.who} signs a void ({kind}) of {cast.said(name)}",
                        lambda name=name, kind=kind: self._void(shop, name, kind),
                    )  # fmt: skip
            if self.may("rogue") and shop.who == 0:
                yield (
                    "rogue", f"shop {shop.who} journals {cast.said(name)} without asking",
                    lambda name=name: self._rogue(shop, name),
                )  # fmt: skip

    def _syncs(self, shop: Shop) -> Iterator[Move]:
        mine = [n for n in self.net if _BY_NUMBER[n].terminal == cast.TERMINALS[shop.who].id]
        if self.may(f"send {shop.who}") and len(mine) < self.scope.flight:
            yield f"send {shop.who}", f"shop {shop.who} sends a sync", lambda: self._send(shop)
        if mine and self.may("lose"):
            yield (
                "lose", f"a sync of shop {shop.who} is lost",
                lambda: self._lose(min(mine)),
            )  # fmt: skip
        for at, answer in sorted(self.answers):
            if at == shop.pending:
                yield (
                    "", f"shop {shop.who} takes the answer",
                    lambda at=at, answer=answer: self._take(shop, at, answer),
                )  # fmt: skip

    def _copies(self, shop: Shop) -> Iterator[Move]:
        if self.may("copy"):
            yield "copy", f"shop {shop.who}'s file is copied", lambda: self._copy(shop)
        kept = self.copies[shop.who]
        if kept is not None and self.may("put back"):
            yield (
                "put back", f"shop {shop.who}'s copy is put back without a word",
                lambda: self._put_back(shop, kept),
            )  # fmt: skip
        if kept is not None and self.may("restore"):
            yield (
                "restore", f"shop {shop.who} is restored by command from its copy",
                lambda: self._restore(shop, kept),
            )  # fmt: skip

    def _payer(self, device: Device) -> Iterator[Move]:
        d = device.who
        for who, number, amount in sorted(self.asked):
            request = cast.request(who, number, amount)
            what = f"request {number + 1} of shop {who}"
            yield "", f"device {d} pays {what}", lambda r=request: self._pay(device, r, crash=False)
            if self.may("crash"):
                yield (
                    "crash", f"device {d} reserves {what} and crashes",
                    lambda r=request: self._pay(device, r, crash=True),
                )  # fmt: skip
            if self.may("forge") and d == 0:
                for h in forgeries(device, request, self.air):
                    if h not in self.air:
                        yield (
                            "forge", f"device {d} forges {cast.said(h)}",
                            lambda h=h: self._shown("forge", [h]),
                        )  # fmt: skip
        if any(not is_signed for *_, is_signed in device.answered.values()):
            yield "", f"device {d} recovers", lambda: self._recover(device)
        own = [n for n in sorted(self.air) if cast.VOUCHERS[n].allowance.aid[0] == 0xA0 + d and len(n) == 32]
        if self.may("flip"):
            for name in own:
                yield (
                    "flip", f"somebody flips a bit of {cast.said(name)}",
                    lambda name=name: self._shown("flip", [cast.flipped(name)]),
                )  # fmt: skip
        if self.may("device copy"):
            yield "device copy", f"device {d}'s file is copied", lambda: self._copy_device(device)
        kept = self.device_copies[d]
        if kept is not None and self.may("device back"):
            yield (
                "device back", f"device {d}'s file is put back",
                lambda: self._device_back(device, kept),
            )  # fmt: skip

    def _server(self) -> Iterator[Move]:
        for n in sorted(self.net):
            who = cast.WHO[_BY_NUMBER[n].terminal]
            yield "", f"the server takes a sync of shop {who}", lambda n=n: self._serve(n)
        for d, device in enumerate(self.devices):
            aid = cast.allowance(d, self.scope.hold).allowance.aid
            own = [n for n in sorted(self.air) if cast.VOUCHERS[n].allowance.aid == aid]
            if own and self.may("witness"):
                payer = Actor(party=cast.party(d), role=Role.PAYER)
                yield "witness", f"payer {d} shows its vouchers", lambda a=payer, o=own: self._witness("witness", o, a)
            if own and self.may("stranger"):
                other = Actor(party=cast.TERMINALS[0].party, role=Role.MERCHANT)
                yield "stranger", f"a merchant shows payer {d}'s vouchers", lambda a=other, o=own: self._witness("stranger", o, a)
            if self.may("surrender") and device.state == "active":
                yield "surrender", f"device {d} gives its allowance back", lambda a=device: self._surrender(a)
            if self.may("revoke"):
                yield "revoke", f"device {d} is reported lost", lambda a=aid: self._revoke(a)
            if self.clock >= cast.OVER:
                yield "", f"the allowance of device {d} is closed", lambda a=aid: self._close(a)
        if self.may("hand in"):
            for key in self.voids:
                yield "hand in", f"a void of {cast.said(key[1])} is handed in", lambda k=key: self._hand_in(k)
        if self.may("foreign void"):
            for name in sorted(self.air):
                key = (1, name, 1, VoidReason.REFUSED)
                if len(name) == 32:
                    yield "foreign void", f"shop 1 hands in its own void of {cast.said(name)}", lambda k=key: self._foreign(k)
        if self.may("claim"):
            for h in self.server.unclaimed:
                for who in range(self.scope.shops):
                    yield "claim", f"shop {who} claims {cast.said(h)}", lambda h=h, who=who: self._claim(h, who)

    # What each does: the world after it, or None where nothing changed

    def _ask(self, shop: Shop, number: int, amount: int) -> "World | None":
        made, after = self.fork(f"ask {shop.who}"), shop.fork()
        if not after.ask(amount, number, self.now_s):
            return None
        made.with_shop(after)
        made.asked = self.asked | {(shop.who, number, amount)}
        return made

    def _end(self, shop: Shop, nonce: bytes, reason: CloseReason) -> "World | None":
        made, after = self.fork("end"), shop.fork()
        if not after.end(nonce, reason, self.now_s):
            return None
        made.with_shop(after)
        return made

    def _scan(self, shop: Shop, name: bytes) -> "World | None":
        made, after = self.fork(""), shop.fork()
        v, signed = cast.VOUCHERS[name].voucher, cast.VOUCHERS[name]
        open_now = self._awaits(shop, name)
        judged, paid = after.scan(name, self.now_s)
        if paid:
            laws.said_to_shop(shop.who, signed.h)
            row = after.redeemed.get(signed.h)
            kept = row and after.rows.get((row.epoch, row.seq))
            law(bool(kept), "nothing is shown as paid that is not in the journal")
            law(
                judged.verdict is Verdict.ACCEPTED or shop.screen == v.nonce,
                "a code that paid another sale is not shown as paid",
            )
        if self.scope.honest and open_now:
            law(judged.verdict is Verdict.ACCEPTED, "an honest voucher for an open request is taken")
        if judged.verdict is not Verdict.ACCEPTED and after.evidence == shop.evidence:
            return None
        made.with_shop(after)
        return made

    def _awaits(self, shop: Shop, name: bytes) -> bool:
        """Whether this is an unharmed voucher for a request that is open here, in its time."""
        signed = cast.VOUCHERS[name]
        facts = shop.facts(name, self.now_s)
        return (
            len(name) == 32
            and signed.voucher.terminal == cast.TERMINALS[shop.who].id
            and facts.challenge.state is ChallengeState.OPEN
            and not facts.revoked
            and self.clock == cast.SPENDING
        )

    def _void(self, shop: Shop, name: bytes, kind: str) -> "World | None":
        made, after = self.fork(kind), shop.fork()
        signed = after.void(name, self.now_s, give_back=kind == "return")
        if signed is None:
            return None
        laws.said_to_shop(shop.who, cast.VOUCHERS[name].h)
        law(
            kind == "return" or len(name) == 32,
            "a void of what was refused is signed only where both signatures are good",
        )
        made.with_shop(after)
        made.voids = self.voids | {(shop.who, name, signed.void.seq, signed.void.reason)}
        return made

    def _rogue(self, shop: Shop, name: bytes) -> "World | None":
        made, after = self.fork("rogue"), shop.fork()
        after.append(Accept(signed=cast.VOUCHERS[name], accepted_at=self.now_s))
        made.with_shop(after)
        return made

    def _send(self, shop: Shop) -> "World | None":
        made, after = self.fork(f"send {shop.who}"), shop.fork()
        number = _number(after.send(self.scope.most))
        after.pending = number
        made.with_shop(after)
        made.net = self.net | {number}
        made._forget()
        return made

    def _lose(self, number: int) -> "World":
        made = self.fork("lose")
        made.net = self.net - {number}
        return made

    def _forget(self) -> None:
        """An answer that nobody waits for is never taken."""
        waited = {shop.pending for shop in self.shops}
        self.answers = frozenset(pair for pair in self.answers if pair[0] in waited)

    def _serve(self, number: int) -> "World":
        request = _BY_NUMBER[number]
        made, server = self.fork(""), self.server.fork()
        who = cast.WHO[request.terminal]
        answer, told = server.serve(request)
        made.server, made.net = server, self.net - {number}
        made.answers = self.answers | {(number, _number(answer))}
        made._forget()
        for h, verdict in told:
            if verdict in GOOD:
                laws.said_to_shop(who, h)
            closed = verdict is Verdict.SETTLEMENT_CLOSED
            law(
                not self.scope.honest or verdict in GOOD or closed,
                "what an honest terminal accepted from an honest payer is never refused",
            )
        return made

    def _take(self, shop: Shop, at: int, answer: int) -> "World":
        made, after = self.fork(""), shop.fork()
        request = _BY_NUMBER[at]
        after.take(request, _BY_NUMBER[answer])
        made.with_shop(after)
        made._forget()
        return made

    def _copy(self, shop: Shop) -> "World":
        made, kept = self.fork("copy"), shop.fork()
        kept.pending = kept.after = None
        made.copies = (*self.copies[: shop.who], kept, *self.copies[shop.who + 1 :])
        return made

    def _put_back(self, shop: Shop, kept: Shop) -> "World":
        made = self.fork("put back")
        made.with_shop(kept.fork())
        made._forget()
        return made

    def _restore(self, shop: Shop, kept: Shop) -> "World":
        made, after = self.fork("restore"), kept.fork()
        after.restore(made.spent["restore"], self.now_s)
        made.with_shop(after)
        if not self.scope.quarantines:
            # A request is good for five minutes: what was on its way is over when the shop is back.
            me = cast.TERMINALS[shop.who].id
            made.net = frozenset(n for n in self.net if _BY_NUMBER[n].terminal != me)
        made._forget()
        return made

    def _pay(self, device: Device, request: object, *, crash: bool) -> "World | None":
        made, after = self.fork("crash" if crash else ""), device.fork()
        h = after.pay(request, self.now_s, crash=crash)
        if after.name() == device.name():
            return None
        made.with_device(after)
        made.air = self.air | {h} if h is not None else self.air
        return made

    def _recover(self, device: Device) -> "World":
        made, after = self.fork(""), device.fork()
        made.air = self.air | set(after.recover())
        made.with_device(after)
        return made

    def _shown(self, kind: str, names: list[bytes]) -> "World | None":
        made = self.fork(kind)
        made.air = self.air | set(names)
        return None if made.air == self.air else made

    def _copy_device(self, device: Device) -> "World":
        made = self.fork("device copy")
        made.device_copies = (
            *self.device_copies[: device.who], device, *self.device_copies[device.who + 1 :],
        )  # fmt: skip
        return made

    def _device_back(self, device: Device, kept: Device) -> "World":
        made = self.fork("device back")
        made.with_device(device.put_back(kept))
        return made

    def _witness(self, kind: str, names: list[bytes], actor: Actor) -> "World":
        made = self.fork(kind)
        made.server = self.server.fork()
        made.server.witness(names, actor)
        return made

    def _surrender(self, device: Device) -> "World":
        made, after = self.fork("surrender"), device.fork()
        after.state = "surrendered"
        made.with_device(after)
        made.server = self.server.fork()
        aid = cast.allowance(device.who, device.hold).allowance.aid
        made.server.allowances[aid] = rules.surrender(made.server.allowances[aid])
        return made

    def _revoke(self, aid: bytes) -> "World | None":
        made = self.fork("revoke")
        made.server = self.server.fork()
        return made if made.server.lose_device(aid) else None

    def _close(self, aid: bytes) -> "World | None":
        made = self.fork("")
        made.server = self.server.fork()
        return made if made.server.close(aid) else None

    def _hand_in(self, key: tuple) -> "World":
        made = self.fork("hand in")
        made.server = self.server.fork()
        made.server.hand_in(cast.void(*key))
        return made

    def _foreign(self, key: tuple) -> "World":
        made = self.fork("foreign void")
        made.server = self.server.fork()
        made.server.hand_in(cast.void(*key))
        return made

    def _claim(self, h: bytes, who: int) -> "World | None":
        made = self.fork("claim")
        made.server = self.server.fork()
        if not made.server.claim(h, who):
            return None
        laws.said_to_shop(who, h)
        return made

    def _time(self) -> "World":
        made = self.fork("time")
        made.clock = self.clock + 1
        return made


def _check_shop(shop: Shop) -> None:
    law(shop.acked_seq <= shop.head_seq, "acked is a row of the journal")
    for h, one in shop.redeemed.items():
        kept = shop.rows.get((one.epoch, one.seq))
        row = kept and histories.decode_row(kept.row)
        law(
            isinstance(row, Accept) and row.signed.h == h,
            "every sale that was shown as paid has its journal row",
        )


