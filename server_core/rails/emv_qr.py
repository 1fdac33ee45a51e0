"""EMVCo merchant-presented QR texts with UPI's templates (BharatQR): written and read.

API: `MerchantQr` with `Tip`, `Additional` and `Local`; `write_qr(qr) -> str`, `read_qr(text) ->
MerchantQr`, `crc(text) -> str`. Whatever is wrong is refused as rails.qr, whose sentence and fact
`tag` name the tag ("54", or "26-01" inside a template) and what to do; never a value, for a text
may carry card numbers.

A text is tag (2 digits), length (2 digits, in characters) and value, over and over; tags 26, 27,
62 and 64 hold the same again. Both ways go through one flat dict, tag to value, and one judge.

Sources: EMVCo QR Code Specification for Payment Systems, merchant-presented mode, 1.1; BharatQR
4.0.1 for tags 06-08, 26 and 27. Only INR, only India, only payees that have a VPA.
"""

import binascii
import re
from dataclasses import dataclass, fields
from typing import Final

from server_core.errors import DomainError, invalid
from server_core.money import positive_minor
from server_core.rails.upi_links import DECIMAL, MCC, REFERENCE, VPA, hundredths, two_decimals

MAX_TEXT: Final = 512
"""Characters: what EMVCo bounds the content of a code to."""
MAX_NAME: Final = 23
"""Of a name that we write, by BharatQR; EMVCo's 25 are read."""

_UPI: Final = "A000000524"
_TEMPLATES: Final = frozenset({"26", "27", "62", "64"})
_UNRESERVED: Final = frozenset(str(tag) for tag in range(80, 100))
_MANDATORY: Final = ("00", "26-00", "26-01", "52", "53", "58", "59", "60")
_CARDS: Final = {
    "02": "visa", "03": "visa", "04": "mastercard", "05": "mastercard", "06": "rupay",
    "07": "rupay", "09": "discover", "10": "discover", "11": "amex", "12": "amex",
}  # fmt: skip
_HEAD: Final = re.compile(r"([0-9]{2})([0-9]{2})")
_CRC: Final = "6304"

_CORRECT: Final = "correct it"
_NEW: Final = "do not pay, ask the payee for a new code"
_RESCAN: Final = "scan the whole code again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """A tip or fee on top of the amount: fixed in paise, or in hundredths of a percent (1..9999).

    Neither: the payer's app asks for it.
    """

    fixed_minor: int | None = None
    basis_points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Additional:
    """Template 62, subtags 01 to 08 in this order; "" is absent, "***" has the app ask for it."""

    bill: str = ""
    mobile: str = ""
    store: str = ""
    loyalty: str = ""
    reference: str = ""
    consumer: str = ""
    terminal: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Template 64: the merchant in another language (ISO 639, such as "hi"), in any script."""

    language: str
    name: str
    city: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantQr:
    """What a code says. An optional text is "" when absent, an optional amount (paise) None.

    `amount_minor` None lets the payer type it, from `minimum_minor` on. `dynamic` is a code made
    for one payment, which needs the merchant's `reference` (`tr`). `networks` are the cards that a
    code which was read takes too: their numbers are not kept, so that such a code is not written
    again. `unreserved` are tags 80 to 99 with their values as they stand.
    """

    payee_vpa: str
    payee_name: str
    city: str
    mcc: str
    dynamic: bool = False
    amount_minor: int | None = None
    minimum_minor: int | None = None
    reference: str = ""
    url: str = ""
    tip: Tip | None = None
    pin_code: str = ""
    additional: Additional = Additional()
    local: Local | None = None
    networks: tuple[str, ...] = ()
    unreserved: tuple[tuple[str, str], ...] = ()


def _text(most: int) -> str:
    """The pattern of EMVCo's format `ans`."""
    return rf"[ -~]{{1,{most}}}"


def _any(most: int) -> str:
    """The pattern of EMVCo's format `S`: any script, but no controls and no lone surrogates."""
    return rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{most}}}"


