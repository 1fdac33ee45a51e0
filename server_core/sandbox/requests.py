"""Reads what callers send: a well-formed request, or a refusal with a name, never a crash."""

import ipaddress
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from urllib.parse import urlsplit

from server_core.money import MAX_MINOR
from server_core.sandbox.model import FOR_EVER, Behaviour, Refusal

ID: Final = re.compile(r"[A-Za-z0-9]{35}")
_MCC: Final = re.compile(r"[0-9]{4}")
CURRENCY: Final = re.compile(r"[A-Z]{3}")
_UNFIT: Final = re.compile(r"[\ud800-\udfff\x00-\x1f]")
MAX_NAME: Final = 99
MAX_NOTE: Final = 50
MAX_BODY: Final = 16_384


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 whose names stand once; raises upi.body."""
    try:
        said = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(
            400, "upi.body", "the body must be one JSON object in UTF-8, names once"
        ) from None
    if not isinstance(said, dict):
        raise Refusal(400, "upi.body", "the body must be a JSON object")
    return said


def parse_id(value: object, door: str, name: str) -> str:
    """35 letters and digits, as UPI wants them and the other doors too; raises `door.name`."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise Refusal(400, f"{door}.{name}", f"{name} must be 35 letters and digits")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The members of one request at one door; each reader raises `door.reason` with `about`."""

    said: dict[str, Any]
    door: str
    about: dict[str, str]

    def only(self, required: Collection[str], optional: Collection[str] = ()) -> None:
        for name in required:
            self.require(name in self.said, "field", f"{name} is missing")
        known = {*required, *optional}
        self.require(self.said.keys() <= known, "field", "a field is not known")

    def amount(self, most: int = MAX_MINOR) -> int:
        value = self.said["amount_minor"]
        self.require(
            type(value) is int and 1 <= value <= most,
            "amount",
            f"amount_minor must be a whole number of minor units from 1 to {most}",
        )
        return int(value)

    def currency(self, known: Collection[str]) -> str:
        value = self.said["currency"]
        message = f"currency must be {' or '.join(sorted(known))}"
        self.require(isinstance(value, str) and value in known, "currency", message)
        return str(value)

    def shaped(self, name: str, form: re.Pattern[str], reason: str, shape: str) -> str:
        value = self.said[name]
        fits = isinstance(value, str) and form.fullmatch(value) is not None
        self.require(fits, reason, f"{name} must be {shape}")
        return str(value)

    def text(self, name: str, longest: int) -> str:
        value = self.said.get(name, "")
        self.require(_is_text(value, longest), name, f"at most {longest} characters")
        return str(value)

    def mcc(self) -> str:
        value = self.said.get("mcc", "0000")
        fits = isinstance(value, str) and _MCC.fullmatch(value) is not None
        self.require(fits, "mcc", "mcc must be 4 digits")
        return str(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.said.get(name, default)
        self.require(type(value) is bool, name, f"{name} must be true or false")
        return bool(value)

    def require(self, ok: bool, reason: str, message: str) -> None:
        if not ok:
            raise Refusal(400, f"{self.door}.{reason}", message, self.about)


_NUMBERS: Final = (
    ("latency_median_ms", 0, 60_000),
    ("hold_ms", 0, 600_000),
    ("seed", 0, FOR_EVER),
    ("brownout_factor", 1, 1_000),
    ("action_ms", 1, 86_400_000),
    ("callback_delay_ms", 0, 600_000),
    ("callback_duplicates", 0, 5),
)
_RATES: Final = (
    "decline_rate",
    "unknown_rate",
    "brownout_rate",
    "callback_loss_rate",
    "callback_contradict_rate",
)


def parse_behaviour(said: dict[str, Any], now: Behaviour) -> Behaviour:
    """`now` with what was sent in its place; raises upi.behaviour and changes nothing."""

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise Refusal(400, "upi.behaviour", message)

    require(said.keys() <= {field.name for field in fields(Behaviour)}, "a field is not known")
    for name, least, most in _NUMBERS:
        value = said.get(name, least)
        require(
            type(value) is int and least <= value <= most,
            f"{name} must be a whole number from {least} to {most}",
        )
    for name in _RATES:
        value = said.get(name, 0)
        require(type(value) in {int, float} and 0 <= value <= 1, f"{name} must be a part of 1")
    require(type(said.get("outage", False)) is bool, "outage must be true or false")
    require(
        _is_on_this_machine(said.get("callback_url", "")),
        "callback_url must be empty or http://127.0.0.1:PORT/… or http://[::1]:PORT/…",
    )
    then = replace(now, **said)
    require(then.decline_rate + then.unknown_rate <= 1, "the rates together must not exceed 1")
    return then


def parse_steering(said: dict[str, Any], code: re.Pattern[str], door: str) -> tuple[str, int]:
    """What a known order's status shall say, and after how many asks."""
    then, asks = said.get("code"), said.get("asks", 0)
    if (
        not said.keys() <= {"code", "asks"}
        or not isinstance(then, str)
        or not code.fullmatch(then)
        or type(asks) is not int
        or not 0 <= asks <= FOR_EVER
    ):
        raise Refusal(400, f"{door}.steering", 'expected {"code": "00", "asks": 0}')
    return then, asks


def _is_on_this_machine(url: object) -> bool:
    if url == "":
        return True
    if not isinstance(url, str) or len(url) > 200 or not url.isascii() or _UNFIT.search(url):
        return False
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "http"
            and parts.username is None
            and parts.port != 0
            and ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return False


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and not _UNFIT.search(value)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
