from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import qr as picture
from server_core.errors import DomainError
from server_core.rails.emv_qr import Additional, Local, MerchantQr, Tip, crc, read_qr, write_qr

SHOP = MerchantQr(payee_vpa="tea.stall@hundi", payee_name="Tea & Co", city="Pune", mcc="5814")
WHOLE = MerchantQr(
    payee_vpa="tea.stall@hundi",
    payee_name="Tea & Co",
    city="Pune",
    mcc="5814",
    dynamic=True,
    amount_minor=1_505,
    minimum_minor=1_000,
    reference="ORDER0042",
    url="https://hundi.example/42",
    tip=Tip(basis_points=250),
    pin_code="411001",
    additional=Additional(bill="B-42", terminal="T1", mobile="***"),
    local=Local(language="hi", name="चाय की दुकान", city="पुणे"),
    unreserved=(("81", "0003abc"), ("80", "in any form")),
)
SHOP_TEXT = (
    "000201010211"
    "26330010A0000005240115tea.stall@hundi"
    "5204581453033565802IN5908Tea & Co6004Pune"
    "63042F72"
)


def sealed(body: str) -> str:
    """`body` with a CRC that fits, so that what else is wrong with it is what is refused."""
    return body + "6304" + crc(body + "6304")


def tlv(tag: str, value: str) -> str:
    return f"{tag}{len(value):02d}{value}"


UPI = tlv("00", "A000000524")
PAYEE = tlv("26", UPI + tlv("01", "tea.stall@hundi"))
GOOD = {
    "00": tlv("00", "01"), "26": PAYEE, "52": tlv("52", "5814"), "53": tlv("53", "356"),
    "58": tlv("58", "IN"), "59": tlv("59", "Tea & Co"), "60": tlv("60", "Pune"),
}  # fmt: skip


def text_with(**tags: str) -> str:
    """A good text, with tags added or (by their `t54=`) put in another's place, or left out."""
    return sealed("".join((GOOD | {tag[1:]: text for tag, text in tags.items()}).values()))


def refusal(text: str) -> DomainError:
    with pytest.raises(DomainError) as refused:
        read_qr(text)
    assert refused.value.code == "rails.qr"
    return refused.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123456789", "29B1"),
        (  # EMVCo's own sample, whose lengths count characters and whose CRC counts UTF-8 bytes
            "00020101021229300012D156000000000510A93FO3230Q31280012D1560000000103081234567852044111"
            "5802CN5914BEST TRANSPORT6007BEIJING64200002ZH0104最佳运输0202北京540523.7253031565502"
            "016233030412340603***0708A60086670902ME91320016A0112233449988770708123456786304",
            "A13A",
        ),
    ],
)
def test_the_crc_is_the_standard_s(text: str, expected: str):
    assert crc(text) == expected


def test_a_text_is_exactly_so():
    assert write_qr(SHOP) == SHOP_TEXT
    assert read_qr(SHOP_TEXT) == SHOP


def test_a_whole_text_is_exactly_so():
    body = (
        "000201010212"
        "26420010A0000005240115tea.stall@hundi020510.00"
        "27550010A0000005240109ORDER00420224https://hundi.example/42"
        "520458145303356540515.05550203" "57042.50" "5802IN5908Tea & Co6004Pune6106411001"
        "62210104B-420203***0702T1"
        "64300002hi0112चाय की दुकान0204पुणे"
        "81070003abc8011in any form"
    )  # fmt: skip
    assert write_qr(WHOLE) == sealed(body)
    assert read_qr(sealed(body)) == WHOLE


def test_a_text_comes_back_from_its_picture():
    text = write_qr(replace(WHOLE, local=None))
    assert read_qr(picture.read_png(picture.png(text))) == replace(WHOLE, local=None)


ANS = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
ANY = st.characters(exclude_categories=["Cs", "Cc"])
PAISE = st.integers(1, 999_999_999_999)
LABEL = st.text(ANS, max_size=8)


