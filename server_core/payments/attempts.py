"""An attempt: what pays, what a rail's answer makes of it, and the transfers that it moves. Pure."""

import re
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from server_core.errors import invalid
from server_core.idempotency.model import LEASE_MS, Claim
from server_core.ids import derived
from server_core.ledger.model import Code, Mode, Transfer, account_id
from server_core.parties.model import MONEY_ACCOUNT, Kind, Party
from server_core.payments.model import (
    Attempt,
    AttemptState,
    CaptureMethod,
    Confirm,
    Intent,
    Method,
    Operation,
)
from server_core.rails import rules as rail_rules
from server_core.rails.card_numbers import holds_card_number
from server_core.rails.connected import Choice
from server_core.rails.doors import txn_id
from server_core.rails.model import Outcome as RailOutcome
from server_core.rails.model import RailOrder
from server_core.rails.upi_links import MAX_NOTE, PayLink, pay_link

HOUSE: Final = "hundi"
"""Whose the accounts are that belong to nobody else."""

_INSTRUMENT: Final[dict[Method, tuple[str, re.Pattern[str], str]]] = {
    Method.UPI: (
        "payerVpa",
        re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}", re.ASCII),
        "a UPI payment needs the payer's address, name@bank",
    ),
    Method.CARD: (
        "cardToken",
        re.compile(r"tok_[A-Za-z0-9_]{1,60}", re.ASCII),
        "a card payment needs the card's token, tok_…, never its number",
    ),
    Method.NETBANKING: (
        "bank",
        re.compile(r"[A-Za-z0-9._]{2,32}", re.ASCII),
        "a payment at a bank needs the bank's code",
    ),
}
"""What pays by each method: the field that says it, its shape, and what is missing in words."""

TOOK: Final = frozenset({RailOutcome.SUCCEEDED, RailOutcome.AUTHORIZED})
DENIES: Final = frozenset({RailOutcome.DECLINED, RailOutcome.REVERSED, RailOutcome.NOT_FOUND})
"""What says that the money was taken or set aside, and what says that it was not."""

NOTHING_MOVED: Final = frozenset(
    {AttemptState.DECLINED, AttemptState.NOT_SENT, AttemptState.REVERSED}
)

LANDS: Final[dict[Operation, dict[RailOutcome, AttemptState]]] = {
    Operation.PAY: {
        RailOutcome.SUCCEEDED: AttemptState.SUCCEEDED,
        RailOutcome.AUTHORIZED: AttemptState.SUCCEEDED,
        RailOutcome.ACTION: AttemptState.REQUIRES_ACTION,
        RailOutcome.DECLINED: AttemptState.DECLINED,
        RailOutcome.REVERSED: AttemptState.REVERSED,
        RailOutcome.NOT_SENT: AttemptState.NOT_SENT,
        RailOutcome.NOT_FOUND: AttemptState.NOT_SENT,
        RailOutcome.UNKNOWN: AttemptState.UNKNOWN,
    },
    Operation.CAPTURE: {
        RailOutcome.SUCCEEDED: AttemptState.SUCCEEDED,
        RailOutcome.DECLINED: AttemptState.DECLINED,
        RailOutcome.REVERSED: AttemptState.DECLINED,
        RailOutcome.NOT_SENT: AttemptState.NOT_SENT,
        RailOutcome.NOT_FOUND: AttemptState.NOT_SENT,
    },
    Operation.VOID: {
        RailOutcome.SUCCEEDED: AttemptState.SUCCEEDED,
        RailOutcome.REVERSED: AttemptState.SUCCEEDED,
        RailOutcome.DECLINED: AttemptState.SUCCEEDED,
        RailOutcome.NOT_FOUND: AttemptState.SUCCEEDED,
    },
}
"""What a rail's answer makes of an attempt. What is not listed leaves it unknown. A void is done when
nothing is set aside any more, whoever let it go, or when a part was captured: then its rail lets the
rest go by itself."""


def one_instrument(method: Method, **said: str | None) -> str | None:
    """What pays, of the fields that a request has for it; raises payments.instrument for another's."""
    field = _INSTRUMENT[method][0] if method in _INSTRUMENT else None
    for name, value in said.items():
        if value is not None and name != field:
            raise invalid("payments.instrument", f"{method} takes no {name}", field=name)
    return said.get(field) if field else None


def check_instrument(command: Confirm) -> None:
    if command.method not in _INSTRUMENT:
        if command.instrument is not None:
            raise invalid(
                "payments.instrument", f"{command.method} takes no address, token or bank"
            )
        return
    field, shape, missing = _INSTRUMENT[command.method]
    said = command.instrument or ""
    # A VPA may be an account's number at a bank, and is not kept: only what is kept is looked at.
    number = command.method is not Method.UPI and holds_card_number(said)
    if number or not shape.fullmatch(said):
        raise invalid("payments.instrument", missing, field=field)


