"""Reads what callers send: a well-formed request, or a refusal with a name, never a crash."""

import json
import re
from dataclasses import fields, replace
from typing import Any, Final

from server_core.money import MAX_MINOR
from server_core.sandbox.model import FOR_EVER, Behaviour, Order, Refusal

_TXN_ID: Final = re.compile(r"[A-Za-z0-9]{35}")
_VPA: Final = re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}")
_MCC: Final = re.compile(r"[0-9]{4}")
_CODE: Final = re.compile(r"[A-Z0-9]{2,4}")
_REQUIRED: Final = frozenset({"txn_id", "amount_minor", "currency", "payer_vpa", "payee_vpa"})
_OPTIONAL: Final = frozenset({"payee_name", "mcc", "note"})
MAX_NAME: Final = 99
MAX_NOTE: Final = 50
MAX_BODY: Final = 16_384


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 whose names stand once; raises upi.body."""
    try:
        said = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _bad("upi.body", "the body must be one JSON object in UTF-8, names once") from None
    if not isinstance(said, dict):
        raise _bad("upi.body", "the body must be a JSON object")
    return said


def parse_txn_id(value: object) -> str:
    if not isinstance(value, str) or not _TXN_ID.fullmatch(value):
        raise _bad("upi.txn_id", "txn_id must be 35 letters and digits")
    return value


def parse_order(said: dict[str, Any]) -> Order:
    """The order of a pay request, whose `txn_id` has been read already."""
    txn_id = parse_txn_id(said.get("txn_id"))

    def require(ok: bool, code: str, message: str) -> None:
        if not ok:
            raise _bad(code, message, txn_id)

    for name in sorted(_REQUIRED - said.keys()):
        require(False, "upi.field", f"{name} is missing")
    require(said.keys() <= _REQUIRED | _OPTIONAL, "upi.field", "a field is not known")
    amount = said["amount_minor"]
    require(
        type(amount) is int and 1 <= amount <= MAX_MINOR,
        "upi.amount",
        f"amount_minor must be a whole number of paise from 1 to {MAX_MINOR}",
    )
    require(said["currency"] == "INR", "upi.currency", "currency must be INR")
    for name in ("payer_vpa", "payee_vpa"):
        vpa = said[name]
        require(
            isinstance(vpa, str) and _VPA.fullmatch(vpa) is not None,
            "upi.vpa",
            f"{name} must be an address such as name@bank",
        )
    name, note, mcc = said.get("payee_name", ""), said.get("note", ""), said.get("mcc", "0000")
    require(_is_text(name, MAX_NAME), "upi.payee_name", f"at most {MAX_NAME} characters")
    require(_is_text(note, MAX_NOTE), "upi.note", f"at most {MAX_NOTE} characters")
    require(
        isinstance(mcc, str) and _MCC.fullmatch(mcc) is not None, "upi.mcc", "mcc must be 4 digits"
    )
    return Order(
        txn_id=txn_id,
        amount_minor=amount,
        currency="INR",
        payer_vpa=said["payer_vpa"],
        payee_vpa=said["payee_vpa"],
        payee_name=name,
        mcc=mcc,
        note=note,
    )


def parse_reversal(said: dict[str, Any]) -> str:
    txn_id = parse_txn_id(said.get("txn_id"))
    if said.keys() != {"txn_id"}:
        raise _bad("upi.field", "only txn_id is expected", txn_id)
    return txn_id


def parse_behaviour(said: dict[str, Any], now: Behaviour) -> Behaviour:
    """`now` with what was sent in its place; raises upi.behaviour and changes nothing."""
    if not said.keys() <= {field.name for field in fields(Behaviour)}:
        raise _bad("upi.behaviour", "a field is not known")
    for name, most in (("latency_median_ms", 60_000), ("hold_ms", 600_000), ("seed", FOR_EVER)):
        value = said.get(name, 0)
        if type(value) is not int or not 0 <= value <= most:
            raise _bad("upi.behaviour", f"{name} must be a whole number from 0 to {most}")
    for name in ("decline_rate", "unknown_rate"):
        value = said.get(name, 0)
        if type(value) not in {int, float} or not 0 <= value <= 1:
            raise _bad("upi.behaviour", f"{name} must be a part of 1")
    if type(said.get("outage", False)) is not bool:
        raise _bad("upi.behaviour", "outage must be true or false")
    then = replace(now, **said)
    if then.decline_rate + then.unknown_rate > 1:
        raise _bad("upi.behaviour", "the rates together must not exceed 1")
    return then


def parse_steering(said: dict[str, Any]) -> tuple[str, int]:
    """What a known transaction's status shall say, and after how many asks."""
    code, asks = said.get("code"), said.get("asks", 0)
    if (
        not said.keys() <= {"code", "asks"}
        or not isinstance(code, str)
        or not _CODE.fullmatch(code)
        or type(asks) is not int
        or not 0 <= asks <= FOR_EVER
    ):
        raise _bad("upi.steering", 'expected {"code": "00", "asks": 0}')
    return code, asks


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and not _LONE.search(value)


_LONE: Final = re.compile(r"[\ud800-\udfff\x00-\x1f]")


def _bad(code: str, message: str, txn_id: str | None = None) -> Refusal:
    return Refusal(400, code, message, txn_id)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
