"""Every verdict of OV1 and, for the terminal's operator, the sentence that goes with it.

API: `Verdict` (a StrEnum; its value is what travels and is stored), `Refused(verdict)` (how readers
inside `offline` give up), `operator_sentence(verdict)`, `RETRYABLE` (send the same again later).
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Verdict(StrEnum):
    """What a check decided. Only ACCEPTED and DUPLICATE are good news."""

    ACCEPTED = "OV_ACCEPTED"
    DUPLICATE = "DUPLICATE"

    # Reading (verify 1)
    MALFORMED = "OV_MALFORMED"
    NON_CANONICAL = "OV_NON_CANONICAL"
    UNSUPPORTED_VERSION = "OV_UNSUPPORTED_VERSION"

    # The terminal's own record (2), the issuer's key (3), whose and which sale (4), when (5)
    VOIDED = "OV_VOIDED"
    ALREADY_ACCEPTED = "OV_ALREADY_ACCEPTED"
    ISSUER_KEY_UNKNOWN = "OV_ISSUER_KEY_UNKNOWN"
    ISSUER_KEY_EXPIRED = "OV_ISSUER_KEY_EXPIRED"
    PAYEE_MISMATCH = "OV_PAYEE_MISMATCH"
    CHALLENGE_UNKNOWN = "OV_CHALLENGE_UNKNOWN"
    CHALLENGE_USED = "OV_CHALLENGE_USED"
    CHALLENGE_EXPIRED = "OV_CHALLENGE_EXPIRED"
    AMOUNT_MISMATCH = "OV_AMOUNT_MISMATCH"
    CURRENCY_MISMATCH = "OV_CURRENCY_MISMATCH"
    NOT_YET_VALID = "OV_NOT_YET_VALID"
    ALLOWANCE_EXPIRED = "OV_ALLOWANCE_EXPIRED"

    # Limits (6), revocation (7), signatures (8), the other vouchers (9), exposure (10)
    POLICY_EXCEEDED = "OV_POLICY_EXCEEDED"
    OVER_VOUCHER_LIMIT = "OV_OVER_VOUCHER_LIMIT"
    COUNTER_RANGE = "OV_COUNTER_RANGE"
    OVER_ALLOWANCE_CAP = "OV_OVER_ALLOWANCE_CAP"
    CUMULATIVE_INCONSISTENT = "OV_CUMULATIVE_INCONSISTENT"
    REVOKED = "OV_REVOKED"
    ALLOWANCE_SIGNATURE = "OV_ALLOWANCE_SIGNATURE"
    VOUCHER_SIGNATURE = "OV_VOUCHER_SIGNATURE"
    DOUBLE_SPEND_LOCAL = "OV_DOUBLE_SPEND_LOCAL"
    ALLOWANCE_EXPOSURE = "OV_ALLOWANCE_EXPOSURE"

    # Before a request is shown: these never refuse a voucher
    CLOCK_UNTRUSTED = "OV_CLOCK_UNTRUSTED"
    SYNC_OVERDUE = "OV_SYNC_OVERDUE"
    FLOOR_LIMIT = "OV_FLOOR_LIMIT"

    # Sync and settlement (the server)
    JOURNAL_GAP = "OV_JOURNAL_GAP"
    JOURNAL_FORK = "OV_JOURNAL_FORK"
    ALLOWANCE_UNKNOWN = "OV_ALLOWANCE_UNKNOWN"
    DOUBLE_SPEND = "OV_DOUBLE_SPEND"
    SETTLEMENT_CLOSED = "OV_SETTLEMENT_CLOSED"
    HOLD_EXHAUSTED = "OV_HOLD_EXHAUSTED"
    REVOCATION_NOT_APPLIED = "OV_REVOCATION_NOT_APPLIED"

    # The payer's device reading a request, and every other signed thing
    CERTIFICATE_EXPIRED = "OV_CERTIFICATE_EXPIRED"
    CERTIFICATE_SIGNATURE = "OV_CERTIFICATE_SIGNATURE"
    REQUEST_SIGNATURE = "OV_REQUEST_SIGNATURE"
    REQUEST_REUSED = "OV_REQUEST_REUSED"
    DEVICE_ROLLED_BACK = "OV_DEVICE_ROLLED_BACK"
    SIGNATURE = "OV_SIGNATURE"
    OTHER_SUBJECT = "OV_OTHER_SUBJECT"
    STALE = "OV_STALE"


class Refused(Exception):  # noqa: N818 - a verdict, not an error: public functions return it instead
    """How a reader gives up inside `offline`: carries the verdict that the caller returns."""

    def __init__(self, verdict: Verdict, reason: str = "") -> None:
        super().__init__(f"{verdict}: {reason}" if reason else verdict.value)
        self.verdict = verdict


RETRYABLE: Final = frozenset({Verdict.JOURNAL_GAP, Verdict.REVOCATION_NOT_APPLIED})
"""Sync verdicts that settle nothing and end nothing: the terminal mends the cause and sends again."""

_NOT_PAID: Final = "No money has moved for this sale."
_SENTENCES: Final = MappingProxyType({
    Verdict.ACCEPTED: "Paid: the sale is recorded here and will be settled at the next sync.",
    Verdict.DUPLICATE: "This payment was settled before; its first result stands, nothing moved twice.",
    Verdict.MALFORMED: f"This is not a payment code that can be read. {_NOT_PAID} Scan again.",
    Verdict.NON_CANONICAL: f"The code is not written as a payer's app writes it. {_NOT_PAID} Ask for another way to pay.",
    Verdict.UNSUPPORTED_VERSION: f"The payer's app is newer than this terminal. {_NOT_PAID} Update the terminal or ask for another way to pay.",
    Verdict.VOIDED: "This payment was cancelled at this terminal before: it is NOT paid. Show the payer the cancellation again.",
    Verdict.ALREADY_ACCEPTED: "This code paid an earlier sale here and nothing new was recorded. Look at which sale before you hand over goods.",
    Verdict.ISSUER_KEY_UNKNOWN: f"This terminal does not know who issued the payer's allowance. {_NOT_PAID} Go online to refresh, then ask again.",
    Verdict.ISSUER_KEY_EXPIRED: f"The issuer's key is outside its dates here. {_NOT_PAID} Go online to refresh, then ask again.",
    Verdict.PAYEE_MISMATCH: f"This code pays another shop or another terminal. {_NOT_PAID} Ask the payer to scan this terminal's code.",
    Verdict.CHALLENGE_UNKNOWN: f"This code answers a request that this terminal never made. {_NOT_PAID} Ask the payer to scan the code on the screen.",
    Verdict.CHALLENGE_USED: f"That request was already paid or closed with something else. {_NOT_PAID} Make a new request if the sale is unpaid.",
    Verdict.CHALLENGE_EXPIRED: f"That request had run out. {_NOT_PAID} Give the payer the cancellation and make a new request.",
    Verdict.AMOUNT_MISMATCH: f"The code is for another amount than the sale. {_NOT_PAID} Give the payer the cancellation and ask again.",
    Verdict.CURRENCY_MISMATCH: f"The code is in another currency than the sale. {_NOT_PAID} Ask for another way to pay.",
    Verdict.NOT_YET_VALID: f"The payer's allowance has not begun. {_NOT_PAID} Check the terminal's clock or ask for another way to pay.",
    Verdict.ALLOWANCE_EXPIRED: f"The payer's allowance has run out of time. {_NOT_PAID} The payer must go online for a new one.",
    Verdict.POLICY_EXCEEDED: f"The payer's allowance is larger or longer than the rules permit. {_NOT_PAID} Ask for another way to pay.",
    Verdict.OVER_VOUCHER_LIMIT: f"The amount is above what one offline payment may be. {_NOT_PAID} Ask for another way to pay.",
    Verdict.COUNTER_RANGE: f"The payer has used up the number of offline payments. {_NOT_PAID} The payer must go online.",
    Verdict.OVER_ALLOWANCE_CAP: f"The payer's allowance does not cover this amount. {_NOT_PAID} The payer must go online.",
    Verdict.CUMULATIVE_INCONSISTENT: f"The payer's running total does not add up. {_NOT_PAID} Ask for another way to pay; this was recorded.",
    Verdict.REVOKED: f"The payer's allowance has been stopped. {_NOT_PAID} Ask for another way to pay.",
    Verdict.ALLOWANCE_SIGNATURE: f"The allowance was not signed by its issuer. {_NOT_PAID} Ask for another way to pay.",
    Verdict.VOUCHER_SIGNATURE: f"The payment was not signed by the payer's device, or was damaged. {_NOT_PAID} Scan again.",
    Verdict.DOUBLE_SPEND_LOCAL: f"The payer's device signed two payments with one number. {_NOT_PAID} Ask for another way to pay; both were kept as proof.",
    Verdict.ALLOWANCE_EXPOSURE: f"This terminal holds as much from this payer as it may before a sync. {_NOT_PAID} Go online, then ask again.",
    Verdict.CLOCK_UNTRUSTED: "The terminal's clock cannot be trusted, so no request was shown. Go online once.",
    Verdict.SYNC_OVERDUE: "The terminal has not synced for too long, so no request was shown. Go online.",
    Verdict.FLOOR_LIMIT: "The terminal holds as much unsettled money as it may, so no request was shown. Go online.",
    Verdict.JOURNAL_GAP: "Rows are missing between what the server has and what was sent. Nothing was settled; the terminal sends them again.",
    Verdict.JOURNAL_FORK: "The server holds another history of this terminal. Payments are still judged one by one; payouts wait for the operator.",
    Verdict.ALLOWANCE_UNKNOWN: "The server never issued this allowance. It is not settled; call support.",
    Verdict.DOUBLE_SPEND: "The payer signed another payment with this number and that one came first. It is not settled now; it is paid later if the hold suffices.",
    Verdict.SETTLEMENT_CLOSED: "The allowance was closed before this payment reached the server. It is not settled; claim it from unclaimed money.",
    Verdict.HOLD_EXHAUSTED: "The money set aside for this allowance is used up. This payment is not settled; call support.",
    Verdict.REVOCATION_NOT_APPLIED: "The terminal has not yet taken over the last list of stopped allowances. Nothing was settled; it applies the list and sends again.",
    Verdict.CERTIFICATE_EXPIRED: "This shop's terminal certificate has run out. Nothing was paid; the shop must go online.",
    Verdict.CERTIFICATE_SIGNATURE: "This shop's name is not vouched for by the issuer. Nothing was paid; do not pay here.",
    Verdict.REQUEST_SIGNATURE: "This request was not signed by the shop's terminal. Nothing was paid; scan again.",
    Verdict.REQUEST_REUSED: "This request was seen before with other contents. Nothing was paid; ask the shop for a new one.",
    Verdict.DEVICE_ROLLED_BACK: "This device's record is behind its key. Nothing was paid; go online and take a new allowance.",
    Verdict.SIGNATURE: "The signature is not by the key that it names. Nothing was taken over.",
    Verdict.OTHER_SUBJECT: "This belongs to another terminal, payment or question. Nothing was taken over.",
    Verdict.STALE: "This is older than what is already held. Nothing was taken over.",
})  # fmt: skip


def operator_sentence(verdict: Verdict) -> str:
    """What happened to the money and what to do next, in plain words."""
    return _SENTENCES[verdict]
