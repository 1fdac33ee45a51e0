"""The protocol as a document: its grammar takes every good vector, and its words are the code's."""

import json
import re
from typing import Any

import cbor2
import pycddl
import pytest

from offline import codec, journal, signing
from offline.verdicts import Verdict
from offline.wire import SignedReceipt, SignedRequest, SignedVoid, SignedVoucher
from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs" / "protocol" / "ov1.md").read_text()
GRAMMAR = "\n".join(re.findall(r"```cddl\n(.*?)```", PAGE, re.DOTALL))
RULES = re.findall(r"^([a-z0-9-]+) = ", GRAMMAR, re.MULTILINE)
WIRES = {
    "voucher": "voucher-wire", "request": "certified-wire", "receipt": "certified-wire",
    "void": "certified-wire", "bundle": "bundle-wire", "revocations": "revocations-wire",
    "beacon": "beacon-wire", "sync_request": "sync-request", "sync_answer": "answer-wire",
}  # fmt: skip
ROWS = {1: "accept-row", 2: "close-row", 3: "void-row", 4: "apply-row", 5: "epoch-row"}
SIGNED = {
    "A": "allowance", "V": "voucher", "C": "certificate", "R": "request", "P": "receipt", "X": "void",
    "S": "sync-request", "Y": "sync-answer", "B": "beacon", "L": "revocations", "T": "bundle",
    "Z": "surrender", "E": "enrolment",
}  # fmt: skip


def vectors(name: str) -> Any:
    return json.loads((ROOT / "offline" / "vectors" / f"{name}.json").read_text())


def rule(name: str) -> pycddl.Schema:
    return pycddl.Schema(f"root = {name}\n{GRAMMAR}")


def good() -> list[Any]:
    """Every good structure of the vectors with its rule: bodies, wires, what is in them, rows, messages."""
    found = [(one["body"], bytes.fromhex(one["hex"])) for one in vectors("bodies_valid")]
    for one in vectors("wires"):
        data = bytes.fromhex(one["hex"])
        found.append((WIRES[one["form"]], data))
        if one["form"] == "sync_request":
            found.append(("sync-body", cbor2.loads(data)[3]))
        if one["form"] == "sync_answer":
            found.append(("sync-answer", cbor2.loads(data)[2]))
        found += [
            (
                f"signed-{one['form'] if key == 'message_v' else 'allowance'}",
                bytes.fromhex(one[key]),
            )
            for key in ("message_a", "message_v")
            if one.get(key)
        ]
    found += [
        (ROWS[cbor2.loads(bytes.fromhex(one["row"]))[1]], bytes.fromhex(one["row"]))
        for one in vectors("chain")
    ]
    found += [
        (f"signed-{SIGNED[one['kind']]}", bytes.fromhex(one["message"]))
        for one in vectors("messages")
        if one["kind"] in SIGNED
    ]
    return [pytest.param(*one, id=f"{number}-{one[0]}") for number, one in enumerate(found)]


@pytest.mark.parametrize(("name", "data"), good())
def test_the_grammar_takes_what_is_good_and_nothing_shaped_otherwise(
    name: str, data: bytes
) -> None:
    schema = rule(name)
    schema.validate_cbor(data)
    items = cbor2.loads(data)
    for wrong in (
        [*items, 1],
        items[:-1],
        *([*items[:place], None, *items[place + 1 :]] for place in range(len(items))),
    ):
        with pytest.raises(pycddl.ValidationError):
            schema.validate_cbor(cbor2.dumps(wrong))


def test_every_rule_of_the_grammar_can_be_read() -> None:
    assert len(RULES) == len(set(RULES))
    for name in RULES:
        rule(name)


def test_every_verdict_prefix_and_kind_of_the_code_stands_in_the_document() -> None:
    missing = [str(one) for one in Verdict if f"`{one}`" not in PAGE]
    assert missing == ["OV_SIGNATURE"]
    for one in (SignedVoucher, SignedRequest, SignedReceipt, SignedVoid):
        assert f"`{one.PREFIX}`" in PAGE
    kinds = set(
        re.findall(r'encode\(\[OV1, "([A-Z])"', (ROOT / "offline" / "signing.py").read_text())
    )
    assert kinds == set(SIGNED)
    for kind, name in SIGNED.items():
        assert f'signed-{name} = ["OV1", "{kind}"' in PAGE
    for reason in journal.CloseReason:
        assert f'"{reason}"' in GRAMMAR
    assert f"0*{codec.MAX_REVOKED} aid" in GRAMMAR
    assert signing.OV1 == "OV1"


def test_the_verdicts_of_a_scan_stand_in_their_order() -> None:
    """By the vectors of judgements, each of which fails one step: its verdict is named at that step."""
    section = PAGE[PAGE.index("### 4.2") : PAGE.index("### 4.3")]
    order = re.findall(r"`(OV_[A-Z_]+)`", section)
    steps = [
        "OV_VOIDED", "OV_ALREADY_ACCEPTED", "OV_ISSUER_KEY_UNKNOWN", "OV_ISSUER_KEY_EXPIRED",
        "OV_PAYEE_MISMATCH", "OV_CHALLENGE_UNKNOWN", "OV_AMOUNT_MISMATCH", "OV_CURRENCY_MISMATCH",
        "OV_NOT_YET_VALID", "OV_ALLOWANCE_EXPIRED", "OV_POLICY_EXCEEDED", "OV_OVER_VOUCHER_LIMIT",
        "OV_COUNTER_RANGE", "OV_OVER_ALLOWANCE_CAP", "OV_REVOKED", "OV_ALLOWANCE_SIGNATURE",
        "OV_VOUCHER_SIGNATURE", "OV_DOUBLE_SPEND_LOCAL", "OV_ALLOWANCE_EXPOSURE", "OV_ACCEPTED",
    ]  # fmt: skip
    assert [order.index(one) for one in steps] == sorted(order.index(one) for one in steps)
    judged = {one["verdict"] for one in vectors("judgements")}
    assert judged <= set(order)
