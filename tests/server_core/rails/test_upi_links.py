from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server_core.errors import DomainError
from server_core.rails.upi_links import PayLink, pay_link, read_link

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
        {"minimum_minor": 0},
        {"minimum_minor": 1_506},
        {"tid": "a b"},
        {"mode": "٢٢"},
        {"purpose": "bf"},
        {"orgid": "x" * 36},
    ],
)
def test_a_bad_field_makes_no_link(wrong: dict[str, object]):
    with pytest.raises(DomainError) as refused:
        pay_link(replace(TEA, **wrong))
    assert refused.value.code in {"rails.link", "money.amount"}


WHOLE = replace(
    TEA, minimum_minor=1_000, tid="HDN00000000000000000000000000000001", mode="22", purpose="00",
    orgid="159002",
)  # fmt: skip


def test_a_whole_link_is_exactly_so():
    text = (
        "upi://pay?pa=tea.stall@hundi&pn=Tea%20%26%20Co&mc=5814"
        "&tid=HDN00000000000000000000000000000001&tr=ORDER0042&tn=2%20chai%20%2B%201%20bun"
        "&mode=22&purpose=00&orgid=159002&am=15.05&mam=10.00&cu=INR"
    )
    assert pay_link(WHOLE) == text
    assert read_link(text) == WHOLE


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
ALNUM = st.text("AZaz09", min_size=4, max_size=35)
AMOUNT = st.none() | st.integers(1, 2**53 - 1)


@given(
    st.builds(
        PayLink,
        payee_vpa=st.from_regex(r"[A-Za-z0-9._-]{2,50}@[a-z][a-z0-9]{1,20}", fullmatch=True),
        payee_name=TEXT.filter(bool),
        reference=ALNUM,
        amount_minor=AMOUNT,
        mcc=st.none() | st.text("0123456789", min_size=4, max_size=4),
        note=TEXT,
        tid=st.none() | ALNUM,
        mode=st.sampled_from([None, "00", "22"]),
        purpose=st.sampled_from([None, "00", "BF"]),
        orgid=st.none() | ALNUM,
    ),
    AMOUNT,
)
def test_what_was_written_is_read(link: PayLink, minimum: int | None):
    if minimum is None or link.amount_minor is None or minimum <= link.amount_minor:
        link = replace(link, minimum_minor=minimum)
    assert read_link(pay_link(link)) == link


def test_the_longest_link_is_within_the_bound():
    longest = replace(
        WHOLE, payee_vpa="x" * 255 + "@" + "x" * 64, payee_name="\U0001f375" * 99, orgid="x" * 35,
        note="\U0001f375" * 50, reference="x" * 35, amount_minor=2**53 - 1,
    )  # fmt: skip
    assert len(pay_link(longest)) <= 2_350
    assert read_link(pay_link(longest)) == longest


