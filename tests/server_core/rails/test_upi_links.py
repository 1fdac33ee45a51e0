from dataclasses import replace
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_core.errors import DomainError
from server_core.rails.upi_links import PayLink, pay_link

TEA = PayLink(
    payee_vpa="tea.stall@hundi",
    payee_name="Tea & Co",
    reference="ORDER0042",
    amount_minor=1_505,
    mcc="5814",
    note="2 chai + 1 bun",
)


def test_a_link_is_exactly_so():
    assert pay_link(TEA) == (
        "upi://pay?pa=tea.stall@hundi&pn=Tea%20%26%20Co&mc=5814&tr=ORDER0042"
        "&tn=2%20chai%20%2B%201%20bun&am=15.05&cu=INR"
    )


def test_what_is_not_given_does_not_stand_in_the_link():
    bare = pay_link(replace(TEA, amount_minor=None, mcc=None, note=""))
    assert bare == "upi://pay?pa=tea.stall@hundi&pn=Tea%20%26%20Co&tr=ORDER0042&cu=INR"


@pytest.mark.parametrize(
    ("minor", "shown"), [(1, "0.01"), (100, "1.00"), (2**53 - 1, "90071992547409.91")]
)
def test_amounts_have_two_decimals(minor: int, shown: str):
    assert f"&am={shown}&" in pay_link(replace(TEA, amount_minor=minor))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_any_text_comes_back_as_it_was(text: str):
    link = pay_link(replace(TEA, payee_name=text, note=text))
    query = link.partition("?")[2]
    assert "+" not in query
    assert link.isascii()
    assert dict(pair.split("=") for pair in query.split("&"))["pn"].isascii()
    fields = dict(parse_qsl(query, strict_parsing=True))
    assert (fields["pn"], fields["tn"]) == (text, text)
    assert unquote(query).endswith("cu=INR")


@pytest.mark.parametrize(
    "wrong",
    [
        {"payee_vpa": "no-handle"},
        {"payee_vpa": "a b@bank"},
        {"payee_vpa": "shop@bank\n"},
        {"payee_name": ""},
        {"payee_name": "x" * 100},
        {"payee_name": "\ud800"},
        {"reference": "abc"},
        {"reference": "x" * 36},
        {"reference": "order-42"},
        {"mcc": "58"},
        {"mcc": "٥٨١٤"},
        {"note": "x" * 51},
        {"amount_minor": 0},
        {"amount_minor": -1},
        {"amount_minor": True},
        {"amount_minor": 1.5},
        {"amount_minor": 2**53},
    ],
)
def test_a_bad_field_makes_no_link(wrong: dict[str, object]):
    with pytest.raises(DomainError) as refused:
        pay_link(replace(TEA, **wrong))
    assert refused.value.code in {"rails.link", "money.amount"}
