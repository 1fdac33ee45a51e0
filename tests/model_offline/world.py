"""A world: devices, shops, one server, and what is on its way between them."""

from dataclasses import dataclass, field
from typing import Self

from offline.journal import Accept, CloseReason
from offline.model import Risk
from server_core.vouchers import histories
from tests.model_offline import cast, laws
from tests.model_offline.device import Device
from tests.model_offline.part import law
from tests.model_offline.server import Server
from tests.model_offline.shop import Shop
from tests.offline import kit


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
    risk: Risk = kit.RISK
    ends: tuple[CloseReason, ...] = (CloseReason.EXPIRED,)


_INTERNED: dict[object, int] = {}
BY_NUMBER: list[object] = []


def numbered(value: object) -> int:
    """A small number for a large value, so that a state's name is cheap."""
    if value not in _INTERNED:
        _INTERNED[value] = len(BY_NUMBER)
        BY_NUMBER.append(value)
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
        made.shops = tuple(Shop.new(s, scope.risk) for s in range(scope.shops))
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


def _check_shop(shop: Shop) -> None:
    law(shop.acked_seq <= shop.head_seq, "acked is a row of the journal")
    for h, one in shop.redeemed.items():
        kept = shop.rows.get((one.epoch, one.seq))
        row = kept and histories.decode_row(kept.row)
        law(
            isinstance(row, Accept) and row.signed.h == h,
            "every sale that was shown as paid has its journal row",
        )
