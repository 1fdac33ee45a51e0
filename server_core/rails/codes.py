"""What each rail's codes mean for the money, as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from server_core.rails.model import Outcome

_YES, _NO, _ASK = Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """A rail's codes: how one looks, and what those that we know say, each with its meaning."""

    form: re.Pattern[str]
    known: Mapping[str, tuple[Outcome, str]]

    def meaning(self, code: str) -> Outcome:
        """The outcome of a verbatim code; one that nobody listed says nothing about the debit."""
        return self.known.get(code, (_ASK, ""))[0]


UPI: Final = Codes(
    form=re.compile(r"[A-Z0-9]{2,4}"),
    known={
        "00": (_YES, "debited and credited"),
        "Z9": (_NO, "insufficient funds"),
        "ZM": (_NO, "wrong PIN"),
        "Z6": (_NO, "PIN tries exceeded"),
        "Z7": (_NO, "frequency limit exceeded"),
        "Z8": (_NO, "per-transaction limit exceeded"),
        "ZU": (_NO, "bank limit exceeded"),
        "ZA": (_NO, "declined by the customer"),
        "ZE": (_NO, "not permitted to this VPA"),
        "ZG": (_NO, "VPA restricted by the customer"),
        "ZH": (_NO, "invalid VPA"),
        "59": (_NO, "risk, the remitter's side"),
        "K1": (_NO, "risk, the beneficiary's side"),
        "U16": (_NO, "risk, the network's side"),
        "B1": (_NO, "mobile number changed"),
        "B6": (_NO, "mismatch in the details"),
        "XH": (_NO, "no such account, the remitter's"),
        "XI": (_NO, "no such account, the beneficiary's"),
        "XB": (_NO, "invalid transaction, the remitter's side"),
        "XC": (_NO, "invalid transaction, the beneficiary's side"),
        "YE": (_NO, "account frozen, the remitter's"),
        "YF": (_NO, "account frozen, the beneficiary's"),
        "ZX": (_NO, "account dormant, the remitter's"),
        "ZY": (_NO, "account dormant, the beneficiary's"),
        "U69": (_NO, "the request to the payer expired"),
        "01": (_ASK, "pending"),
        "RB": (_ASK, "deemed: debited, the credit's outcome is not known"),
        "96": (_ASK, "deemed: debited, the credit's outcome is not known"),
        "BT": (_ASK, "deemed: the beneficiary is not available"),
        "UT": (_ASK, "deemed: the remitter is not available"),
        "U66": (_ASK, "device mismatch: check first"),
        "U67": (_ASK, "debit time-out: check first"),
        "U68": (_ASK, "credit time-out: check first"),
        "U30": (_ASK, "debit failed: check first"),
        "UP": (_ASK, "PSP time-out: check first"),
        "UB": (_ASK, "PSP exception: check first"),
    },
)
"""Codes and meanings as the PSPs publish them for NPCI's response codes. What may have been
debited is asked about before anything else moves."""

CARD: Final = Codes(
    form=re.compile(r"[0-9]{2}"),
    known={
        "00": (_YES, "approved"),
        "01": (_NO, "refer to the issuer"),
        "03": (_NO, "invalid merchant"),
        "04": (_NO, "pick up the card"),
        "05": (_NO, "do not honour"),
        "12": (_NO, "invalid transaction"),
        "13": (_NO, "invalid amount"),
        "14": (_NO, "no such card"),
        "15": (_NO, "no such issuer"),
        "30": (_NO, "format error"),
        "41": (_NO, "lost card"),
        "43": (_NO, "stolen card"),
        "51": (_NO, "insufficient funds"),
        "54": (_NO, "expired card"),
        "55": (_NO, "wrong PIN"),
        "57": (_NO, "not permitted to the cardholder"),
        "58": (_NO, "not permitted to the terminal"),
        "59": (_NO, "suspected fraud"),
        "61": (_NO, "exceeds the amount limit"),
        "62": (_NO, "restricted card"),
        "65": (_NO, "exceeds the frequency limit"),
        "75": (_NO, "PIN tries exceeded"),
        "06": (_ASK, "error: check first"),
        "09": (_ASK, "in progress"),
        "68": (_ASK, "the issuer's answer came too late: check first"),
        "91": (_ASK, "issuer or switch not available: check first"),
        "92": (_ASK, "no way to the issuer: check first"),
        "94": (_ASK, "sent twice: the first counts"),
        "96": (_ASK, "system malfunction: check first"),
    },
)
"""ISO 8583 field 39 as acquirers publish it. Where the issuer may have set the money aside although
no approval came back, the network is asked before another card is tried."""

NETBANKING: Final = Codes(
    form=re.compile(r"[A-Z]{2,20}"),
    known={
        "SUCCESS": (_YES, "debited"),
        "INITIATED": (Outcome.ACTION, "the payer has not decided on the bank's page yet"),
        "FAILED": (_NO, "the bank refused"),
        "CANCELLED": (_NO, "the payer refused, or it was called back before the payer decided"),
        "EXPIRED": (_NO, "the payer did not decide in time"),
        "PENDING": (_ASK, "the bank does not say yet"),
        "ERROR": (_ASK, "the bank failed in between: check first"),
    },
)
"""Words of upi-core's netbanking door: banks have no common codes."""
