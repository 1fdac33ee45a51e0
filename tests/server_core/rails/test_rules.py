import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_core.rails import codes, rules
from server_core.rails.model import Outcome

MINUTE, HOUR = 60_000, 3_600_000
START = 1_790_000_000_000


@pytest.mark.parametrize(
    ("asked", "now", "then"),
    [
        (1, 0, 90_000),
        (1, 15_000, 105_000),
        (2, 105_000, 15 * MINUTE),
        (3, 15 * MINUTE, HOUR),
        (4, HOUR, 2 * HOUR),
        (5, 2 * HOUR, 3 * HOUR),
        (30, 25 * HOUR, 26 * HOUR),
    ],
)
def test_an_unknown_attempt_is_asked_about_by_the_quota(asked: int, now: int, then: int):
    assert rules.next_status_check(START, asked, START + now) == START + then


def test_pace_shortens_every_wait():
    assert rules.next_status_check(START, 1, START, pace=0.01) == START + 900
    assert rules.next_status_check(START, 9, START, pace=0.01) == START + 72_000
    assert rules.is_over(START, START + 13 * MINUTE + 12_000, pace=0.01)


@given(st.lists(st.integers(min_value=0, max_value=3 * HOUR), min_size=12, max_size=12))
def test_no_delay_of_the_asker_breaks_the_quota(delays: list[int]):
    now, checks = START, []
    for asked, delay in enumerate(delays, start=1):
        now = rules.next_status_check(START, asked, now) + delay
        checks.append(now)
    assert checks[0] >= START + 90_000
    assert sum(at < START + 2 * HOUR for at in checks) <= 3
    late = [at for at in checks[3:] if at >= START + 2 * HOUR]
    assert all(b - a >= HOUR for a, b in itertools.pairwise(late))


def test_the_time_to_ask_is_over_before_the_next_calendar_day_ends():
    assert not rules.is_over(START, START + 22 * HOUR - 1)
    assert rules.is_over(START, START + 22 * HOUR)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("00", Outcome.SUCCEEDED)]
    + [
        (code, Outcome.DECLINED)
        for code in [
            "Z9",
            "ZM",
            "Z6",
            "Z7",
            "Z8",
            "ZU",
            "ZA",
            "ZE",
            "ZG",
            "ZH",
            "59",
            "K1",
            "XH",
            "YE",
            "U69",
        ]
    ]
    + [
        (code, Outcome.UNKNOWN)
        for code in ["01", "RB", "96", "BT", "UT", "U66", "U67", "U68", "U30", "UP", "UB"]
    ]
    + [(code, Outcome.UNKNOWN) for code in ["QQ", "", "0", "000", "z9"]],
)
def test_codes_mean_what_the_table_says(code: str, outcome: Outcome):
    assert codes.UPI.meaning(code) is outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("00", Outcome.SUCCEEDED)]
    + [(code, Outcome.DECLINED) for code in ["05", "51", "54", "61", "62", "14"]]
    + [(code, Outcome.UNKNOWN) for code in ["91", "96", "68", "09", "94", "99", "", "Z9"]],
)
def test_card_codes_are_iso_8583_s(code: str, outcome: Outcome):
    assert codes.CARD.meaning(code) is outcome


@pytest.mark.parametrize("table", [codes.UPI, codes.CARD, codes.NETBANKING])
def test_every_code_has_its_form_and_a_meaning(table: codes.Codes):
    assert all(table.form.fullmatch(code) and text for code, (_, text) in table.known.items())
