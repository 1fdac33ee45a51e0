import statistics
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_core.rails import codes
from server_core.rails.model import Outcome
from server_core.sandbox import rules
from server_core.sandbox.dialects import CARD, NETBANKING, UPI, Dialect
from server_core.sandbox.model import Behaviour, Delivery, Fate, Order

INDIA = timezone(timedelta(hours=5, minutes=30))


def order(number: int = 0, word: str = "asha") -> Order:
    return Order(id=f"HUN{number:032X}", amount_minor=100, word=word)


def fate(one: Order, behaviour: Behaviour, dialect: Dialect = UPI) -> Fate:
    return rules.fate(one, behaviour, dialect)


def test_without_rates_everything_succeeds_at_once():
    fates = {fate(order(number), Behaviour()) for number in range(500)}
    assert fates == {Fate()}


def test_a_fate_follows_from_the_seed_and_the_id_alone():
    mixed = Behaviour(decline_rate=0.3, unknown_rate=0.3, seed=7)
    forth = [fate(order(number), mixed) for number in range(300)]
    back = [fate(order(number), mixed) for number in reversed(range(300))]
    assert forth == back[::-1]
    other = Behaviour(decline_rate=0.3, unknown_rate=0.3, seed=8)
    assert forth != [fate(order(number), other) for number in range(300)]


def test_rates_are_kept_and_every_fault_of_the_mix_comes_up():
    mixed = Behaviour(decline_rate=0.3, unknown_rate=0.2, seed=7)
    fates = [fate(order(number), mixed) for number in range(4_000)]
    declined = [one for one in fates if codes.UPI.meaning(one.code) is Outcome.DECLINED]
    paid = [one for one in fates if one == Fate()]
    assert 0.27 < len(declined) / len(fates) < 0.33
    assert 0.47 < len(paid) / len(fates) < 0.53
    assert {one.code for one in declined} == {code for code, _ in UPI.declines}
    assert not any(one.debited for one in declined)
    kinds = {(one.code, one.delivery) for one in fates} - {("00", Delivery.PROMPT)}
    assert kinds - {(one.code, one.delivery) for one in declined} == {
        ("RB", Delivery.PROMPT),
        ("01", Delivery.LOST_ANSWER),
        ("00", Delivery.HELD),
        ("00", Delivery.LOST_REQUEST),
        ("U30", Delivery.PROMPT),
    }


@pytest.mark.parametrize(
    "mix", [UPI.declines, CARD.declines, NETBANKING.declines, rules.UNKNOWN_MIX]
)
def test_a_mix_makes_a_hundred(mix: tuple[tuple[str, int], ...]):
    assert sum(weight for _, weight in mix) == 100


EXAMPLES = {UPI.shown: "U67", CARD.shown: "51", NETBANKING.shown: "FAILED"}
DIALECTS = pytest.mark.parametrize("dialect", [UPI, CARD, NETBANKING], ids=["upi", "card", "bank"])


@DIALECTS
@pytest.mark.parametrize("word", rules.WORDS)
def test_every_word_of_the_help_steers_and_in_any_case(word: str, dialect: Dialect):
    word = word.replace("CODE", EXAMPLES[dialect.shown])
    steered = fate(order(word=word), Behaviour(), dialect)
    assert steered != Fate(code=dialect.ok, later=dialect.ok)
    assert fate(order(word=word.upper()), Behaviour(decline_rate=1), dialect) == steered


def test_the_help_speaks_as_the_door_does():
    assert "deemed@bank" in rules.help_for(UPI)
    assert "91" in rules.help_for(CARD)["tok_deemed"]
    assert "tok_decline_CODE" in rules.help_for(CARD)
    assert "PENDING" in rules.help_for(NETBANKING)["late"]


@DIALECTS
def test_a_dialect_s_codes_mean_what_it_says(dialect: Dialect):
    outcomes = {
        name: dialect.codes.meaning(getattr(dialect, name))
        for name in ("ok", "no", "invalid", "deemed", "pending", "failed")
    }
    assert outcomes == {
        "ok": Outcome.SUCCEEDED,
        "no": Outcome.DECLINED,
        "invalid": Outcome.DECLINED,
        "deemed": Outcome.UNKNOWN,
        "pending": Outcome.UNKNOWN,
        "failed": Outcome.UNKNOWN,
    }
    assert all(dialect.is_no(code) for code, _ in dialect.declines)


@pytest.mark.parametrize(
    "word",
    ["decliner", "deemed.x", "deemed.1234567", "stuck.2", "decline.", "check.TOOLONG", "a.b", ""],
)
def test_other_names_do_not_steer(word: str):
    assert fate(order(word=word), Behaviour()) == Fate()


def test_latency_is_log_normal_around_its_median_and_repeats():
    behaviour = Behaviour(latency_median_ms=120, seed=3)
    drawn = [rules.latency_ms(behaviour, order(n).id, "pay") for n in range(4_000)]
    assert drawn == [rules.latency_ms(behaviour, order(n).id, "pay") for n in range(4_000)]
    assert 112 < statistics.median(drawn) < 128
    twentieths = statistics.quantiles(drawn, n=20)
    assert 220 < twentieths[-1] < 290
    assert 50 < twentieths[0] < 65
    assert rules.latency_ms(Behaviour(latency_median_ms=0), order().id, "pay") == 0


@given(st.integers(86_400_000, 7_258_000_000_000), st.integers(0, 10**9))
def test_a_reference_is_12_digits_of_indian_time(now_ms: int, sequence: int):
    here = datetime.fromtimestamp(now_ms // 1000, INDIA)
    made = rules.rrn(now_ms, sequence)
    assert made == f"{here.year % 10}{here:%j%H}{sequence % 10**6:06d}"
    assert len(made) == 12