@st.composite
def codes(draw: st.DrawFn) -> MerchantQr:
    minimum, amount = sorted((draw(PAISE), draw(PAISE)))
    reference = draw(st.text(ALNUM, min_size=4, max_size=35))
    tips = st.one_of(
        st.none(),
        st.just(Tip()),
        st.builds(Tip, fixed_minor=PAISE),
        st.builds(Tip, basis_points=st.integers(1, 9_999)),
    )
    said = MerchantQr(
        payee_vpa=draw(st.from_regex(r"[a-z0-9._-]{2,30}@[a-z][a-z0-9]{1,18}", fullmatch=True)),
        payee_name=draw(st.text(ANS, min_size=1, max_size=23)),
        city=draw(st.text(ANS, min_size=1, max_size=15)),
        mcc=draw(st.text("0123456789", min_size=4, max_size=4)),
        amount_minor=draw(st.sampled_from([None, amount])),
        minimum_minor=draw(st.sampled_from([None, minimum])),
        tip=draw(tips),
        pin_code=draw(st.text(ANS, max_size=10)),
        additional=Additional(
            bill=draw(LABEL), mobile=draw(LABEL), store=draw(LABEL), loyalty=draw(LABEL),
            reference=draw(LABEL), consumer=draw(LABEL), terminal=draw(LABEL), purpose=draw(LABEL),
        ),
        local=draw(
            st.none()
            | st.builds(
                Local,
                language=st.text(ALNUM[:52], min_size=2, max_size=2),
                name=st.text(ANY, min_size=1, max_size=25),
                city=st.text(ANY, max_size=15),
            )
        ),
        unreserved=draw(
            st.lists(
                st.tuples(
                    st.integers(80, 99).map(str), st.text(ANY, min_size=1, max_size=20)
                ),
                max_size=3,
                unique_by=lambda pair: pair[0],
            ).map(tuple)
        ),
    )  # fmt: skip
    if draw(st.booleans()):
        url = draw(st.text("abc:/.%-", max_size=26))
        said = replace(said, reference=reference, url=url, dynamic=draw(st.booleans()))
    return said


@given(codes())
def test_what_was_written_is_read(said: MerchantQr):
    text = write_qr(said)
    assert len(text) <= 512
    assert read_qr(text) == said
    assert write_qr(read_qr(text)) == text


@given(codes(), st.data())
def test_one_character_that_changed_never_reads_as_another_payment(
    said: MerchantQr, data: st.DataObject
):
    # Without the two that take any script: in ASCII either the CRC or a shape refuses for certain.
    text = write_qr(replace(said, local=None, unreserved=()))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(ANS | st.characters(exclude_categories=["Cs"]))
    try:
        read = read_qr(text[:at] + other + text[at + 1 :])
    except DomainError:
        return
    assert read == read_qr(text)


def test_every_place_of_a_text_is_held():
    """Among ASCII a change of one character is a burst of 8 bits at most, which a CRC-16 finds."""
    text = write_qr(WHOLE)
    for at, was in enumerate(text):
        for other in "019A;~":
            if other != was:
                refusal(text[:at] + other + text[at + 1 :])


