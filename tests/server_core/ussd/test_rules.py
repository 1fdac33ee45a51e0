"""How a USSD text is read, and the digits that a terminal checks offline."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline import ussd
from server_core.errors import DomainError
from server_core.ussd import rules
from server_core.ussd.model import Missing

CODE = rules.code_of(123_456)


@pytest.mark.parametrize(
    ("text", "missing", "amount"),
    [
        ("", Missing.CODE, 0),
        (CODE, Missing.AMOUNT, 0),
        (f"{CODE}*120", Missing.CHALLENGE, 12_000),
        (f"{CODE}*120.50*912345", Missing.PIN, 12_050),
        (f"{CODE}*120*912345*135790", None, 12_000),
    ],
)
def test_a_payment_is_read_as_far_as_it_was_typed(text: str, missing, amount: int) -> None:
    typed = rules.read_payment(text)
    assert (typed.missing, typed.amount) == (missing, amount)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1", "ussd.code"), ("*", "ussd.code"), (CODE[:-1] + str((int(CODE[-1]) + 1) % 10), "ussd.code"),
        (f"{CODE}*0", "ussd.amount"), (f"{CODE}*-1", "ussd.amount"), (f"{CODE}*1.5", "ussd.amount"),
        (f"{CODE}*٣", "ussd.amount"), (f"{CODE}*12345678", "ussd.amount"), (f"{CODE}*", "ussd.amount"),
        (f"{CODE}*1*12345", "ussd.challenge"), (f"{CODE}*1*12345a", "ussd.challenge"),
        (f"{CODE}*1*123456*1*1", "ussd.text"), ("1" * 201, "ussd.text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(text: str, code: str) -> None:
    with pytest.raises(DomainError) as told:
        rules.read_payment(text)
    assert told.value.code == code


@pytest.mark.parametrize(
    "pin", ["", "12345", "1234567", "12345a", "111111", "123456", "654321", "٣٣٣٣٣٣"]
)
def test_weak_pins(pin: str) -> None:
    with pytest.raises(DomainError, match=r"ussd\.pin"):
        rules.check_pin(pin)


@given(st.text(alphabet="0123456789*#. ab", max_size=210))
def test_no_text_is_a_stack_trace(text: str) -> None:
    for read in (rules.read_payment, rules.read_setup):
        with suppress(DomainError):  # anything else fails the test
            read(text)


@given(st.integers(0, 999_999), st.integers(0, 6), st.integers(1, 9))
def test_one_wrong_digit_of_a_code_is_seen(number: int, place: int, by: int) -> None:
    code = rules.code_of(number)
    assert rules.is_code(code)
    wrong = code[:place] + str((int(code[place]) + by) % 10) + code[place + 1 :]
    assert not rules.is_code(wrong)


@given(st.integers(1, 100_000), st.integers(-1, 1))
def test_a_challenge_names_its_day(today: int, off: int) -> None:
    assert ussd.day_of(f"{(today + off) % 10}12345", today) == today + off
    assert ussd.day_of(f"{(today + 5) % 10}12345", today) is None


def test_every_field_changes_the_answer() -> None:
    base = (bytes(32), bytes(4), "912345", 12_000, 20_000)
    others = [(b"\1" * 32, bytes(4), "912345", 12_000, 20_000), (bytes(32), b"\1" * 4, "912345", 12_000, 20_000),
              (bytes(32), bytes(4), "912346", 12_000, 20_000), (bytes(32), bytes(4), "912345", 12_001, 20_000),
              (bytes(32), bytes(4), "912345", 12_000, 20_001)]  # fmt: skip
    answers = {ussd.answer(*one) for one in (base, *others)}
    assert len(answers) == 6
    assert all(len(one) == 8 and one.isdigit() for one in answers)
    assert ussd.answer(*base) == "92323654"


@pytest.mark.parametrize(
    "text", ["", "abc", "+", "+0123456789", "+911", "9" * 20, "+91 98765", "٩٨٧٦٥٤٣٢١"]
)
def test_no_number(text: str) -> None:
    with pytest.raises(DomainError, match=r"ussd\.number"):
        rules.msisdn(text)
    assert rules.msisdn("+919876543210") == rules.msisdn("919876543210")
