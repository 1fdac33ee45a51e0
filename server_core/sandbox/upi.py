"""UPI's desk: pushes by the payer's VPA, and by payers' own apps from links."""

import hashlib
from typing import Any, Final

from server_core.sandbox import links, requests
from server_core.sandbox.desk import DebitDesk
from server_core.sandbox.dialects import UPI
from server_core.sandbox.line import Due
from server_core.sandbox.model import Answer, Entry, Order, Refusal

MOST_OF_A_REFERENCE: Final = 50
_OTHER_PSP: Final = "OTH"
_REQUIRED: Final = frozenset({"txn_id", "amount_minor", "currency", "payer_vpa", "payee_vpa"})
_OPTIONAL: Final = frozenset({"payee_name", "mcc", "note"})
_SHAPE: Final = "an address such as name@bank"


class UpiDesk(DebitDesk):
    """Debits over UPI; the payer VPA's local part steers."""

    __slots__ = ()
    door = "upi"
    dialect = UPI

    async def scan(self, said: dict[str, Any]) -> Answer:
        """Somebody else's UPI app pays a link: a transaction that this PSP did not make."""
        members = requests.Members(said=said, door=self.door, about={})
        members.only({"link", "payer_vpa"}, {"amount_minor"})
        link = links.parse_link(said["link"])
        payer = members.shaped("payer_vpa", links.VPA, "vpa", _SHAPE)
        typed = members.amount() if "amount_minor" in said else None
        amount = link.amount_minor or typed
        fits = amount is not None and typed in {None, amount}
        members.require(fits, "amount", "amount_minor is for links without an amount alone")
        seed = f"{self._line.behaviour.seed}:{self._store.count}:{said['link']}:{payer}"
        order = Order(
            id=_OTHER_PSP + hashlib.sha256(seed.encode()).hexdigest()[:32].upper(),
            amount_minor=amount or 0,
            about=link.reference,
            word=payer.partition("@")[0],
            said={
                "currency": "INR",
                "payer_vpa": payer,
                "payee_vpa": link.payee_vpa,
                "payee_name": link.payee_name,
                "mcc": link.mcc,
                "note": link.note,
            },
        )
        return await self._carry("scan", order.id, lambda: self._new(order))

    async def referred(self, reference: str) -> Answer:
        """What was paid under a link's reference, the first first; to ask counts for each."""
        about = {"reference": reference}
        members = requests.Members(said=about, door=self.door, about=about)
        members.shaped("reference", links.REFERENCE, "reference", "4 to 35 letters and digits")

        def told() -> Due:
            found = self.under(reference, MOST_OF_A_REFERENCE)
            said = about | {"transactions": [self._asked(one) for one in found]}
            return Due(say=lambda: Answer(said=said))

        out = Refusal(503, "upi.outage", "upi-core is out of service", about)
        return await self._line.carry("upi.ref", reference, told, lambda: out)

    def collect(self) -> Answer:
        """Always refused: NPCI ended collect requests between persons on 1 October 2025."""
        raise Refusal(
            403,
            "upi.collect_ended",
            "collect requests between persons ended on 1 October 2025: send a link or a QR code",
        )

    def _parse(self, key: str, said: dict[str, Any]) -> Order:
        members = requests.Members(said=said, door=self.door, about={self.key: key})
        members.only(sorted(_REQUIRED), _OPTIONAL)
        amount, currency = members.amount(), members.currency({"INR"})
        payer = members.shaped("payer_vpa", links.VPA, "vpa", _SHAPE)
        return Order(
            id=key,
            amount_minor=amount,
            word=payer.partition("@")[0],
            said={
                "currency": currency,
                "payer_vpa": payer,
                "payee_vpa": members.shaped("payee_vpa", links.VPA, "vpa", _SHAPE),
                "payee_name": members.text("payee_name", requests.MAX_NAME),
                "mcc": members.mcc(),
                "note": members.text("note", requests.MAX_NOTE),
            },
        )

    def _more(self, entry: Entry) -> dict[str, Any]:
        reference = "" if entry.order is None else entry.order.about
        return {"reference": reference} if reference else {}
