"""Money, ids: laws by property, doors by table."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from server_core.errors import DomainError
from server_core.ids import Ids, cell_of, derived, parse, public
from server_core.money import (
    MAX_MINOR,
    Money,
    allocate,
    known_currency,
    parse_minor,
    positive_minor,
)


@given(
    st.integers(0, MAX_MINOR), st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any)
)
def test_an_allocation_sums_to_the_whole_and_is_fair(minor: int, weights: list[int]) -> None:
    parts = allocate(minor, weights)
    assert sum(parts) == minor
    for part, weight in zip(parts, weights, strict=True):
        exact = minor * weight // sum(weights)
        assert exact <= part <= exact + (weight > 0)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, 2**53, 2**53 + 1, 2**63, 1e3])
def test_what_is_not_an_amount(value: object) -> None:
    with pytest.raises(DomainError, match=r"money\.amount"):
        positive_minor(value)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "1.0", " 1", "1 ", "1e3", "01", "१", "9" * 17, 1, True, None]
)
def test_what_is_not_an_amounts_text(text: object) -> None:
    with pytest.raises(DomainError, match=r"money\.amount"):
        parse_minor(text)


@given(st.integers(1, MAX_MINOR))
def test_an_amounts_text_is_read_back(minor: int) -> None:
    assert parse_minor(str(minor)) == positive_minor(minor) == minor


@pytest.mark.parametrize("code", ["", "inr", "XXX", "INR ", 5, None, ["INR"]])
def test_what_is_not_a_currency(code: object) -> None:
    with pytest.raises(DomainError, match=r"money\.unknown_currency"):
        known_currency(code)


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(minor=5, currency="INR"), "INR 0.05"),
        (Money(minor=-1234, currency="INR"), "INR -12.34"),
        (Money(minor=7, currency="JPY"), "JPY 7"),
        (Money(minor=1234567, currency="KWD"), "KWD 1234.567"),
    ],
)
def test_money_is_written_with_its_decimals(money: Money, text: str) -> None:
    assert str(money) == text


@given(st.integers(0, 2**48 - 1), st.integers(0, 1023), st.integers())
def test_made_ids_carry_time_version_and_cell(now_ms: int, cell: int, seed: int) -> None:
    made = Ids(ManualClock(now_ms), SeededEntropy(seed), cell).new()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert (made.int >> 80, cell_of(made)) == (now_ms, cell)


@given(st.text(), st.text(), st.integers(0, 1023))
def test_derived_ids_repeat_and_keep_the_cell_of_their_origin(
    purpose: str, part: str, cell: int
) -> None:
    origin = Ids(ManualClock(0), SeededEntropy(1), cell).new()
    one = derived(purpose, part, origin)
    assert one == derived(purpose, part, origin)
    assert (one.version, cell_of(one)) == (8, cell)
    assert cell_of(derived(purpose, part)) == 0


def test_parts_cannot_run_into_each_other() -> None:
    assert derived("a", "b", "c") != derived("a", "bc")


@given(st.uuids())
def test_public_ids_are_read_back(value: UUID) -> None:
    assert parse("pay", public("pay", value)) == value


@pytest.mark.parametrize(
    "text",
    ["", "pay_", "pay", None, 5, "pty_" + "0" * 26, "pay_" + "0" * 25, "pay_8" + "0" * 25,
     "pay_" + "u" * 26, "PAY_" + "0" * 26, "pay_" + "0" * 26 + "\n"],
)  # fmt: skip
def test_other_texts_are_unknown(text: object) -> None:
    with pytest.raises(DomainError, match=r"id\.unknown"):
        parse("pay", text)
