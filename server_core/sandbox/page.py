"""The bank's page, on which the payer approves or declines: one calm sheet of HTML, no script."""

from html import escape
from typing import Final

from server_core.sandbox.banks import PAGE
from server_core.sandbox.model import Entry

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

_STYLE: Final = """
body { margin: 0; background: #f4f4f1; color: #222; font: 17px/1.5 system-ui, sans-serif }
main { max-width: 24rem; margin: 12vh auto; padding: 2rem; background: #fff; border-radius: 8px }
h1 { margin: 0 0 1.5rem; font-size: 1rem; font-weight: 600; color: #555 }
.amount { margin: 0; font-size: 2rem }
.payee { margin: 0 0 2rem }
button { font: inherit; width: 100%; padding: .7rem; margin-top: .7rem; border-radius: 6px;
  border: 1px solid #205c40; background: #205c40; color: #fff }
button.no { background: #fff; color: #222; border-color: #999 }
small { display: block; margin-top: 2rem; color: #666 }
"""
_DECIDED: Final = {
    "CANCELLED": "You declined. Nothing was debited.",
    "EXPIRED": "The time is over. Nothing was debited.",
    "FAILED": "The bank refused. Nothing was debited.",
}


def page(entry: Entry, waiting: str | None) -> str:
    """The question while it is open, then what became of it."""
    order = entry.order
    if order is None:
        raise AssertionError("a tombstone has no page")
    amount = f"INR {order.amount_minor // 100}.{order.amount_minor % 100:02d}"
    payee = escape(str(order.said["payee_name"]) or "a shop")
    bank = escape(str(order.said["bank"]))
    if entry.later == waiting:
        below = (
            f'<form method="post" action="{PAGE}{entry.id}">'
            '<button name="decision" value="approve">Approve</button>'
            '<button name="decision" value="decline" class="no">Decline</button></form>'
        )
    else:
        done = _DECIDED.get(entry.later, "You approved. You may go back to the shop.")
        below = f'<p role="status">{done}</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{bank}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{bank}</h1><p class="amount">{amount}</p><p class="payee">to {payee}</p>{below}'
        "<small>upi-core sandbox: no real bank and no real money</small></main></body></html>"
    )
