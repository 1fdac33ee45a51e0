"""What a world knows of its sales by itself: who signed what for whom, and what the shops were shown."""

from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from offline.wire import SignedVoucher


@dataclass(slots=True)
class Sale:
    """One voucher. `kept` while the shop's screen has said paid and it was not given back since."""

    signed: SignedVoucher
    payer: UUID
    shop: UUID
    terminal: bytes
    story: list[str] = field(default_factory=list)
    shown: bool = False
    given_back: bool = False

    @property
    def amount(self) -> int:
        return self.signed.voucher.amount

    @property
    def kept(self) -> bool:
        return self.shown and not self.given_back


@dataclass(slots=True)
class Books:
    """Every sale by h, and by party what it must have at the end."""

    sales: dict[bytes, Sale] = field(default_factory=dict)
    funds: dict[UUID, int] = field(default_factory=dict)

    def sale(self, signed: SignedVoucher, payer: UUID, shop: UUID, terminal: bytes) -> Sale:
        found = self.sales.get(signed.h)
        if found is None:
            found = self.sales[signed.h] = Sale(signed, payer, shop, terminal)
        return found

    def spent(self, paid: set[bytes] | None) -> dict[UUID, int]:
        """By payer, what shops keep of it; of `paid` only, unless all of it must have been."""
        return self._sums("payer", paid)

    def taken(self, paid: set[bytes] | None) -> dict[UUID, int]:
        """By shop, what it keeps."""
        return self._sums("shop", paid)

    def _sums(self, side: str, paid: set[bytes] | None) -> dict[UUID, int]:
        found: dict[UUID, int] = defaultdict(int)
        for h, one in self.sales.items():
            if one.kept and (paid is None or h in paid):
                found[getattr(one, side)] += one.amount
        return found
