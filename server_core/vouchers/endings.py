"""How a hold ends: what close gives to whom, what a void gives back, who may claim the rest. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from offline.journal import CloseReason
from offline.model import VoidReason
from server_core.errors import DomainError, conflict, not_found
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.vouchers.model import Allowance, HeldVoid, Seen, Settled, State, Unclaimed
from server_core.vouchers.rules import Closing, close

_UNPAID: Final = frozenset({CloseReason.EXPIRED, CloseReason.CANCELLED})

Challenge = tuple[bytes, bytes]
"""(terminal, nonce)."""


class Known(Struct, frozen=True, kw_only=True):
    """What is known of one allowance when it closes.

    `settled`: by h. `voids`: (h, terminal, payee) of every void held, applied or not. `closed`: why a
    request ended without a voucher. `paid`: challenges that a voucher was settled for.
    """

    seen: Sequence[Seen]
    witnessed: Sequence[Seen]
    settled: Collection[bytes]
    voids: Collection[tuple[bytes, bytes, bytes]]
    closed: Mapping[Challenge, str]
    paid: Collection[Challenge]


def part(allowance: Allowance, known: Known) -> Closing:
    """Where the rest of the hold goes, by all that is known of its vouchers."""
    voided = {
        one.link.h
        for one in (*known.seen, *known.witnessed)
        if (one.link.h, one.terminal, one.payee) in known.voids
    }
    lost = [one for one in known.seen if one.claimable and one.link.h not in voided]
    shown = [one for one in known.witnessed if one.link.h not in known.settled]
    let_go = {one.link.h for one in shown if _let_go((one.terminal, one.nonce), known)}
    return close(allowance, lost, shown, voided | let_go)


def _let_go(challenge: Challenge, known: Known) -> bool:
    """Whether a request ended without the voucher: closed unpaid, or paid by another one."""
    return challenge in known.paid or known.closed.get(challenge) in _UNPAID


def closed(allowance: Allowance, parting: Closing) -> Allowance:
    return replace(
        allowance,
        state=State.CLOSED,
        claimed=sum(amount for _, amount in parting.claims),
        unclaimed=sum(amount for _, amount in parting.unclaimed),
        returned=parting.returned,
    )


class Due(Struct, frozen=True, kw_only=True):
    """A void whose refund may be posted now: `amount` is what was not refunded already, maybe 0."""

    void: HeldVoid
    settled: Settled
    amount: int


def refunds(
    waiting: Iterable[HeldVoid],
    paid: Mapping[bytes, Settled],
    terminals: Mapping[bytes, Terminal],
    refunded: Mapping[bytes, int],
    most: int,
) -> list[Due]:
    """Voids that move money now, of vouchers that a shop was paid for; `paid`, `refunded` by h.

    What asks for an operator waits for one; `most` is what a terminal may give back by itself.
    """
    found = []
    left = {h: one.amount - refunded.get(h, 0) for h, one in paid.items()}
    for void in waiting:
        settled, terminal = paid.get(void.h), terminals.get(void.terminal)
        if settled is None or terminal is None or not _own(void, settled, terminal):
            continue
        if not void.approved and asks_operator(void, settled.amount, terminal.state, most):
            continue
        found.append(Due(void=void, settled=settled, amount=left[void.h]))
        left[void.h] = 0
    return found


def asks_operator(void: HeldVoid, amount: int, terminal: TerminalState, most: int) -> bool:
    """Whether a void waits for an operator: from a revoked terminal, or above what one may give back."""
    return terminal is TerminalState.REVOKED or (
        void.reason == VoidReason.RETURNED and amount > most
    )


def _own(void: HeldVoid, settled: Settled, terminal: Terminal) -> bool:
    """Whether the void is by the voucher's own terminal and payee, and of this very voucher."""
    return (settled.terminal, terminal.payee) == (void.terminal, void.payee) and (
        settled.aid,
        settled.counter,
    ) == (void.aid, void.counter)


def check_claim(
    found: Unclaimed,
    shop: UUID,
    merchant: UUID | None,
    sent: Mapping[bytes, Seen],
    voids: Collection[tuple[bytes, bytes, bytes]],
) -> None:
    """Whether the merchant may have what waits: its own terminal sent the voucher and gave nothing back.

    Raises vouchers.unclaimed_unknown, vouchers.unclaimed_over.
    """
    if shop != merchant or found.h not in sent:
        raise unclaimed_unknown()
    if found.paid_to == "payer":
        raise conflict("vouchers.unclaimed_over", "its time is over: it went back to the payer")
    own = (found.h, found.terminal, sent[found.h].payee)
    if found.paid_to is None and own in voids:
        raise conflict("vouchers.unclaimed_over", "your terminal gave it back to the payer")


def unclaimed_unknown() -> DomainError:
    return not_found("vouchers.unclaimed_unknown", "nothing of yours waits under this name")