def bank_of(command: Confirm) -> str:
    """Whose health the router looks at beside the rail's: a VPA's handle, a bank; else nothing."""
    if command.method is Method.UPI:
        return (command.instrument or "").partition("@")[2].lower()
    return (command.instrument or "") if command.method is Method.NETBANKING else ""


def hint_of(command: Confirm) -> str | None:
    """Enough of what pays for its owner to know it again: `as***@okbank`, a bank's code."""
    if command.method is Method.NETBANKING:
        return command.instrument
    if command.method is not Method.UPI or command.instrument is None:
        return None
    name, _, bank = command.instrument.partition("@")
    return f"{name[: min(2, len(name) - 1)]}***@{bank}"


def attempt_id(intent: UUID, number: int) -> UUID:
    return derived("attempt", intent, number)


def follow_up(
    intent: Intent,
    hold: Attempt,
    operation: Operation,
    amount: int,
    claim: Claim | None,
    now_ms: int,
    *,
    final: bool = True,
) -> Attempt:
    """What is done with the money that `hold` set aside; over `book` it is done at once."""
    at_once = hold.rail is None
    return Attempt(
        id=attempt_id(intent.id, intent.attempts + 1),
        intent=intent.id,
        number=intent.attempts + 1,
        operation=operation,
        amount=amount,
        final=final,
        method=hold.method,
        rail=hold.rail,
        state=AttemptState.SUCCEEDED if at_once else AttemptState.SENT,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None if at_once else now_ms + (LEASE_MS if claim else 0),
        scope=claim.scope if claim else "",
        key=claim.key if claim else "",
        verb=claim.verb if claim else "",
        body=claim.body if claim else b"",
        started_at=now_ms,
        ended_at=now_ms if at_once else None,
    )


def new_attempt(
    command: Confirm, intent: Intent, claim: Claim, choice: Choice, now_ms: int
) -> Attempt:
    return Attempt(
        id=attempt_id(intent.id, intent.attempts + 1),
        intent=intent.id,
        number=intent.attempts + 1,
        amount=intent.amount,
        method=command.method,
        rail=choice.decision.rail,
        route=choice.record,
        hint=hint_of(command),
        state=AttemptState.SENT,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None,
        scope=claim.scope,
        key=claim.key,
        verb=claim.verb,
        body=claim.body,
        started_at=now_ms,
        ended_at=None,
    )


def rerouted(intent: Intent, attempt: Attempt, choice: Choice, now_ms: int) -> Attempt:
    """The same try over the next rail: the one before it provably never left."""
    return replace(
        attempt,
        id=attempt_id(intent.id, intent.attempts + 1),
        number=intent.attempts + 1,
        rail=choice.decision.rail,
        route=choice.record,
        state=AttemptState.SENT,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=now_ms + LEASE_MS,
        started_at=now_ms,
        ended_at=None,
    )


def verdict(attempt: Attempt, intent: Intent, outcome: RailOutcome) -> AttemptState:
    """The state that a rail's answer brings an open attempt to.

    A rail that took what was only to be set aside, or set aside what was to be taken, contradicts
    what it was asked for: that is asked about again, and reversed in time.
    """
    state = LANDS[attempt.operation].get(outcome, AttemptState.UNKNOWN)
    if attempt.state is AttemptState.REVERSING:
        # The reversal may have been done although nobody heard of it: it is asked for until it is.
        return state if state in NOTHING_MOVED else AttemptState.REVERSING
    if attempt.operation is Operation.PAY and state is AttemptState.SUCCEEDED:
        aside = outcome is RailOutcome.AUTHORIZED
        if aside == (intent.capture_method is CaptureMethod.AUTOMATIC):
            return AttemptState.UNKNOWN
    if state is AttemptState.UNKNOWN and attempt.state is AttemptState.REQUIRES_ACTION:
        return AttemptState.REQUIRES_ACTION
    return state


def source_account(attempt: Attempt, payer: UUID | None, currency: str) -> UUID:
    """Where the money comes from: the payer's wallet, or what the rail owes us."""
    if attempt.rail is None:
        return account_id(Code.WALLET, payer, currency)
    return account_id(Code.CLEARING, attempt.rail, currency)


def transfer(intent: Intent, attempt: Attempt, payer: UUID | None, payee: Party) -> Transfer:
    """The attempt's transfer: at once over `book`; pending, without expiry, over a rail or until captured."""
    at_once = attempt.rail is None and intent.capture_method is CaptureMethod.AUTOMATIC
    return Transfer(
        id=hold_id(intent, attempt.number),
        mode=Mode.SINGLE if at_once else Mode.PENDING,
        debit=source_account(attempt, payer, intent.currency),
        credit=account_id(MONEY_ACCOUNT[payee.kind], payee.id, intent.currency),
        amount=intent.amount,
        ledger=intent.currency,
        code=intent.purpose,
        reference=str(intent.id),
    )