@settings(max_examples=300)
@given(st.text(max_size=600) | st.text("0123456789", max_size=600).map(sealed))
def test_any_other_text_is_refused_in_one_way(text: str):
    refusal(text)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (text_with(t54=tlv("54", "15")), "amount_minor", 1_500),
        (text_with(t54=tlv("54", "15.5")), "amount_minor", 1_550),
        (text_with(t54=tlv("54", "0.01")), "amount_minor", 1),
        (text_with(t54=tlv("54", "9999999999.99")), "amount_minor", 999_999_999_999),
        (text_with(), "dynamic", False),
        (text_with(t01=tlv("01", "11")), "dynamic", False),
        (text_with(t55=tlv("55", "01")), "tip", Tip()),
        (text_with(t55=tlv("55", "02") + tlv("56", "5")), "tip", Tip(fixed_minor=500)),
        (text_with(t55=tlv("55", "03") + tlv("57", "05.00")), "tip", Tip(basis_points=500)),
        (text_with(t59=tlv("59", "x" * 25)), "payee_name", "x" * 25),
        (text_with(t02=tlv("02", "4111111111111111")), "networks", ("visa",)),
        (
            text_with(t02=tlv("03", "4111111111111111") + tlv("02", "4" * 16) + tlv("06", "6")),
            "networks",
            ("visa", "rupay"),
        ),
        (text_with(t08=tlv("08", "HDFC000000112345")), "networks", ()),
        (text_with(t30=tlv("30", "of another scheme")), "payee_vpa", "tea.stall@hundi"),
        (text_with(t62=tlv("62", tlv("09", "ME"))), "additional", Additional()),
        (text_with(t65=tlv("65", "not ours")), "unreserved", ()),
        (text_with(t99=tlv("99", "kept")), "unreserved", (("99", "kept"),)),
    ],
)
def test_what_others_write_is_read(text: str, field: str, expected: object):
    assert getattr(read_qr(text), field) == expected


