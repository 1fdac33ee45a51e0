"""Reads a `upi://pay` link as a payer's app does, after the NPCI UPI linking specification, 1.6."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from server_core.money import MAX_MINOR
from server_core.sandbox.model import Refusal

VPA: Final = re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}")
REFERENCE: Final = re.compile(r"[A-Za-z0-9]{4,35}")
_AMOUNT: Final = re.compile(r"([0-9]{1,14})(?:\.([0-9]{1,2}))?")
_MCC: Final = re.compile(r"[0-9]{4}")
_START: Final = "upi://pay?"
MAX_LINK: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """`amount_minor` None lets the payer type it; `reference` is the payee's own (`tr`) or empty."""

    payee_vpa: str
    payee_name: str
    reference: str
    amount_minor: int | None
    mcc: str
    note: str


def parse_link(value: object) -> Link:
    """Raises upi.link. Members that an app need not know are passed over, as apps do."""

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise Refusal(400, "upi.link", message)

    require(isinstance(value, str) and len(value) <= MAX_LINK, f"at most {MAX_LINK} characters")
    text = str(value)
    require(text.startswith(_START), f"a link starts with {_START}")
    try:  # a `+` stands for itself: links write a space as %20
        pairs = parse_qsl(
            text[len(_START) :].replace("+", "%2B"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
        )
    except ValueError:
        raise Refusal(400, "upi.link", "the link cannot be read") from None
    found = dict(pairs)
    require(len(found) == len(pairs), "a member stands twice")
    require(VPA.fullmatch(found.get("pa", "")) is not None, "pa must be an address")
    require(found.get("cu", "INR") == "INR", "cu must be INR")
    reference = found.get("tr", "")
    require(not reference or REFERENCE.fullmatch(reference) is not None, "tr: 4 to 35 characters")
    mcc = found.get("mc", "0000")
    require(_MCC.fullmatch(mcc) is not None, "mc must be 4 digits")
    return Link(
        payee_vpa=found["pa"],
        payee_name=found.get("pn", "")[:99],
        reference=reference,
        amount_minor=_minor(found.get("am", "")),
        mcc=mcc,
        note=found.get("tn", "")[:50],
    )


def _minor(text: str) -> int | None:
    if not text:
        return None
    read = _AMOUNT.fullmatch(text)
    minor = int(read[1]) * 100 + int((read[2] or "").ljust(2, "0")) if read else 0
    if not 1 <= minor <= MAX_MINOR:
        raise Refusal(400, "upi.link", "am must be an amount of rupees such as 15.05")
    return minor
