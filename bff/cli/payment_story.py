"""One payment told in order, for whoever has its payer on the telephone. Pure."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from bff.cli.payment_facts import Facts
from server_core.events.model import Event
from server_core.ids import public
from server_core.ledger.model import Code
from server_core.money import Money
from server_core.payments.model import Attempt, State

_SENTENCES: Final[dict[str, str]] = {
    "payment.created": "asked for",
    "payment.processing": "sent to the rail; the money is set aside until it answers",
    "payment.requires_action": "the payer must act",
    "payment.rerouted": "the rail was not reached, nothing was debited: the next one is tried",
    "payment.authorized": "set aside, to be captured later",
    "payment.capturing": "a capture is asked for",
    "payment.captured": "captured",
    "payment.capture_failed": "the capture took nothing",
    "payment.succeeded": "paid",
    "payment.attempt_failed": "nothing was debited; the payer may try another way",
    "payment.canceled": "canceled",
    "payment.expired": "its time was over",
    "payment.voided": "the rail has let go of what was set aside",
    "payment.conflicted": "the rail denies what it had confirmed: a person decides",
    "payment.conflict_over": "the rail confirms it again",
    "payment.conflict_decided": "an operator decided how the conflict ends",
    "payment.compensated": "the reversal came late: the payer was paid for it",
    "payment.compensation_refused": "the reversal came late, and the payer's wallet could not be paid for it",
    "refund.created": "a refund is asked for",
    "refund.succeeded": "the refund has arrived",
    "refund.failed": "the refund failed; the money is the payee's again",
    "stray.found": "the rail took money that no payment waits for: held apart",
    "stray.given_back": "the rail has given that money back",
}
_MODES: Final = {
    "single": "moved",
    "pending": "set aside",
    "post": "moved for good",
    "void": "let go",
}
_WHY: Final = {
    "only_one": "the only one that could",
    "best_score": "it did best of late",
    "preferred": "the payee prefers it",
    "hedge": "tried now and then, lest nobody learns that it is better",
    "probe": "tried to see whether it is back",
}


def summary(facts: Facts) -> list[str]:
    """The payment as it stands, in a few lines."""
    intent = facts.intent
    unknown = "somebody's own UPI app" if intent.captured else "nobody known yet"
    payer = facts.names.get(intent.payer, "?") if intent.payer else unknown
    lines = [
        f"{public('pay', intent.id)}  {_money(facts, intent.amount)}  {intent.state}",
        f"  {payer} pays {facts.names.get(intent.payee, '?')}, captured {intent.capture_method}",
        f"  captured {_money(facts, intent.captured)}, set aside {_money(facts, intent.capturable)},"
        f" refunded {_money(facts, intent.refunded)}",
    ]
    if intent.state is State.REQUIRES_ACTION:
        lines.append(f"  waits for the payer at {intent.action}")
    lines += [f"  {_attempt(one)}" for one in facts.attempts]
    return lines


def story(facts: Facts) -> list[str]:
    """All of it in the order in which it happened; times are UTC."""
    happened = sorted((*_told(facts), *_moved(facts), *_webhooks(facts)), key=lambda one: one[:2])
    lines, day = [*summary(facts), ""], ""
    for at, rank, text in happened:
        when = datetime.fromtimestamp(at / 1000, UTC)
        if f"{when:%Y-%m-%d}" != day:
            day = f"{when:%Y-%m-%d}"
            lines.append(day)
        clock = f"{when:%H:%M:%S}.{at % 1000:03d}"
        lines.append(f"  {clock}  {'' if rank == 0 else '    '}{text}")
    return lines


def _attempt(one: Attempt) -> str:
    over = f" over {one.rail}" if one.rail else ""
    why = _why(one)
    by = f" from {one.hint}" if one.hint else ""
    code = f", code {one.code}" if one.code else ""
    reference = f", reference {one.rail_reference}" if one.rail_reference else ""
    asked = f", asked {one.asked} times" if one.asked else ""
    return f"#{one.number} {one.operation} by {one.method}{over}{why}{by}: {one.state}{code}{reference}{asked}"


def _why(one: Attempt) -> str:
    if one.route is None:
        return ""
    reason = json.loads(one.route)["reason"]
    return f" ({_WHY.get(reason, reason)})"


def _told(facts: Facts) -> Iterator[tuple[int, int, str]]:
    for event in facts.events:
        text = _SENTENCES.get(event.type, event.type)
        yield (
            event.recorded_at,
            0,
            text + _by(facts, event),
        )


def _by(facts: Facts, event: Event) -> str:
    number = event.payload.get("attempt")
    known = [one for one in facts.attempts if str(one.number) == number]
    amount = f" ({_money(facts, int(event.payload['amount']))})" if event.type in _AMOUNTS else ""
    return amount + (f" [{_attempt(known[0])}]" if known else "")


_AMOUNTS: Final = frozenset({"refund.created", "stray.found", "payment.created"})


def _moved(facts: Facts) -> Iterator[tuple[int, int, str]]:
    for row in facts.transfers:
        what = _MODES.get(row["mode"], row["mode"])
        refused = "" if row["result"] == "created" else f" refused: {row['result']}"
        amount = _money(facts, row["amount"]) + " " if row["amount"] else ""
        way = ""
        if row["debit"] and row["credit"]:
            way = f": {_account(facts, row['debit'])} → {_account(facts, row['credit'])}"
        yield row["recorded_at"], 1, f"ledger: {amount}{what}{way}{refused}"


def _account(facts: Facts, key: UUID) -> str:
    account = facts.accounts.get(key)
    if account is None:
        return "?"
    if account.code in {Code.WALLET, Code.PAYABLE}:
        return f"{account.code} of {facts.names.get(UUID(account.owner), account.owner)}"
    return f"{account.code}:{account.owner}"


def _webhooks(facts: Facts) -> Iterator[tuple[int, int, str]]:
    for one in facts.messages:
        tries = "1 try" if one.attempts == 1 else f"{one.attempts} tries"
        at = one.done_at or one.created_at
        yield at, 2, f"webhook {one.type} to {facts.urls[one.endpoint]}: {one.state} after {tries}"


def _money(facts: Facts, minor: int) -> str:
    return str(Money(minor=minor, currency=facts.intent.currency))