_SOME: Final = rf"(?=.{{1,13}}\Z)(?!0(?:\.0+)?\Z){DECIMAL.pattern}"
_SOME_WORDS: Final = "0.01 to 9999999999.99 in ASCII digits, at most two decimals"
_LABELS: Final = {f"62-{sub:02d}": label.name for sub, label in enumerate(fields(Additional), 1)}
_SHAPES: Final[dict[str, tuple[str, str, str]]] = {
    "00": ("version", "01", "01"),
    "01": ("dynamic", "1[12]", "11 (static) or 12 (dynamic)"),
    "26-00": ("scheme", _UPI, f"{_UPI} (UPI)"),
    "26-01": ("payee_vpa", rf"(?=.{{1,50}}\Z){VPA.pattern}", "a VPA of at most 50 characters"),
    "26-02": ("minimum", _SOME, _SOME_WORDS),
    "27-00": ("scheme", _UPI, f"{_UPI} (UPI)"),
    "27-01": ("reference", REFERENCE.pattern, "4 to 35 letters and digits"),
    "27-02": ("url", "[!-~]{1,26}", "at most 26 visible ASCII characters"),
    "52": ("mcc", MCC.pattern, "4 digits (ISO 18245)"),
    "53": ("currency", "356", "356 (INR)"),
    "54": ("amount", _SOME, _SOME_WORDS),
    "55": ("tip", "0[123]", "01 (ask), 02 (fixed) or 03 (percent)"),
    "56": ("tip_fixed", _SOME, _SOME_WORDS),
    "57": ("tip_percent", r"(?!0+(?:\.0+)?\Z)[0-9]{1,2}(?:\.[0-9]{1,2})?", "0.01 to 99.99"),
    "58": ("country", "IN", "IN"),
    "59": ("payee_name", _text(25), "at most 25 ASCII characters"),
    "60": ("city", _text(15), "at most 15 ASCII characters"),
    "61": ("pin_code", _text(10), "at most 10 ASCII characters"),
    "64-00": ("local_language", "[A-Za-z]{2}", "2 letters (ISO 639)"),
    "64-01": ("local_name", _any(25), "at most 25 characters, no controls"),
    "64-02": ("local_city", _any(15), "at most 15 characters, no controls"),
    **{tag: (label, _text(26), "at most 26 ASCII characters") for tag, label in _LABELS.items()},
    **{
        tag: ("unreserved", _any(99), "1 to 99 characters, no controls")
        for tag in sorted(_UNRESERVED)
    },
}
"""A tag: the name of its field, its shape, and the shape in words."""


def write_qr(qr: MerchantQr) -> str:
    """The text of the code, at most 512 characters; raises rails.qr, money.amount for an amount.

    ASCII but for `local` and `unreserved`; 00 stands first, the CRC last, the rest by tag.
    """
    if qr.networks:
        raise _refused("02-12", f"(cards) are read and never written: {_CORRECT}")
    if len(qr.payee_name) > MAX_NAME:
        raise _refused("59", f"must be at most {MAX_NAME} characters: {_CORRECT}")
    values = _values(qr)
    _judge(values, _CORRECT)
    tops: dict[str, str] = {}
    for path, value in values.items():
        tag, _, sub = path.partition("-")
        tops[tag] = tops.get(tag, "") + (_written(sub, value) if sub else value)
    text = "".join(_written(tag, value) for tag, value in tops.items()) + _CRC
    if len(text) > MAX_TEXT - 4:
        raise _refused("63", f"ends the text above {MAX_TEXT} characters: say less")
    return text + crc(text)


def read_qr(text: str) -> MerchantQr:
    """What a code of at most 512 characters says; raises rails.qr.

    Tags that are none of ours are passed over, as EMVCo asks; a tag that stands twice is not.
    """
    if len(text) > MAX_TEXT:
        raise _refused("63", f"does not end the text within {MAX_TEXT} characters: {_NEW}")
    if text[-8:-4] != _CRC:
        raise _refused("63", f"(CRC) must be the last, of 4 characters: {_RESCAN}")
    if crc(text[:-4]) != text[-4:]:
        raise _refused("63", f"(CRC) does not fit the text before it: {_RESCAN}")
    tops = _split(text[:-8])
    if next(iter(tops), "") != "00":
        raise _refused("00", f"must be the first: {_NEW}")
    if "63" in tops:
        raise _refused("63", f"(CRC) stands before the end too: {_NEW}")
    values: dict[str, str] = {}
    for tag, value in tops.items():
        values |= _split(value, f"{tag}-") if tag in _TEMPLATES else {tag: value}
    _judge(values, _NEW)
    return _said(values)


def crc(text: str) -> str:
    """CRC-16/CCITT-FALSE of the UTF-8 bytes as 4 capital hex digits; `text` ends with "6304"."""
    # A lone surrogate has bytes here too: where a text may not carry one, its shape refuses it.
    return f"{binascii.crc_hqx(text.encode(errors='surrogatepass'), 0xFFFF):04X}"