def order(intent: Intent, attempt: Attempt, instrument: str | None, payee: Party) -> RailOrder:
    """What the rail is asked to do; the attempt's id is the rail's idempotency key."""
    return RailOrder(
        attempt=attempt.id,
        amount_minor=attempt.amount,
        currency=intent.currency,
        instrument=instrument or "",
        payee_vpa=vpa_of(payee),
        payee_name=payee.name,
        mcc=payee.mcc,
        note=intent.description,
        capture=intent.capture_method is CaptureMethod.AUTOMATIC,
    )


def link(intent: Intent, attempt: Attempt, payee: Party) -> str:
    """The `upi://pay` link that any app pays the attempt by; its `tr` is the attempt."""
    return pay_link(
        PayLink(
            payee_vpa=vpa_of(payee),
            payee_name=payee.name,
            reference=txn_id(attempt.id),
            amount_minor=attempt.amount,
            mcc=payee.mcc,
            note=intent.description[:MAX_NOTE],
        )
    )


def vpa_of(payee: Party) -> str:
    """Where its money arrives over UPI."""
    return f"{payee.id.hex}@hundi"


def compensation(intent: Intent, attempt: Attempt, payee: Party, now_ms: int) -> Transfer | None:
    """What a late reversal owes a payer that we know: 100 rupees a day, domestic payments only.

    RBI/2019-20/67: T+1 between persons, T+5 to a merchant and by card.
    """
    if (
        attempt.state is not AttemptState.REVERSED
        or intent.payer is None
        or intent.currency != "INR"
    ):
        return None
    between = payee.kind is Kind.PERSON and attempt.method is not Method.CARD
    days = rail_rules.days_late(attempt.started_at, now_ms, days_allowed=1 if between else 5)
    if not days:
        return None
    return Transfer(
        id=derived("payment", intent.id, attempt.number, "compensation"),
        debit=account_id(Code.COMPENSATION, HOUSE, intent.currency),
        credit=account_id(Code.WALLET, intent.payer, intent.currency),
        amount=days * rail_rules.LATE_PER_DAY_MINOR,
        ledger=intent.currency,
        code="compensation",
        reference=str(intent.id),
    )


DAY_MS: Final = 24 * 60 * 60 * 1000
_WATCHED: Final = {
    AttemptState.NOT_SENT: rail_rules.FIRST_CHECK_MS,
    AttemptState.DECLINED: DAY_MS,
    AttemptState.REVERSED: DAY_MS,
}


def watch_after(attempt: Attempt) -> int | None:
    """How long after its end a rail is asked once more, in ms, lest it took the money after all.

    What never left, soon: its payer may have paid another way since. What was declined or reversed, a
    day later. A link, which anybody may have paid late, or twice.
    """
    if attempt.operation is not Operation.PAY or attempt.rail is None:
        return None
    if attempt.method is Method.UPI_LINK:
        return 60 * 60 * 1000
    return _WATCHED.get(attempt.state)


def watched_at(attempt: Attempt, pace: float) -> int | None:
    """When an attempt that has ended is asked about once more, in Unix ms."""
    watch = watch_after(attempt)
    if watch is None or attempt.ended_at is None:
        return None
    return attempt.ended_at + max(1, int(watch * pace))


def hold_id(intent: Intent, number: int) -> UUID:
    """The transfer by which attempt `number` moved the money or set it aside."""
    return derived("payment", intent.id, number, "move")


def transfer_ids(attempt: Attempt) -> list[UUID]:
    """Every transfer that an attempt may have made; those that it did not make do not exist."""
    key = ("payment", attempt.intent, attempt.number)
    legs = ("move", Mode.POST, Mode.VOID, "compensation", "conflict")
    return [derived(*key, leg) for leg in legs]


def resolution(
    intent: Intent,
    hold: int,
    mode: Mode,
    *,
    by: int | None = None,
    amount: int = 0,
    final: bool = True,
) -> Transfer:
    """What ends attempt `hold`'s pending transfer, or takes a part of it.

    POST when the rail paid or attempt `by` captured, VOID when nothing more is taken.
    """
    return Transfer(
        id=derived("payment", intent.id, by or hold, mode),
        mode=mode,
        amount=amount,
        ledger=intent.currency,
        code=intent.purpose,
        reference=str(intent.id),
        pending_id=hold_id(intent, hold),
        final=final,
    )
