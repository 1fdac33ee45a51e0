"""What a payer's device signs next, and when it must not sign at all. Pure."""

from offline.model import NO_PREV, Voucher
from offline.wire import SignedRequest


def next_voucher(
    request: SignedRequest, *, counter: int, cum: int, last_h: bytes, now_s: int
) -> Voucher:
    """The payload for `request` after the last reserved one (`counter`, `cum`, `last_h`)."""
    return Voucher(
        counter=counter + 1,
        amount=request.body.amount,
        cum=cum + request.body.amount,
        payee=request.cert.payee,
        terminal=request.cert.terminal,
        nonce=request.body.nonce,
        ts=now_s,
        prev=last_h[:8] if counter else NO_PREV,
    )


def rolled_back(counted: int, stored: int, *, reserved: bool) -> bool:
    """Whether the key's counter and the file's disagree in a way that no crash explains.

    A crash leaves the file one ahead of the key, or level with it, and then with a `reserved` row for
    its counter; anything else means that one of the two was put back.
    """
    return counted != stored and not (counted + 1 == stored and reserved)
