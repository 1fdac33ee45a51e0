"""The schedule, what an answer means, who hears what, by table."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_core.errors import DomainError
from server_core.events.model import Event
from server_core.webhooks import catalogue, rules
from server_core.webhooks.model import DELAYS_S, Failure, Heard, MessageState, Reason, Secret

HOUR = 3600 * 1000
SHOP, PAYER, OTHER = (UUID(int=number << 64 | 0x8000 << 48 | number) for number in (1, 2, 3))


def heard(status: int | None = None, failure: Failure | None = None, asked: int | None = None):
    if status is not None and failure is None and not 200 <= status < 300:
        failure = Failure.STATUS
    return Heard(started_at=0, duration_ms=1, status=status, failure=failure, retry_after_s=asked)


def settle(what: Heard, tries: int = 0, failing_since: int | None = None, now_ms: int = 0):
    return rules.settle(what, tries=tries, now_ms=now_ms, failing_since=failing_since, chance=0.5)


def test_the_schedule_is_the_specification_s() -> None:
    hours = [second / 3600 for second in DELAYS_S]
    assert DELAYS_S[:4] == (0, 5, 300, 1800)
    assert hours[4:] == [2, 5, 10, 14, 20, 24]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_yes(status: int) -> None:
    assert settle(heard(status)).state is MessageState.DELIVERED


@pytest.mark.parametrize(
    "status", [300, 301, 302, 307, 400, 401, 404, 409, 429, 500, 502, 503, 504]
)
def test_anything_else_is_tried_again(status: int) -> None:
    made = settle(heard(status))
    assert (made.state, made.tries, made.due_at) == (MessageState.PENDING, 1, 5_000)
    assert made.disable is None
    assert bool(made.rest_until) is (status in {429, 502, 504})


@pytest.mark.parametrize("failure", list(Failure))
def test_no_answer_is_tried_again(failure: Failure) -> None:
    assert settle(heard(None, failure)).state is MessageState.PENDING


def test_a_2xx_that_was_not_read_to_its_end_in_time_is_no_yes() -> None:
    assert settle(heard(200, Failure.TIMEOUT)).state is MessageState.PENDING


def test_410_ends_it() -> None:
    made = settle(heard(410))
    assert (made.state, made.disable) == (MessageState.MISSED, Reason.GONE)


def test_the_tenth_failure_is_the_last() -> None:
    assert settle(heard(500), tries=8).state is MessageState.PENDING
    assert settle(heard(500), tries=9).state is MessageState.DEAD


@pytest.mark.parametrize(
    ("since", "given_up"), [(None, False), (1, False), (0, True), (-HOUR, True)]
)
def test_an_endpoint_is_given_up_by_time(since: int | None, given_up: bool) -> None:
    made = settle(heard(500), tries=4, failing_since=since, now_ms=120 * HOUR)
    assert made.disable == (Reason.FAILING if given_up else None)
    hiccup = settle(heard(500), tries=3, failing_since=since, now_ms=120 * HOUR)
    assert hiccup.disable is None
    assert settle(heard(200), failing_since=since, now_ms=120 * HOUR).disable is None


@given(st.integers(0, 9), st.floats(0, 1))
def test_the_jitter_is_a_fifth(number: int, chance: float) -> None:
    wait = rules.delay_ms(number, chance)
    assert 800 * DELAYS_S[number] - 1 <= wait <= 1200 * DELAYS_S[number]


@given(st.integers(1, 9), st.integers(0, 10**9))
def test_retry_after_is_clamped(number: int, asked: int) -> None:
    base = DELAYS_S[number]
    wait = rules.delay_ms(number, 0.0, asked)
    assert 1000 * base <= wait <= 2000 * base
    assert base > asked or asked > 2 * base or wait == 1000 * asked


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120), ("0", 0), (" 7 ", 7), ("Thu, 01 Jan 1970 00:01:00 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("-5", None), ("1.5", None), ("soon", None),
        ("", None), ("9" * 70, None), ("\u0661", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read(text: str, seconds: int | None) -> None:
    assert rules.retry_after(text, 0) == seconds


def test_ten_old_secrets_sign_and_no_more() -> None:
    def one(number: int, expires_at: int | None) -> Secret:
        return Secret(endpoint=SHOP, number=number, sealed=b"", created_at=0, expires_at=expires_at)

    held = [one(number, 10) for number in range(1, 13)] + [one(13, None)]
    assert [s.number for s in rules.signing(held, 9)] == list(range(13, 2, -1))
    assert [s.number for s in rules.signing(held, 10)] == [13]


# Who hears what.


def event(name: str, payload: dict[str, Any], version: int = 1) -> Event:
    return Event(
        seq=1, id=OTHER, aggregate_type=name.partition(".")[0], aggregate_id=OTHER, sequence=1,
        type=name, version=version, payload=payload, recorded_at=0, correlation=None, causation=None,
    )  # fmt: skip


PAYMENT = {
    "state": "succeeded", "purpose": "payment", "amount": "1", "currency": "INR",
    "payee": str(SHOP), "payer": str(PAYER), "attempt": "1", "method": "upi", "outcome": "declined",
    "code": "Z9", "something_new": "x",
}  # fmt: skip
SALE = {"state", "purpose", "amount", "currency", "payee", "payer"}


def test_each_side_sees_its_own() -> None:
    one = event("payment.attempt_failed", PAYMENT)
    assert catalogue.hearers(one) == {SHOP, PAYER}
    assert set(catalogue.shown(one, SHOP) or ()) == SALE
    assert set(catalogue.shown(one, PAYER) or ()) == SALE | {"attempt", "method", "outcome", "code"}
    assert catalogue.shown(one, OTHER) is None


def test_a_shop_does_not_see_what_its_payer_has_set_aside() -> None:
    payload = {"aid": "aa", "payer": str(PAYER), "merchant": str(SHOP), "amount": "1", "hold": "9",
               "settled": "8", "counter": 1, "currency": "INR", "terminal": "bb"}  # fmt: skip
    one = event("voucher.settled", payload)
    assert set(catalogue.shown(one, SHOP) or ()) == {
        "aid", "merchant", "amount", "counter", "currency", "terminal",
    }  # fmt: skip
    assert "hold" in (catalogue.shown(one, PAYER) or ())


@pytest.mark.parametrize(
    ("name", "payload", "version"),
    [
        ("payment.unheard_of", PAYMENT, 1),
        ("payment.succeeded", PAYMENT, 2),
        ("party.added", {"kind": "person", "party": str(SHOP)}, 1),
        ("payment.succeeded", {"payee": None, "payer": 7}, 1),
        ("payment.succeeded", {"payee": "not an id", "owner": str(SHOP)}, 1),
        ("allowance.issued", {"merchant": str(SHOP)}, 1),
    ],
)
def test_what_is_not_listed_is_nobody_s(name: str, payload: dict[str, Any], version: int) -> None:
    one = event(name, payload, version)
    assert catalogue.hearers(one) == set()
    assert catalogue.shown(one, SHOP) is None


@pytest.mark.parametrize(
    ("filters", "name", "wanted"),
    [
        (["payment.succeeded"], "payment.succeeded", True),
        (["payment.succeeded"], "payment.created", False),
        (["payment.*"], "payment.created", True),
        (["payment.*"], "voucher.settled", False),
        (["payment.*@1"], "payment.created", True),
        (["payment.*@2"], "payment.created", False),
        (["message.*"], "message.attempt.exhausted", True),
        (["*"], "voucher.settled", True),
        (["voucher.*", "payment.created@1"], "payment.created", True),
    ],
)
def test_filters(filters: list[str], name: str, wanted: bool) -> None:
    assert catalogue.wanted(filters, name, 1) is wanted


@pytest.mark.parametrize(
    "bad",
    ["payment.paid", "payments.*", "payment", "payment.", "*.succeeded", "payment.succeeded@2",
     "payment.succeeded@", "payment.succeeded@01", "payment.succeeded@x", "PAYMENT.succeeded", "",
     ".*", 7, None, "payment.succeeded@\u0661", "payment.suc*"],
)  # fmt: skip
def test_an_unknown_filter_is_refused_by_name(bad: object) -> None:
    with pytest.raises(DomainError) as refused:
        catalogue.check_filters(["payment.*", bad])
    assert refused.value.code == "webhooks.event_type"
    assert "payment.succeeded" in refused.value.facts["known"]
    assert "payment.succeeded" in refused.value.message


def test_filters_are_kept_once_and_bounded() -> None:
    assert catalogue.check_filters(["payment.*", "*", "payment.*"]) == ("payment.*", "*")
    for many in ([], ["*"] * 51):
        with pytest.raises(DomainError) as refused:
            catalogue.check_filters(many)
        assert refused.value.code == "webhooks.filters"


def test_every_type_fits_the_specification() -> None:
    for name in catalogue.KINDS:
        assert all(part.isidentifier() for part in name.split("."))