TWICE = UPI + tlv("01", "a1@bank") + tlv("01", "b2@bank")
NO_GUID = tlv("01", "tea.stall@hundi")
BAD_TEXTS = [
    ("", "63", "(CRC) must be the last, of 4 characters: scan"),
    (SHOP_TEXT[:-1], "63", "must be the last"),
    (SHOP_TEXT + " ", "63", "must be the last"),
    (SHOP_TEXT + tlv("80", "after"), "63", "must be the last"),
    (SHOP_TEXT[:-1] + "0", "63", "does not fit the text before it: scan"),
    (SHOP_TEXT.replace("Pune", "Puna"), "63", "does not fit"),
    (SHOP_TEXT[:-4] + SHOP_TEXT[-4:].lower(), "63", "does not fit"),
    ("0" * 513, "63", "does not end the text within 512 characters: do not"),
    (sealed(""), "00", "must be the first: do not pay"),
    (sealed(PAYEE + tlv("00", "01")), "00", "must be the first"),
    (text_with(t63=tlv("63", "29B1")), "63", "(CRC) stands before the end too"),
    (text_with(t00=tlv("00", "02")), "00", "must be 01: do not pay"),
    (text_with(t01=tlv("01", "13")), "01", "must be 11 (static) or 12"),
    (text_with(t01=tlv("01", "12")), "27-01", "dynamic code needs it"),
    (text_with(t61="6110411001"), "61", "length that is 0 or beyond the end"),
    (text_with(t61="6100"), "61", "length that is 0"),
    (text_with(t61="61"), "?", "not two digits and a length"),
    (text_with(t61="6\u066106411001"), "?", "not two digits and a length"),
    (text_with(t61="61\u06606411001"), "?", "not two digits and a length"),
    (text_with(t61=" 61"), "?", "not two digits and a length"),
    (text_with(t26=tlv("26", "0010A0000005240120tea.stall@hundi")), "26-01", "beyond the end"),
    (text_with(t26=tlv("26", TWICE)), "26-01", "stands twice"),
    (text_with(t26=PAYEE * 2), "26", "stands twice: do not pay"),
    (text_with(t54=tlv("54", "15.05") * 2), "54", "stands twice"),
    (text_with(t80=tlv("80", "a") + tlv("80", "b")), "80", "stands twice"),
    (text_with(t65=tlv("65", "a") + tlv("65", "b")), "65", "stands twice"),
    (text_with(t26=""), "26-00", "is missing: do not pay, ask the payee for a new code"),
    (text_with(t26=tlv("26", UPI)), "26-01", "is missing"),
    (text_with(t26=tlv("26", NO_GUID)), "26-00", "is missing"),
    (text_with(t26=tlv("26", tlv("00", "upi.npci.org") + NO_GUID)), "26-00", "A000000524 (UPI)"),
    (text_with(t26=tlv("26", UPI + tlv("01", "no-handle"))), "26-01", "a VPA of at most 50"),
    (text_with(t26=tlv("26", UPI + tlv("01", "x" * 46 + "@bank"))), "26-01", "at most 50"),
    (text_with(t26=tlv("26", PAYEE[4:] + tlv("02", "0"))), "26-02", "0.01 to"),
    (text_with(t27=tlv("27", UPI)), "27-01", "is missing beside 27-00"),
    (text_with(t27=tlv("27", tlv("01", "ORDER42"))), "27-00", "is missing beside 27-01"),
    (text_with(t27=tlv("27", UPI + tlv("01", "abc"))), "27-01", "4 to 35 letters and digits"),
    (text_with(t27=tlv("27", UPI + tlv("02", "http://x"))), "27-01", "is missing beside"),
    (text_with(t27=tlv("27", tlv("00", "OTHER") + tlv("01", "ORDER"))), "27-00", "(UPI)"),
    (text_with(t52=""), "52", "is missing"),
    (text_with(t52=tlv("52", "581")), "52", "4 digits"),
    (text_with(t52=tlv("52", "٥٨١٤")), "52", "4 digits"),
    (text_with(t53=""), "53", "is missing"),
    (text_with(t53=tlv("53", "840")), "53", "must be 356 (INR)"),
    (text_with(t55=tlv("55", "04")), "55", "01 (ask), 02 (fixed) or 03 (percent)"),
    (text_with(t55=tlv("55", "02")), "56", "must stand with 55 = 02 and only then"),
    (text_with(t55=tlv("55", "01") + tlv("56", "5")), "56", "only then"),
    (text_with(t56=tlv("56", "5")), "56", "only then"),
    (text_with(t57=tlv("57", "5")), "57", "must stand with 55 = 03"),
    (text_with(t55=tlv("55", "03") + tlv("57", "100")), "57", "0.01 to 99.99"),
    (text_with(t55=tlv("55", "03") + tlv("57", "0.00")), "57", "0.01 to 99.99"),
    (text_with(t58=""), "58", "is missing"),
    (text_with(t58=tlv("58", "CN")), "58", "must be IN"),
    (text_with(t59=""), "59", "is missing"),
    (text_with(t59=tlv("59", "x" * 26)), "59", "at most 25 ASCII characters"),
    (text_with(t59=tlv("59", "चाय")), "59", "ASCII"),
    (text_with(t59=tlv("59", "a\nb")), "59", "ASCII"),
    (text_with(t60=""), "60", "is missing"),
    (text_with(t60=tlv("60", "x" * 16)), "60", "at most 15"),
    (text_with(t61=tlv("61", "x" * 11)), "61", "at most 10"),
    (text_with(t62=tlv("62", tlv("01", "x" * 27))), "62-01", "at most 26"),
    (text_with(t64=tlv("64", tlv("00", "hi"))), "64", "must hold 00 and 01"),
    (text_with(t64=tlv("64", tlv("00", "h1") + tlv("01", "x"))), "64-00", "2 letters"),
    (text_with(t64=tlv("64", tlv("00", "hi") + tlv("01", "\ud800"))), "64-01", "no controls"),
    (text_with(t80=tlv("80", "\x00")), "80", "no controls"),
]


@pytest.mark.parametrize(("text", "tag", "message"), BAD_TEXTS)
def test_a_bad_text_is_refused_by_its_tag(text: str, tag: str, message: str):
    refused = refusal(text)
    assert refused.facts["tag"] == tag
    assert message in refused.message
    assert f"tag {tag} " in refused.message


@pytest.mark.parametrize(
    "amount",
    ["0", "0.00", "-1", "+1", "1.505", "1.", ".5", "015", "1,5", "1e3", " 1", "1 ", "१५", "1.\uff15",
     "10000000000000", "99999999999.99", "1_0", "NaN"],
)  # fmt: skip
def test_an_amount_is_exact_or_refused(amount: str):
    refused = refusal(text_with(t54=tlv("54", amount)))
    assert (refused.field, refused.facts["tag"]) == ("amount", "54")


