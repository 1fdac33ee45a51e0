"""A payer's device in a browser: one counter one payload, in two tabs, without locks, and after a crash."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bff.cli.chromium import Browser, Page, chromium
from offline import codec, signing
from offline.model import Algorithm
from offline.verify import Link, consistent_pair, decode, judge, link_of
from offline.wire import SignedAllowance, SignedVoucher
from tests.offline import kit

MODULE = "(await import('/tests/payer.js'))"
PAY = f"{MODULE}.pay(given[0], {kit.NOW})"


def granted(page: Page, name: str, alg: Algorithm = Algorithm.ED25519, **changes: Any) -> None:
    """A device of that name with an allowance of 100 rupees, 20 payments."""
    page.run(f"{MODULE}.open(given[0])", name)
    key = bytes.fromhex(page.run(f"{MODULE}.makeKey(given[0])", int(alg)))
    a_raw = codec.allowance_bytes(kit.allowance(device_key=key, flags=int(alg), **changes))
    signed = SignedAllowance.of(
        kit.KID, a_raw, kit.ISSUER.sign(signing.allowance_message(kit.KID, a_raw))
    )
    bundle = codec.bundle_bytes(kit.bundle())
    wire = kit.signed_bundle(codec.read_bundle(bundle)).to_bytes()
    page.run(f"{MODULE}.grant(given[0], given[1], {kit.NOW})", signed.to_bytes().hex(), wire.hex())


def request(number: int, **changes: Any) -> str:
    """A request that differs from the others by its nonce."""
    given = {"nonce": number.to_bytes(8), "amount": 100} | changes
    return kit.signed_request(kit.request(**given)).to_text()


def voucher(answer: dict[str, Any]) -> SignedVoucher:
    assert answer["ok"], answer
    signed = decode(answer["text"])
    assert isinstance(signed, SignedVoucher)
    return signed


def links(texts: list[dict[str, Any]]) -> list[Link]:
    return sorted((link_of(voucher(one)) for one in texts), key=lambda link: link.counter)


@pytest.fixture
def tabs(blank: Page, browser: Browser, address: str, request: pytest.FixtureRequest) -> Any:
    """Two tabs over one device."""
    other = browser.page(f"{address}/tests/blank.html")
    granted(blank, request.node.name)
    other.run(f"{MODULE}.open(given[0])", request.node.name)
    yield blank, other
    other.close()


def test_the_same_request_shows_the_same_voucher(blank: Page) -> None:
    granted(blank, "same")
    text = request(1)
    first = blank.run(PAY, text)
    assert blank.run(PAY, text) == first | {"again": True}
    assert first["again"] is False
    other = request(1, amount=101)
    assert blank.run(PAY, other)["why"] == "OV_REQUEST_REUSED"
    assert blank.run(f"{MODULE}.counters()") == [1, 100]


@pytest.mark.parametrize("alg", list(Algorithm), ids=lambda alg: alg.name)
def test_vouchers_follow_each_other_as_the_terminal_asks(blank: Page, alg: Algorithm) -> None:
    granted(blank, f"chain {alg.name}", alg)
    made = [blank.run(PAY, request(number)) for number in range(3)]
    found = links(made)
    assert [(one.counter, one.cum) for one in found] == [(1, 100), (2, 200), (3, 300)]
    assert all(consistent_pair(low, high) for low, high in combinations(found, 2))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cap_each": 99}, "OV_OVER_VOUCHER_LIMIT"),
        ({"cap_total": 150, "cap_each": 100}, "OV_OVER_ALLOWANCE_CAP"),
        ({"max_count": 1}, "OV_COUNTER_RANGE"),
    ],
)
def test_a_cap_is_held_and_spends_nothing(blank: Page, changes: dict[str, int], why: str) -> None:
    granted(blank, why, **changes)
    answers = [blank.run(PAY, request(number)) for number in range(2)]
    assert [one["why"] for one in answers][-1] == why
    counter, cum = blank.run(f"{MODULE}.counters()")
    assert cum == 100 * counter <= changes.get("cap_total", 100)


def test_without_an_allowance_nothing_is_paid(blank: Page) -> None:
    granted(blank, "given back")
    blank.run(f"{MODULE}.setState('surrendering')")
    assert blank.run(PAY, request(1))["why"] == "edge.allowance_surrendered"
    blank.run(f"{MODULE}.setState('ended')")
    assert blank.run(PAY, request(1))["why"] == "edge.no_allowance"
    assert blank.run(f"{MODULE}.rows()") == []


def both(tabs: tuple[Page, Page], code: str, given: list[list[Any]]) -> list[Any]:
    """The same in both tabs at once."""
    asked = [(tab, tab.start(code, *one)) for tab, one in zip(tabs, given, strict=True)]
    return [tab.result(number) for tab, number in asked]


MANY = f"(async () => {{ const m = {MODULE}; return Promise.all(given.map((text) => m.pay(text, {kit.NOW}))); }})()"


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_two_tabs_never_use_one_counter_twice(tabs: tuple[Page, Page], locks: bool) -> None:
    """The locks spare the tabs their races; the transaction is what decides them."""
    if not locks:
        for tab in tabs:
            tab.run(f"{MODULE}.noLocks()")
    mine = [request(number) for number in range(10)]
    theirs = [request(number) for number in range(10, 20)]
    made = [one for some in both(tabs, MANY, [mine, theirs]) for one in some]
    found = links(made)
    assert [one.counter for one in found] == list(range(1, 21))
    assert all(consistent_pair(low, high) for low, high in combinations(found, 2))


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_one_request_in_two_tabs_is_paid_once(tabs: tuple[Page, Page], locks: bool) -> None:
    if not locks:
        for tab in tabs:
            tab.run(f"{MODULE}.noLocks()")
    text = request(1)
    made = [one for some in both(tabs, MANY, [[text] * 5, [text] * 5]) for one in some]
    assert len({one["text"] for one in made}) == 1
    assert [one["again"] for one in made].count(False) == 1
    assert tabs[0].run(f"{MODULE}.counters()") == [1, 100]


@pytest.mark.parametrize("step", ["reserve", "sign", "store"])
def test_after_a_crash_the_same_payload_is_signed(address: str, tmp_path: Path, step: str) -> None:
    text, blank = request(1), f"{address}/tests/blank.html"
    with chromium(tmp_path) as first:
        page = first.page(blank)
        granted(page, "crash")
        page.run(f"{MODULE}.stopAt(given[0])", step)
        page.start(PAY, text)
        assert page.run("globalThis.reached")
        before = page.run(f"{MODULE}.rows()")
        first.kill()
    reserved = [] if step == "reserve" else [before[0]["raw"]]
    assert [row["signed"] for row in before] == [False] * len(reserved)
    with chromium(tmp_path) as second:
        page = second.page(blank)
        page.run(f"{MODULE}.open('crash')")
        page.run(f"{MODULE}.recover()")
        after = page.run(f"{MODULE}.rows()")
        assert [(row["raw"], row["signed"]) for row in after] == [(raw, True) for raw in reserved]
        answer = page.run(PAY, text)
        assert answer["again"] is bool(reserved)
        assert page.run(f"{MODULE}.counters()") == [1, 100]
        nxt = page.run(PAY, request(2))
    low, high = links([answer, nxt])
    assert consistent_pair(low, high)


def test_what_a_closed_tab_left_unsigned_is_signed_by_the_next_payment(
    blank: Page, browser: Browser, address: str
) -> None:
    granted(blank, "closed")
    other = browser.page(f"{address}/tests/blank.html")
    other.run(f"{MODULE}.open('closed')")
    other.run(f"{MODULE}.stopAt('sign')")
    other.start(PAY, request(1))
    assert other.run("globalThis.reached")
    other.close()
    assert voucher(blank.run(PAY, request(2))).voucher.counter == 2
    assert [row["signed"] for row in blank.run(f"{MODULE}.rows()")] == [True, True]


def test_a_receipt_and_a_void_are_kept_for_their_own_voucher(blank: Page) -> None:
    granted(blank, "proofs")
    signed, other = (voucher(blank.run(PAY, request(number))) for number in (1, 2))
    receipt = kit.signed_receipt(kit.receipt(signed))
    assert blank.run(f"{MODULE}.keep(given[0])", receipt.to_text()) == ["OV_ACCEPTED", False]
    void = kit.signed_void(kit.void(other))
    assert blank.run(f"{MODULE}.keep(given[0])", void.to_text()) == ["OV_ACCEPTED", True]
    by_stranger = kit.signed_receipt(kit.receipt(signed), term=kit.DEVICE, cert=kit.certificate())
    assert blank.run(f"{MODULE}.keep(given[0])", by_stranger.to_text())[0] == "OV_SIGNATURE"
    unknown = kit.signed_receipt(kit.receipt(kit.signed_voucher()))
    assert blank.run(f"{MODULE}.keep(given[0])", unknown.to_text())[0] == "OV_OTHER_SUBJECT"
    proofs = {row["counter"]: row["proof"] for row in blank.run(f"{MODULE}.rows()")}
    assert proofs == {1: receipt.to_text(), 2: void.to_text()}


def test_a_terminal_takes_what_the_browser_signed(blank: Page) -> None:
    granted(blank, "taken")
    signed = voucher(blank.run(PAY, kit.signed_request().to_text()))
    assert judge(signed, kit.facts()).verdict == "OV_ACCEPTED"
