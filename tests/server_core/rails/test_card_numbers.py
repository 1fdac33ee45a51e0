import pytest

from server_core.rails.card_numbers import holds_card_number


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "tok_4111111111111111",
        "pan=4111-1111-1111-1111;",
        "4111 1111 1111 1111",
        "4111.1111.1111.1111",
        "x4111111111111111y",
        "378282246310005",
        "\uff16\uff10" + "\uff11" * 13 + "\uff17",
        "٤١١١١١١١١١١١١١١١",
        "4111\u00a01111\u00a01111\u00a01111",
        '{"note": "it is 5555555555554444, thanks"}',
        "6304000000000000",
        "0" * 32 + " 4111111111111111",
        "2 of 42 4111 1111 1111 1111 12/27 123",
    ],
)
def test_a_card_s_number_is_found(text: str):
    assert holds_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111111111111112",
        "41111111111",
        "tok_visa_4242",
        "HUN018F3C2E411111111111111180004567",
        "018f3c2e-4111-4111-8111-411111111111",
        "15000",
        "000000000000000000",
        "622415000001234567890123",
        "9876543210@okbank",
    ],
)
def test_what_is_none_is_let_be(text: str):
    assert not holds_card_number(text)
