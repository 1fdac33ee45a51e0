"""Before a sale: whether a request may be shown at all, and showing or closing it."""

from dataclasses import dataclass

from edge_agent import ussd
from edge_agent.errors import AgentError, VerdictError
from edge_agent.store.terminal_rows import RequestRow
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal, close
from edge_agent.terminal_rules import check_ask
from offline.codec import request_bytes
from offline.journal import CloseReason
from offline.model import NONCE_SIZE, PaymentRequest, Risk
from offline.signing import request_message
from offline.verdicts import Verdict
from offline.wire import SignedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request now on the screen."""

    nonce: bytes
    amount: int
    ccy: str
    text: str
    ttl_s: int
    go_online: bool
    dial: ussd.Dial | None


def ask(terminal: Terminal, amount: int, ccy: str | None = None) -> Asked:
    """Show a request, if this terminal may: clock, sync and floor limit are asked here, not later."""
    currency = ccy if ccy is not None else terminal.ccy
    terminal.close_open(due_only=True)
    with terminal.work() as work:
        risk, go_online = _may_ask(terminal, work, amount, currency)
        nonce = terminal.entropy.bytes(NONCE_SIZE)
        body = request_bytes(
            PaymentRequest(amount=amount, ccy=currency, nonce=nonce, ts=work.now_s)
        )
        signature = terminal.keys.sign_plain(request_message(terminal.me.cert, body))
        text = SignedRequest.of(
            terminal.me.kid, terminal.me.cert, terminal.me.sig_cert, body, signature
        ).to_text()
        deadline_ms = terminal.floor.monotonic_ms() + risk.request_ttl_s * 1000
        work.run(
            "INSERT INTO open_request VALUES (?, ?, ?, ?, ?, ?, ?, 'open', NULL)",
            (nonce, amount, currency, text, work.now_s, terminal.floor.boot, deadline_ms),
        )
        work.state.screen_nonce = nonce
        dial = ussd.offer(terminal, work, nonce, amount, currency)
    return Asked(
        nonce=nonce,
        amount=amount,
        ccy=currency,
        text=text,
        ttl_s=risk.request_ttl_s,
        go_online=go_online,
        dial=dial,
    )


def _may_ask(terminal: Terminal, work: Work, amount: int, ccy: str) -> tuple[Risk, bool]:
    """Refuse with a verdict, or say what may be risked and whether going online soon would be wise."""
    policy = terminal.bundle.policy(ccy) if ccy == terminal.ccy else None
    if policy is None:
        raise VerdictError(Verdict.CURRENCY_MISMATCH)
    risk = policy.risk
    near = check_ask(
        amount,
        state=work.state,
        totals=terminal.store.totals(),
        policy=policy,
        not_after=terminal.certificate.not_after,
        now_s=work.now_s,
        clock_trusted=terminal.floor.trusted(
            behind_s=risk.clock_behind_s, ahead_s=risk.clock_ahead_s
        ),
    )
    return risk, near or terminal.entropy.below(risk.online_in) == 0


def cancel(
    terminal: Terminal, nonce: bytes | None = None, *, paid_online: bool = False
) -> RequestRow:
    """Close an open request, by default the one on the screen, and journal why."""
    terminal.close_open(due_only=True)
    with terminal.work() as work:
        wanted = nonce if nonce is not None else work.state.screen_nonce
        row = terminal.store.request(wanted) if wanted is not None else None
        if row is None or row.state != "open":
            raise AgentError("edge.no_open_request", "there is no open request to close")
        reason = CloseReason.PAID_ONLINE if paid_online else CloseReason.CANCELLED
        close(work, row.nonce, reason)
    return row