def test_the_minimum_is_at_most_the_amount():
    asked = tlv("26", UPI + tlv("01", "tea.stall@hundi") + tlv("02", "10"))
    assert read_qr(text_with(t26=asked, t54=tlv("54", "10.00"))).minimum_minor == 1_000
    assert refusal(text_with(t26=asked, t54=tlv("54", "9.99"))).facts["tag"] == "26-02"


@pytest.mark.parametrize("tag", ["02", "04", "06", "11"])
def test_a_card_s_number_is_kept_nowhere(tag: str):
    """Neither in what is read nor in a refusal."""
    number = "4111111111111111"
    read = read_qr(text_with(t02=tlv(tag, number)))
    assert len(read.networks) == 1
    assert number not in repr(read)
    for bad in (
        text_with(t02=tlv(tag, number), t54=tlv("54", "0")),
        text_with(t02=tlv(tag, number) * 2),
        text_with(t02=tlv(tag, number))[:-1] + "~",
        sealed(text_with()[:-8] + tag + "99" + number),
    ):
        assert number not in str(refusal(bad))
    with pytest.raises(DomainError, match="read and never written"):
        write_qr(read)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"payee_vpa": "no-handle"}, "tag 26-01 (payee_vpa) must be a VPA"),
        ({"payee_vpa": ""}, "tag 26-01 (payee_vpa) is missing"),
        ({"payee_vpa": "x" * 46 + "@bank"}, "at most 50 characters: correct it"),
        ({"payee_name": "x" * 24}, "tag 59 (payee_name) must be at most 23"),
        ({"payee_name": ""}, "tag 59 (payee_name) is missing: correct it"),
        ({"payee_name": "चाय"}, "tag 59"),
        ({"city": "\ud800"}, "tag 60"),
        ({"mcc": "٥٨١٤"}, "tag 52"),
        ({"dynamic": True, "reference": "", "url": ""}, "tag 27-01"),
        ({"reference": ""}, "tag 27-01"),
        ({"reference": "order-42"}, "tag 27-01"),
        ({"url": "a b"}, "tag 27-02"),
        ({"amount_minor": 1_000_000_000_000}, "tag 54"),
        ({"amount_minor": 999}, "tag 26-02"),
        ({"amount_minor": 0}, "money.amount"),
        ({"amount_minor": -1}, "money.amount"),
        ({"amount_minor": True}, "money.amount"),
        ({"amount_minor": 15.05}, "money.amount"),
        ({"minimum_minor": 0}, "money.amount"),
        ({"tip": Tip(fixed_minor=1, basis_points=1)}, "tag 57"),
        ({"tip": Tip(basis_points=10_000)}, "tag 57"),
        ({"tip": Tip(fixed_minor=0)}, "money.amount"),
        ({"pin_code": "x" * 11}, "tag 61"),
        ({"additional": Additional(bill="x" * 27)}, "tag 62-01 (bill)"),
        ({"additional": Additional(bill="x" * 26, store="x" * 26, loyalty="x" * 26,
                                   purpose="x" * 26)}, "tag 62 holds more than 99"),
        ({"local": Local(language="", name="")}, "tag 64-00"),
        ({"local": Local(language="hi", name="")}, "tag 64 must hold 00 and 01"),
        ({"unreserved": (("79", "x"),)}, "tag 80-99"),
        ({"unreserved": (("८०", "x"),)}, "tag 80-99"),
        ({"unreserved": (("80", ""),)}, "tag 80-99"),
        ({"unreserved": (("80", "x"), ("80", "y"))}, "tag 80-99"),
        ({"unreserved": (("80", "x" * 100),)}, "tag 80"),
        ({"unreserved": tuple((str(tag), "x" * 99) for tag in range(80, 83))}, "512"),
    ],
)  # fmt: skip
def test_a_bad_field_makes_no_text(wrong: dict[str, object], message: str):
    with pytest.raises(DomainError) as refused:
        write_qr(replace(WHOLE, **wrong))
    assert refused.value.code in {"rails.qr", "money.amount"}
    assert message in str(refused.value)
