import pytest

from server_core.rails.router import Reason, choose


@pytest.mark.parametrize(
    ("method", "currency", "connected", "rail", "possible", "reason"),
    [
        ("book", "KWD", (), None, True, Reason.ON_US),
        ("upi", "INR", ("upi",), "upi", True, Reason.NAMED_BY_PAYER),
        ("upi", "USD", ("upi",), "upi", False, Reason.CURRENCY),
        ("upi", "INR", (), "upi", False, Reason.NOT_CONNECTED),
        ("card", "USD", ("upi", "card"), "card", True, Reason.NAMED_BY_PAYER),
        ("card", "INR", ("upi",), "card", False, Reason.NOT_CONNECTED),
        ("netbanking", "USD", ("netbanking",), "netbanking", False, Reason.CURRENCY),
        ("cheque", "INR", ("upi",), None, False, Reason.UNKNOWN_METHOD),
    ],
)
def test_the_choice_and_its_reason(
    method: str,
    currency: str,
    connected: tuple[str, ...],
    rail: str | None,
    possible: bool,
    reason: Reason,
):
    route = choose(method, currency, connected)
    assert (route.rail, route.possible, route.reason) == (rail, possible, reason)
