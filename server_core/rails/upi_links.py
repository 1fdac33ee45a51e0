"""`upi://pay` links, which a payer's UPI app opens or scans: written and read.

API: `PayLink`, `pay_link(link) -> str`, `read_link(text) -> PayLink`. What other texts of UPI share
with a link is public too: the patterns `VPA`, `REFERENCE`, `MCC` and `DECIMAL`, and `two_decimals`
with its inverse `hundredths`.

Source: NPCI UPI linking specification, 1.6. A signature (`sign`) is neither made nor checked here.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

from server_core.errors import invalid
from server_core.money import positive_minor

VPA: Final = re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}")
REFERENCE: Final = re.compile(r"[A-Za-z0-9]{4,35}")
MCC: Final = re.compile(r"[0-9]{4}")
DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,13})(?:\.[0-9]{1,2})?")
MAX_NOTE: Final = 50
MAX_NAME: Final = 99
MAX_LINK: Final = 4096
"""Characters; the longest link that `pay_link` can write has about 2,350."""

_ID: Final = re.compile(r"[A-Za-z0-9]{1,35}")
_PREFIX: Final = "upi://pay?"
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_TEXTS: Final[dict[str, tuple[str, re.Pattern[str], str]]] = {
    "payee_vpa": ("pa", VPA, "a VPA such as shop@bank"),
    "payee_name": ("pn", re.compile(rf"(?s:.{{1,{MAX_NAME}}})"), f"1 to {MAX_NAME} characters"),
    "mcc": ("mc", MCC, "4 digits (ISO 18245)"),
    "tid": ("tid", _ID, "1 to 35 letters and digits"),
    "reference": ("tr", REFERENCE, "4 to 35 letters and digits"),
    "note": ("tn", re.compile(rf"(?s:.{{0,{MAX_NOTE}}})"), f"at most {MAX_NOTE} characters"),
    "mode": ("mode", re.compile(r"[0-9]{2}"), "2 digits"),
    "purpose": ("purpose", re.compile(r"[0-9A-Z]{2}"), "2 digits or capital letters"),
    "orgid": ("orgid", _ID, "1 to 35 letters and digits"),
}
"""A field of PayLink: its parameter, its shape, and the shape in words. Links keep this order."""


class PayLink(Struct, frozen=True, kw_only=True):
    """What a link asks for. `amount_minor` None lets the payer type it; paise of INR only.

    `reference` is the merchant's own (`tr`), which the payment is found by again: never absent in
    a link that is written, and "" where a link that was read has none. `minimum_minor` (`mam`) is
    the least that the payer may change the amount to. `tid`, `mode`, `purpose` and `orgid` are
    passed through as the payee's bank gave them.
    """

    payee_vpa: str
    payee_name: str
    reference: str
    amount_minor: int | None = None
    minimum_minor: int | None = None
    mcc: str | None = None
    note: str = ""
    tid: str | None = None
    mode: str | None = None
    purpose: str | None = None
    orgid: str | None = None


def pay_link(link: PayLink) -> str:
    """The link; raises rails.link for a bad field and money.amount for a bad amount.

    Values are percent-encoded byte by byte with a space as %20: apps read a `+` as a plus.
    """
    _judge(link, needed={"payee_vpa", "payee_name", "reference"})
    values = {name: getattr(link, field) for field, (name, _, _) in _TEXTS.items()}
    if link.amount_minor is not None:
        values["am"] = two_decimals(link.amount_minor)
    if link.minimum_minor is not None:
        values["mam"] = two_decimals(link.minimum_minor)
    values["cu"] = "INR"
    return _PREFIX + "&".join(f"{name}={_encoded(text)}" for name, text in values.items() if text)


def read_link(text: str) -> PayLink:
    """What a link of at most 4096 characters asks for; raises as `pay_link` does.

    An empty parameter counts as absent, as apps print them; one that is unknown is ignored.
    """
    values = _values(text)
    _require(values.get("cu", "INR") == "INR", "currency", "INR (cu)")
    link = PayLink(
        payee_vpa=values.get("pa", ""),
        payee_name=values.get("pn", ""),
        reference=values.get("tr", ""),
        amount_minor=_minor(values, "am"),
        minimum_minor=_minor(values, "mam"),
        mcc=values.get("mc"),
        note=values.get("tn", ""),
        tid=values.get("tid"),
        mode=values.get("mode"),
        purpose=values.get("purpose"),
        orgid=values.get("orgid"),
    )
    # A link that stands for ever in a shop needs no reference; one that we write always has one.
    _judge(link, needed={"payee_vpa", "payee_name"})
    return link


def two_decimals(hundredths: int) -> str:
    """1505 as "15.05": paise as rupees, basis points as percent. Not for negative numbers."""
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def hundredths(decimal: str) -> int:
    """The inverse, of "15.05", "15.5" or "15" and exact; `decimal` must fit `DECIMAL`."""
    whole, _, rest = decimal.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0"))


def _judge(link: PayLink, *, needed: set[str]) -> None:
    for field, (name, shape, words) in _TEXTS.items():
        text = getattr(link, field)
        if text or field in needed:
            _require(shape.fullmatch(text) is not None, field, f"{words} ({name})")
    if link.amount_minor is not None:
        positive_minor(link.amount_minor)
    if link.minimum_minor is not None:
        positive_minor(link.minimum_minor, field="minimum")
        above = link.amount_minor is not None and link.minimum_minor > link.amount_minor
        _require(not above, "minimum", "at most the amount (mam)")


def _values(text: str) -> dict[str, str]:
    """The parameters that are not empty, decoded. Each name stands once, or two apps may differ."""
    _require(len(text) <= MAX_LINK, "link", f"at most {MAX_LINK} characters")
    _require(text[: len(_PREFIX)].lower() == _PREFIX, "link", "one that begins with upi://pay?")
    _require("#" not in text, "link", "without a bare #, which is written %23")
    _require(_BAD_ESCAPE.search(text) is None, "link", "one whose % stand before two hex digits")
    values: dict[str, str] = {}
    for pair in text[len(_PREFIX) :].split("&"):
        name, equals, value = (_decoded(part) for part in pair.partition("="))
        _require(bool(name and equals), "link", "made of name=value with & between them")
        _require(name not in values, "link", "one where each parameter stands once")
        values[name] = value
    if values.get("mam") == "null":  # the specification's own samples say so of no minimum
        del values["mam"]
    return {name: value for name, value in values.items() if value}


def _minor(values: dict[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    field = "amount" if name == "am" else "minimum"
    good = DECIMAL.fullmatch(text) is not None
    _require(good, field, f'rupees such as "15.05", at most two decimals ({name})')
    return hundredths(text)


def _decoded(part: str) -> str:
    """Strict UTF-8; `unquote` leaves a `+` alone, as `_encoded` does."""
    try:
        return unquote(part.encode().decode(), errors="strict")
    except UnicodeError:
        raise invalid("rails.link", "text must be valid Unicode", field="text") from None


def _encoded(value: str) -> str:
    """`@` stands as it is, as apps print it; a lone surrogate cannot be written at all."""
    try:
        return quote(value, safe="@")
    except UnicodeEncodeError:
        raise invalid("rails.link", "text must be valid Unicode", field="text") from None


def _require(ok: bool, field: str, shape: str) -> None:
    if not ok:
        raise invalid("rails.link", f"{field} must be {shape}", field=field)
