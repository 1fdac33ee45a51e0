import json
from typing import Any

import pytest

from offline import journal, sync, wire
from offline.codec import read_bundle
from offline.model import Algorithm
from offline.payer import decode_receipt, decode_request, decode_void
from offline.signing import (
    allowance_cache_key,
    allowance_message,
    check_public_key,
    surrender_message,
    verify_signature,
    voucher_message,
)
from offline.verdicts import Refused, Verdict
from offline.verify import (
    Challenge,
    ChallengeState,
    Link,
    check_for_settlement,
    consistent_pair,
    decode,
    decode_bytes,
    judge,
)
from tests.offline import hostile, kit
from tests.offline.make_vectors import FOLDER, generate


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def cases(name: str) -> list[Any]:
    every = load(name)
    return [
        pytest.param(
            case,
            id=f"{case.get('body', case.get('form', name))}-{case.get('why', number)}",
        )
        for number, case in enumerate(every)
    ]


def link(given: dict[str, Any]) -> Link:
    return Link(**{
        name: bytes.fromhex(item) if isinstance(item, str) else item for name, item in given.items()
    })  # fmt: skip


def test_the_committed_vectors_are_the_generated_ones():
    made = generate()
    assert {path.name for path in FOLDER.glob("*.json")} == set(made)
    for file, contents in made.items():
        assert (FOLDER / file).read_text() == contents, file


def test_there_are_enough_of_them():
    files = [name.removesuffix(".json") for name in generate() if name != "context.json"]
    assert sum(len(load(name)) for name in files) >= 250


@pytest.mark.parametrize("case", cases("bodies_valid"))
def test_valid_body(case: Any):
    _, read = hostile.BODIES[case["body"]]
    value = read(bytes.fromhex(case["hex"]))
    for name, expected in case["fields"].items():
        given = getattr(value, name)
        if isinstance(given, bytes):
            given = given.hex()
        if not isinstance(given, tuple):
            assert given == expected


@pytest.mark.parametrize("case", cases("bodies_invalid"))
def test_invalid_body(case: Any):
    _, read = hostile.BODIES[case["body"]]
    with pytest.raises(Refused) as refused:
        read(bytes.fromhex(case["hex"]))
    assert refused.value.verdict == case["verdict"]


@pytest.mark.parametrize("case", cases("signatures"))
def test_signature(case: Any):
    key, message, sig = (bytes.fromhex(case[name]) for name in ("key", "message", "sig"))
    assert verify_signature(Algorithm(case["alg"]), key, message, sig) is case["valid"]


@pytest.mark.parametrize("case", cases("enrolment_keys"))
def test_enrolment_key(case: Any):
    assert check_public_key(bytes.fromhex(case["key"])) is case["ok"]


@pytest.mark.parametrize("case", cases("texts"))
def test_text(case: Any):
    read = decode(case["text"])
    assert (read if isinstance(read, Verdict) else Verdict.ACCEPTED) == case["verdict"]


@pytest.mark.parametrize("case", cases("judgements"))
def test_judgement(case: Any):
    changes = dict(case["facts"])
    changes["challenge"] = Challenge(
        state=ChallengeState[changes.pop("challenge", "OPEN")],
        amount=12_345,
        ccy=changes.pop("ccy", "INR"),
    )
    changes["stored"] = [link(item) for item in changes.get("stored", ())]
    changes["bundle"] = kit.bundle(kit.entry(usages=changes.pop("usages", "ABCLY")))
    signed = decode(case["text"])
    assert isinstance(signed, wire.SignedVoucher)
    assert judge(signed, kit.facts(**changes)).verdict == case["verdict"]


@pytest.mark.parametrize("case", cases("rule9"))
def test_pair(case: Any):
    assert consistent_pair(link(case["lower"]), link(case["higher"])) is case["consistent"]


@pytest.mark.parametrize("case", [c for c in cases("wires") if c.values[0]["form"] == "voucher"])
def test_voucher_wire(case: Any):
    signed = decode(case["text"])
    assert isinstance(signed, wire.SignedVoucher)
    assert decode_bytes(bytes.fromhex(case["hex"])) == signed
    assert (signed.h.hex(), signed.to_text()) == (case["h"], case["text"])
    assert allowance_message(signed.kid, signed.allowance_raw).hex() == case["message_a"]
    assert voucher_message(signed.allowance_raw, signed.voucher_raw).hex() == case["message_v"]
    trust = read_bundle(bytes.fromhex(case["bundle"]))
    assert check_for_settlement(signed, trust) is Verdict.ACCEPTED
    assert judge(signed, kit.facts(bundle=trust)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("case", [c for c in cases("wires") if c.values[0]["form"] != "voucher"])
def test_other_wire(case: Any):
    read_text = {"request": decode_request, "receipt": decode_receipt, "void": decode_void}
    read_bytes = {
        "bundle": wire.SignedBundle, "revocations": wire.SignedRevocations,
        "beacon": wire.SignedBeacon, "sync_request": sync.SyncRequest,
        "sync_answer": sync.SignedAnswer,
    }  # fmt: skip
    form, data = case["form"], bytes.fromhex(case["hex"])
    if form in read_text:
        signed = read_text[form](case["text"])
        assert not isinstance(signed, Verdict)
        assert signed.to_text() == case["text"]
    else:
        signed = read_bytes[form].from_bytes(data)
    assert signed.to_bytes() == data
    key = signed.cert.terminal_key if form in read_text else None
    if form == "sync_request":
        key = kit.TERM.public
    if form == "bundle":
        key = kit.ROOT.public
    key = key or kit.ISSUER.public
    alg = Algorithm.P256 if len(key) == 33 else Algorithm.ED25519
    assert verify_signature(alg, key, bytes.fromhex(case["message"]), signed.sig)


def test_messages():
    by_kind = {case["kind"]: case for case in load("messages")}
    signed = kit.signed_voucher()
    surrender = surrender_message(signed.allowance_raw, 1, 12_345, signed.h)
    assert surrender.hex() == by_kind["Z"]["message"]
    cached = allowance_cache_key(signed.kid, signed.allowance_raw, signed.sig_a)
    assert cached.hex() == by_kind["allowance_cache_key"]["hash"]
    for kind, key in (("Z", kit.DEVICE.public), ("E", kit.TERM.public)):
        message, sig = (bytes.fromhex(by_kind[kind][part]) for part in ("message", "sig"))
        assert verify_signature(Algorithm.ED25519, key, message, sig)


def test_chain():
    previous = journal.GENESIS
    for case in load("chain"):
        row = bytes.fromhex(case["row"])
        previous = journal.chain(kit.TERMINAL, kit.EPOCH, case["seq"], previous, row)
        assert previous.hex() == case["chain"]
        assert journal.row_bytes(journal.read_row(row)) == row