def _values(qr: MerchantQr) -> dict[str, str]:
    """What `qr` says, tag to text, without what is absent; 00 first and each template together."""
    tip, local = qr.tip, qr.local
    values = {
        "00": "01",
        "01": "12" if qr.dynamic else "11",
        "26-00": _UPI,
        "26-01": qr.payee_vpa,
        "26-02": _decimal(qr.minimum_minor, "minimum"),
        "27-00": _UPI if qr.reference or qr.url else "",
        "27-01": qr.reference,
        "27-02": qr.url,
        "52": qr.mcc,
        "53": "356",
        "54": _decimal(qr.amount_minor, "amount"),
    }
    if tip is not None:
        fixed, percent = tip.fixed_minor is not None, tip.basis_points is not None
        values["55"] = "02" if fixed else "03" if percent else "01"
        values["56"] = _decimal(tip.fixed_minor, "tip_fixed")
        values["57"] = _decimal(tip.basis_points, "tip_percent")
    values |= {"58": "IN", "59": qr.payee_name, "60": qr.city, "61": qr.pin_code}
    values |= {tag: getattr(qr.additional, label) for tag, label in _LABELS.items()}
    if local is not None:
        values |= {"64-00": local.language, "64-01": local.name, "64-02": local.city}
        if not local.language:
            raise _refused("64-00", f"is missing: {_CORRECT}")
    for tag, value in qr.unreserved:
        if tag not in _UNRESERVED or tag in values or not value:
            raise _refused("80-99", f"are two digits, once each, and not empty: {_CORRECT}")
        values[tag] = value
    return {tag: value for tag, value in values.items() if value}


def _judge(values: dict[str, str], remedy: str) -> None:
    """Raises rails.qr unless every mandatory tag is there, each has its shape, and they agree."""
    for tag in _MANDATORY:
        if tag not in values:
            raise _refused(tag, f"is missing: {remedy}")
    for tag, value in values.items():
        if tag in _SHAPES and re.fullmatch(_SHAPES[tag][1], value) is None:
            raise _refused(tag, f"must be {_SHAPES[tag][2]}: {remedy}")
    if values.get("01") == "12" and "27-01" not in values:
        raise _refused("27-01", f"is missing, and a dynamic code needs it: {remedy}")
    for given, needed in (("27-00", "27-01"), ("27-01", "27-00"), ("27-02", "27-01")):
        if given in values and needed not in values:
            raise _refused(needed, f"is missing beside {given}: {remedy}")
    if any(tag.startswith("64-") for tag in values) and not {"64-00", "64-01"} <= values.keys():
        raise _refused("64", f"must hold 00 and 01: {remedy}")
    for tag, kind in (("56", "02"), ("57", "03")):
        if (tag in values) != (values.get("55") == kind):
            raise _refused(tag, f"must stand with 55 = {kind} and only then: {remedy}")
    if {"26-02", "54"} <= values.keys() and hundredths(values["26-02"]) > hundredths(values["54"]):
        raise _refused("26-02", f"must be at most the amount in tag 54: {remedy}")


def _said(values: dict[str, str]) -> MerchantQr:
    """`values` that were judged, as what they say."""
    language, name = values.get("64-00", ""), values.get("64-01", "")
    local = Local(language=language, name=name, city=values.get("64-02", ""))
    tip = Tip(fixed_minor=_minor(values, "56"), basis_points=_minor(values, "57"))
    return MerchantQr(
        payee_vpa=values["26-01"],
        payee_name=values["59"],
        city=values["60"],
        mcc=values["52"],
        dynamic=values.get("01") == "12",
        amount_minor=_minor(values, "54"),
        minimum_minor=_minor(values, "26-02"),
        reference=values.get("27-01", ""),
        url=values.get("27-02", ""),
        tip=tip if "55" in values else None,
        pin_code=values.get("61", ""),
        additional=Additional(**{label: values.get(tag, "") for tag, label in _LABELS.items()}),
        local=local if "64-00" in values else None,
        networks=tuple(dict.fromkeys(_CARDS[tag] for tag in values if tag in _CARDS)),
        unreserved=tuple((tag, value) for tag, value in values.items() if tag in _UNRESERVED),
    )


def _split(text: str, within: str = "") -> dict[str, str]:
    """Tag to value, in the order of the text; `within` is the template's tag with a dash."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is None:
            raise _refused(f"{within}?", f"at {at} is not two digits and a length: {_NEW}")
        tag, start = within + head[1], head.end()
        at = start + int(head[2])
        if not start < at <= len(text):
            raise _refused(tag, f"has a length that is 0 or beyond the end: {_NEW}")
        if tag in found:
            raise _refused(tag, f"stands twice: {_NEW}")
        found[tag] = text[start:at]
    return found


def _written(tag: str, value: str) -> str:
    if len(value) > 99:
        raise _refused(tag, "holds more than 99 characters in all: say less")
    return f"{tag}{len(value):02d}{value}"


def _decimal(value: int | None, field: str) -> str:
    return "" if value is None else two_decimals(positive_minor(value, field=field))


def _minor(values: dict[str, str], tag: str) -> int | None:
    return hundredths(values[tag]) if tag in values else None


def _refused(tag: str, why: str) -> DomainError:
    field = _SHAPES[tag][0] if tag in _SHAPES else None
    named = f"tag {tag} ({field})" if field else f"tag {tag}"
    return invalid("rails.qr", f"{named} {why}", field=field, tag=tag)