PAY = "upi://pay?pa=tea.stall@hundi&pn=Tea"


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (PAY, "reference", ""),
        (PAY, "amount_minor", None),
        (PAY.replace("upi://pay", "UPI://PAY"), "payee_name", "Tea"),
        (PAY.replace("@", "%40"), "payee_vpa", "tea.stall@hundi"),
        (PAY.replace("&pn", "&p%6E"), "payee_name", "Tea"),
        (PAY + "%20Stall", "payee_name", "Tea Stall"),
        (PAY + " Stall", "payee_name", "Tea Stall"),
        (PAY + "+Stall", "payee_name", "Tea+Stall"),
        (PAY + "%2BStall", "payee_name", "Tea+Stall"),
        (PAY + "चाय", "payee_name", "Teaचाय"),
        (PAY + "%E0%A4%9A", "payee_name", "Teaच"),
        (PAY + "&am=15", "amount_minor", 1_500),
        (PAY + "&am=15.5", "amount_minor", 1_550),
        (PAY + "&am=0.29", "amount_minor", 29),
        (PAY + "&am=90071992547409.91", "amount_minor", 2**53 - 1),
        (PAY + "&am=15&mam=15.00", "minimum_minor", 1_500),
        (PAY + "&mam=null", "minimum_minor", None),
        (PAY + "&mc=&tr=&tn=&am=&mam=&cu=", "amount_minor", None),
        (PAY + "&mc=0000", "mcc", "0000"),
        (PAY + "&tn=a=b", "note", "a=b"),
        (PAY + "&sign=MEUC==&url=https://hundi.example", "payee_name", "Tea"),
    ],
)
def test_what_others_write_is_read(text: str, field: str, expected: object):
    assert getattr(read_link(text), field) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with upi://pay?"),
        (PAY.replace("pay", "mandate"), "begins with upi://pay?"),
        ("https://pay?pa=tea@hundi&pn=Tea", "begins with upi://pay?"),
        (" " + PAY, "begins with upi://pay?"),
        ("upi://pay?", "name=value"),
        (PAY + "&", "name=value"),
        (PAY + "&am", "name=value"),
        (PAY + "&=1", "name=value"),
        (PAY + "x" * 4_096, "at most 4096 characters"),
        (PAY + "#am=1", "written %23"),
        (PAY + "%", "two hex digits"),
        (PAY + "%2", "two hex digits"),
        (PAY + "%zz", "two hex digits"),
        (PAY + "%FF", "valid Unicode"),
        (PAY + "%ED%A0%80", "valid Unicode"),
        (PAY + "\ud800", "valid Unicode"),
        (PAY + "&am=1&am=2", "each parameter stands once"),
        (PAY + "&am=&am=2", "each parameter stands once"),
        (PAY + "&am=1&%61m=1", "each parameter stands once"),
        (PAY + "&x=1&x=1", "each parameter stands once"),
        ("upi://pay?pn=Tea", "payee_vpa must be a VPA"),
        ("upi://pay?pa=tea@hundi", "payee_name must be 1 to 99"),
        (PAY.replace("@", ""), "payee_vpa must be a VPA"),
        (PAY.replace("tea.", "चाय."), "payee_vpa must be a VPA"),
        (PAY + "&cu=USD", "currency must be INR"),
        (PAY + "&cu=inr", "currency must be INR"),
        (PAY + "&tr=abc", "reference must be 4 to 35"),
        (PAY + "&mc=58", "mcc must be 4 digits"),
        (PAY + "&tn=" + "x" * 51, "note must be at most 50"),
        (PAY + "&mode=2", "mode must be 2 digits"),
        (PAY + "&purpose=bf", "purpose must be 2"),
        (PAY + "&tid=a-b", "tid must be 1 to 35"),
        (PAY + "&orgid=%20", "orgid must be 1 to 35"),
        (PAY + "&am=15&mam=15.01", "minimum must be at most the amount"),
        (PAY + "&mam=x", "minimum must be rupees"),
        (PAY + "&mam=0", "minimum must be a whole number"),
        (PAY + "&am=null", "amount must be rupees"),
        (PAY + "&am=0", "amount must be a whole number"),
        (PAY + "&am=90071992547409.92", "amount must be a whole number"),
    ],
)
def test_a_bad_link_is_not_read(text: str, message: str):
    with pytest.raises(DomainError) as refused:
        read_link(text)
    assert refused.value.code in {"rails.link", "money.amount"}
    assert message in refused.value.message


@pytest.mark.parametrize(
    "amount",
    ["-1", "+1", "1.505", "1.", ".5", "015", "1,5", "1e3", " 1", "1%20", "१५", "1.\uff15",
     "100000000000000", "1_0", "NaN"],
)  # fmt: skip
def test_an_amount_is_exact_or_refused(amount: str):
    with pytest.raises(DomainError) as refused:
        read_link(f"{PAY}&am={amount}")
    assert (refused.value.code, refused.value.field) == ("rails.link", "amount")


@given(st.text(max_size=60).map("upi://pay?pa=tea@hundi&pn=Tea&".__add__) | st.text())
def test_any_text_is_read_or_refused(text: str):
    try:
        read = read_link(text)
    except DomainError:
        return
    assert read.payee_vpa == "tea@hundi"
