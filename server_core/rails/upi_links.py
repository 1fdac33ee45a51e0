"""Builds `upi://pay` links, which a payer's UPI app opens or scans."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from server_core.errors import invalid
from server_core.money import positive_minor

_VPA: Final = re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9]{4,35}")
_MCC: Final = re.compile(r"[0-9]{4}")
MAX_NOTE: Final = 50
MAX_NAME: Final = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class PayLink:
    """What a link asks for. `amount_minor` None lets the payer type it; INR only.

    `reference` is the merchant's own (`tr`), which the payment is found by again.
    """

    payee_vpa: str
    payee_name: str
    reference: str
    amount_minor: int | None = None
    mcc: str | None = None
    note: str = ""


def pay_link(link: PayLink) -> str:
    """The link (NPCI UPI linking specification, 1.6); raises rails.link for a bad field.

    Values are percent-encoded byte by byte with a space as %20: apps read a `+` as a plus.
    """
    _require(_VPA.fullmatch(link.payee_vpa) is not None, "payee_vpa", "a VPA such as shop@bank")
    _require(1 <= len(link.payee_name) <= MAX_NAME, "payee_name", f"1 to {MAX_NAME} characters")
    _require(
        _REFERENCE.fullmatch(link.reference) is not None, "reference", "4 to 35 letters and digits"
    )
    _require(
        link.mcc is None or _MCC.fullmatch(link.mcc) is not None, "mcc", "4 digits (ISO 18245)"
    )
    _require(len(link.note) <= MAX_NOTE, "note", f"at most {MAX_NOTE} characters")
    fields = {"pa": link.payee_vpa, "pn": link.payee_name}
    if link.mcc is not None:
        fields["mc"] = link.mcc
    fields["tr"] = link.reference
    if link.note:
        fields["tn"] = link.note
    if link.amount_minor is not None:
        minor = positive_minor(link.amount_minor)
        fields["am"] = f"{minor // 100}.{minor % 100:02d}"
    fields["cu"] = "INR"
    return "upi://pay?" + "&".join(f"{name}={_encoded(value)}" for name, value in fields.items())


def _encoded(value: str) -> str:
    """`@` stands as it is, as apps print it; a lone surrogate cannot be written at all."""
    try:
        return quote(value, safe="@")
    except UnicodeEncodeError:
        raise invalid("rails.link", "text must be valid Unicode", field="text") from None


def _require(ok: bool, field: str, shape: str) -> None:
    if not ok:
        raise invalid("rails.link", f"{field} must be {shape}", field=field)
