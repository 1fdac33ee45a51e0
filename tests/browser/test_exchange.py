"""A browser's device and Python's terminal: what one signs, the other takes."""

from typing import Any

import pytest

from bff.cli.chromium import BrowserError, Page
from offline import codec, signing
from offline.model import Algorithm
from offline.verdicts import Verdict
from offline.verify import decode, judge, link_of
from offline.wire import SignedAllowance, SignedVoucher
from tests.offline import kit

MODULE = "(await import('/tests/exchange.js'))"
ALGORITHMS = pytest.mark.parametrize("alg", list(Algorithm), ids=lambda alg: alg.name)


def asked(key: bytes, alg: Algorithm, **changes: Any) -> dict[str, Any]:
    """An allowance for the browser's key, a request of the terminal, and whom to trust."""
    a_raw = codec.allowance_bytes(kit.allowance(device_key=key, flags=int(alg), **changes))
    sig = kit.ISSUER.sign(signing.allowance_message(kit.KID, a_raw))
    return {
        "allowance": SignedAllowance.of(kit.KID, a_raw, sig).to_bytes().hex(),
        "bundle": codec.bundle_bytes(kit.bundle()).hex(),
        "request": kit.signed_request().to_text(),
        "nowS": kit.NOW,
    }


@ALGORITHMS
def test_a_voucher_made_in_a_browser_is_taken_and_its_receipt_and_void_are_understood(
    blank: Page, alg: Algorithm
) -> None:
    key = bytes.fromhex(blank.run(f"{MODULE}.newDevice(given[0])", int(alg)))
    assert signing.check_public_key(key)
    question = asked(key, alg)
    first = blank.run(f"{MODULE}.answer(given[0])", question)
    assert (first["verdict"], first["stale"]) == ("OV_ACCEPTED", False)
    signed = decode(first["text"])
    assert isinstance(signed, SignedVoucher)
    assert judge(signed, kit.facts()).verdict is Verdict.ACCEPTED

    last = {"counter": 1, "cum": 12_345, "h": signed.h.hex()}
    second = decode(blank.run(f"{MODULE}.answer(given[0])", question | {"last": last})["text"])
    assert isinstance(second, SignedVoucher)
    assert (second.voucher.counter, second.voucher.cum) == (2, 24_690)
    assert judge(second, kit.facts(stored=[link_of(signed)])).verdict is Verdict.ACCEPTED

    proofs = {
        "bundle": question["bundle"],
        "voucher": first["text"],
        "receipt": kit.signed_receipt(kit.receipt(signed)).to_text(),
        "void": kit.signed_void(kit.void(signed)).to_text(),
    }
    assert blank.run(f"{MODULE}.proofs(given[0])", proofs) == ["OV_ACCEPTED"] * 2
    stranger = kit.receipt(signed, h=second.h), kit.void(signed, h=second.h)
    forged = proofs | {
        "receipt": kit.signed_receipt(stranger[0]).to_text(),
        "void": kit.signed_void(stranger[1]).to_text(),
    }
    assert blank.run(f"{MODULE}.proofs(given[0])", forged) == ["OV_OTHER_SUBJECT"] * 2
    other = proofs | {"voucher": second.to_text()}
    assert blank.run(f"{MODULE}.proofs(given[0])", other) == ["OV_OTHER_SUBJECT"] * 2


@pytest.mark.parametrize(
    ("request_text", "changes", "expected"),
    [
        (kit.signed_request().to_text(), {"spend_until": kit.NOW - 1}, "OV_ALLOWANCE_EXPIRED"),
        (kit.signed_request().to_text(), {"not_before": kit.NOW + 1}, "OV_NOT_YET_VALID"),
        (kit.signed_request().to_text(), {"cap_each": 12_344}, "OV_OVER_VOUCHER_LIMIT"),
        (kit.signed_request().to_text(), {"ccy": "USD"}, "OV_CURRENCY_MISMATCH"),
        (kit.signed_request(issuer=kit.TERM).to_text(), {}, "OV_CERTIFICATE_SIGNATURE"),
        (kit.signed_request(cert=kit.certificate(not_after=kit.NOW - 1)).to_text(), {},
         "OV_CERTIFICATE_EXPIRED"),
        (kit.signed_request(cert=kit.certificate(kit.P256_TERM)).to_text(), {},
         "OV_REQUEST_SIGNATURE"),
        (kit.signed_voucher().to_text(), {}, "OV_MALFORMED"),
    ],
)  # fmt: skip
def test_a_request_is_refused_for_the_reason_that_python_gives(
    blank: Page, request_text: str, changes: dict[str, Any], expected: str
) -> None:
    key = bytes.fromhex(blank.run(f"{MODULE}.newDevice(0)"))
    question = asked(key, Algorithm.ED25519, **changes) | {"request": request_text}
    assert blank.run(f"{MODULE}.answer(given[0])", question)["verdict"] == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"counter": 20, "cum": 100}, "OV_COUNTER_RANGE"),
        ({"counter": 3, "cum": 200_000 - 12_344}, "OV_OVER_ALLOWANCE_CAP"),
        ({"counter": 3, "cum": 200_000 - 12_345}, "OV_ACCEPTED"),
    ],
)
def test_what_was_spent_before_bounds_what_may_be_spent(
    blank: Page, last: dict[str, Any], expected: str
) -> None:
    key = bytes.fromhex(blank.run(f"{MODULE}.newDevice(0)"))
    question = asked(key, Algorithm.ED25519) | {"last": last | {"h": "00" * 32}}
    assert blank.run(f"{MODULE}.answer(given[0])", question)["verdict"] == expected


def test_a_request_under_an_issuer_s_key_of_another_time_is_refused(blank: Page) -> None:
    key = bytes.fromhex(blank.run(f"{MODULE}.newDevice(0)"))
    question = asked(key, Algorithm.ED25519) | {"nowS": kit.NOW + 31 * kit.DAY}
    assert blank.run(f"{MODULE}.answer(given[0])", question)["verdict"] == "OV_ISSUER_KEY_EXPIRED"


def test_a_stale_request_is_a_warning(blank: Page) -> None:
    key = bytes.fromhex(blank.run(f"{MODULE}.newDevice(0)"))
    question = asked(key, Algorithm.ED25519) | {"nowS": kit.NOW + 181}
    answer = blank.run(f"{MODULE}.answer(given[0])", question)
    assert (answer["verdict"], answer["stale"]) == ("OV_ACCEPTED", True)


@ALGORITHMS
def test_a_key_cannot_be_exported_and_outlives_its_page(blank: Page, alg: Algorithm) -> None:
    key = blank.run(f"{MODULE}.newDevice(given[0])", int(alg))
    assert blank.run(f"{MODULE}.refusals()") == ["InvalidAccessError"] * 3
    blank.run(f"{MODULE}.keepKey()")
    blank.call("Page.reload")
    blank.go(blank.run("location.href"))
    with pytest.raises(BrowserError):
        blank.run(f"{MODULE}.refusals()")  # a new page has no key but the stored one
    assert blank.run(f"{MODULE}.signWithKept(given[0])", key) == [True, False]
