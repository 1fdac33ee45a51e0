"""What the codes of UPI mean for the money, as data."""

from typing import Final

from server_core.rails.model import Outcome

SUCCEEDED: Final = frozenset({"00"})

DECLINED: Final = frozenset(
    {
        "Z9",  # insufficient funds
        "ZM", "Z6",  # wrong PIN; PIN tries exceeded
        "Z7", "Z8", "ZU",  # frequency, per-transaction, bank limit
        "ZA",  # declined by the customer
        "ZE", "ZG", "ZH",  # not permitted to this VPA; restricted by the customer; invalid VPA
        "59", "K1", "U16",  # risk: the remitter's, the beneficiary's, the network's
        "B1", "B6",  # mobile number changed; mismatch in the details
        "XH", "XI",  # no such account
        "XB", "XC",  # invalid transaction
        "YE", "YF", "ZX", "ZY",  # frozen; dormant
        "U69",  # the request to the payer expired
    }
)  # fmt: skip
"""Nothing was debited. Codes and meanings as the PSPs publish them for NPCI's response codes."""

UNKNOWN: Final = frozenset(
    {
        "01",  # pending
        "RB", "96", "BT", "UT",  # deemed: debited, the credit's outcome is not known
        "U66", "U67", "U68",  # device mismatch, debit time-out, credit time-out: check first
        "U30", "UP", "UB",  # debit failed, PSP time-out, PSP exception: check first
    }
)  # fmt: skip
"""Debited, perhaps: the switch is asked again before anything else moves."""


def meaning(code: str) -> Outcome:
    """The outcome of a verbatim code; one that nobody listed says nothing about the debit."""
    if code in SUCCEEDED:
        return Outcome.SUCCEEDED
    return Outcome.DECLINED if code in DECLINED else Outcome.UNKNOWN
