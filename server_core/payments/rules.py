"""What may happen to an intent next, and who may make it happen. Pure."""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final
from uuid import UUID

from server_core.actor import Actor, Role
from server_core.errors import DomainError, conflict, denied, invalid, limited, not_found
from server_core.ids import derived
from server_core.ledger.model import Code, Mode, Outcome, Result, Transfer, account_id
from server_core.money import known_currency, positive_minor
from server_core.parties.model import MONEY_ACCOUNT, Kind, Party
from server_core.payments.model import (
    CAPTURES_LATER,
    CONFIRMABLE,
    HOLD_MS,
    MAX_ATTEMPTS,
    MAX_DESCRIPTION,
    MAX_LIFE_MS,
    MAX_OPERATIONS,
    TRANSITIONS,
    Attempt,
    AttemptState,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Operation,
    Pay,
    Purpose,
    State,
)
from server_core.rails import router

_VPA: Final = re.compile(r"[A-Za-z0-9._-]{2,255}@[A-Za-z][A-Za-z0-9]{1,63}", re.ASCII)
PAYERS: Final = frozenset({Role.PAYER})
ASKERS: Final = frozenset({Role.PAYER, Role.MERCHANT})


def unknown_intent() -> DomainError:
    return not_found("payments.unknown", "no such payment intent", field="id")


def check_create(command: Create, payee: Party | None, limits: dict[str, int]) -> None:
    """Raises what is wrong with the command, by field."""
    if command.actor.role not in ASKERS or command.actor.party is None:
        raise denied("payments.role", f"a {command.actor.role} may not create a payment")
    positive_minor(command.amount)
    known_currency(command.currency)
    if payee is None:
        raise not_found("payments.payee_unknown", "no such payee", field="payeeId")
    if len(command.description) > MAX_DESCRIPTION or not command.description.isprintable():
        raise invalid(
            "payments.description",
            f"description must be at most {MAX_DESCRIPTION} printable characters",
            field="description",
        )
    if not 1000 <= command.life_ms <= MAX_LIFE_MS:
        raise invalid("payments.expiry", "an intent lives 1 second to 7 days", field="expiresIn")
    if command.purpose is Purpose.TOP_UP and (
        command.payee != command.actor.party or payee.kind is not Kind.PERSON
    ):
        raise invalid("payments.top_up_self", "only one's own wallet is topped up", field="payeeId")
    most = limits.get("per_payment")
    if most is not None and command.amount > most:
        raise limited(
            "payments.over_limit", f"one payment is at most {most} minor units", limit=most
        )


def payer_of(command: Create) -> UUID | None:
    """Who will pay, if that is known already: a payee that asks leaves it open."""
    asks = command.actor.party == command.payee and command.purpose is Purpose.PAYMENT
    return None if asks else command.actor.party


def new_intent(command: Create, id_: UUID, now_ms: int, origin: UUID) -> Intent:
    """The intent that a checked command makes."""
    return Intent(
        id=id_,
        purpose=command.purpose,
        state=State.REQUIRES_CONFIRMATION,
        payer=payer_of(command),
        payee=command.payee,
        amount=command.amount,
        currency=command.currency,
        description=command.description,
        attempts=0,
        created_at=now_ms,
        expires_at=now_ms + command.life_ms,
        updated_at=now_ms,
        origin=origin,
        capture_method=command.capture_method,
    )


def asks_for(command: Create, intent: Intent) -> bool:
    """Whether `intent` is what `command` would make: the key that made it is used as it was."""
    return (
        command.payee, command.amount, command.currency, command.purpose, command.description,
        command.life_ms, command.capture_method,
    ) == (
        intent.payee, intent.amount, intent.currency, intent.purpose, intent.description,
        intent.expires_at - intent.created_at, intent.capture_method,
    )  # fmt: skip


def confirm_of(command: Pay, intent: UUID) -> Confirm:
    return Confirm(
        actor=command.actor,
        key=command.key,
        intent=intent,
        method=command.method,
        payer_vpa=command.payer_vpa,
    )


def visible(intent: Intent | None, actor: Actor) -> Intent:
    """The intent if the actor may know of it: payee, payer, or whoever was shown it while it had no payer.

    A foreign id answers as if it did not exist.
    """
    if intent is None:
        raise unknown_intent()
    mine = actor.party in {intent.payer, intent.payee} and actor.party is not None
    asked = intent.payer is None and actor.role in PAYERS
    if not (mine or asked or actor.role in {Role.OPERATOR, Role.SYSTEM}):
        raise unknown_intent()
    return intent


def check_confirm(
    command: Confirm, intent: Intent | None, connected: Collection[str], now_ms: int
) -> Intent:
    """The intent, to be paid by the actor; raises what stands against it."""
    actor = command.actor
    intent = visible(intent, actor)
    if actor.role not in PAYERS or actor.party is None:
        raise denied("payments.role", f"a {actor.role} may not confirm a payment")
    if intent.payer not in {None, actor.party}:
        raise denied("payments.not_the_payer", "this payment is another person's to confirm")
    own = intent.payee == actor.party
    if own != (intent.purpose is Purpose.TOP_UP):
        raise invalid("payments.to_oneself", "one cannot pay oneself: make a top-up instead")
    if own and command.method is not Method.UPI:
        raise invalid("payments.top_up_method", "a top-up comes from a bank: UPI", field="method")
    if command.method is Method.OFFLINE:
        raise invalid("payments.method", "vouchers are confirmed by their terminal", field="method")
    _check_vpa(command)
    if (
        intent.capture_method is not CaptureMethod.AUTOMATIC
        and command.method not in CAPTURES_LATER
    ):
        raise invalid(
            "payments.no_route",
            f"{command.method} takes the money at once: this payment is captured later",
            field="method",
            reason="capture",
        )
    route = router.choose(command.method, intent.currency, connected)
    if not route.possible:
        raise invalid(
            "payments.no_route",
            f"{command.method} cannot carry this payment: {route.reason}",
            field="method",
            reason=str(route.reason),
        )
    check_open(intent, now_ms)
    if intent.attempts >= MAX_ATTEMPTS:
        raise limited("payments.too_many_attempts", "make a new payment intent", limit=MAX_ATTEMPTS)
    return intent


def check_capture(command: Capture, intent: Intent | None, now_ms: int) -> int:
    """What is to be taken, in minor units; raises what stands against it."""
    intent = visible(intent, command.actor)
    if intent.payee != command.actor.party:
        raise denied("payments.not_the_payee", "only who is paid captures a payment")
    if intent.state is not State.REQUIRES_CAPTURE:
        raise conflict("payments.state", f"this payment is {intent.state}", state=str(intent.state))
    if is_released(intent, now_ms):
        raise conflict("payments.expired", "what was set aside is the payer's again: too late")
    if not command.final and intent.capture_method is CaptureMethod.MANUAL:
        raise invalid(
            "payments.capture_once",
            "this payment is captured once: make it with manual_multiple to capture in parts",
            field="final",
        )
    amount = positive_minor(intent.capturable if command.amount is None else command.amount)
    if amount > intent.capturable:
        raise invalid(
            "payments.over_capturable",
            f"at most {intent.capturable} minor units are set aside",
            field="amount",
            capturable=intent.capturable,
        )
    if intent.attempts >= MAX_OPERATIONS:
        raise limited(
            "payments.too_many_attempts", "capture the rest at once", limit=MAX_OPERATIONS
        )
    return amount


def is_released(intent: Intent, now_ms: int) -> bool:
    """Whether the time to capture is over; exact, without its job."""
    return intent.capture_before is not None and now_ms >= intent.capture_before


def authorized(intent: Intent, attempt: Attempt, now_ms: int) -> Intent:
    """The intent whose money the attempt has set aside."""
    return moved(
        intent, State.REQUIRES_CAPTURE, now_ms,
        capturable=attempt.amount, authorized=attempt.number, capture_before=now_ms + HOLD_MS,
    )  # fmt: skip


def captured(intent: Intent, attempt: Attempt, *, final: bool, now_ms: int) -> Intent:
    """The intent of which the attempt took its amount; paid when nothing is left to take."""
    left = 0 if final else intent.capturable - attempt.amount
    return moved(
        intent, State.REQUIRES_CAPTURE if left else State.SUCCEEDED, now_ms,
        captured=intent.captured + attempt.amount, capturable=left,
    )  # fmt: skip


def released(intent: Intent, state: State, now_ms: int) -> Intent:
    """The intent whose money was given back; one of which a part was captured is paid by that."""
    return moved(intent, State.SUCCEEDED if intent.captured else state, now_ms, capturable=0)


def _check_vpa(command: Confirm) -> None:
    if command.method is Method.UPI:
        if not _VPA.fullmatch(command.payer_vpa or ""):
            raise invalid(
                "payments.vpa",
                "a UPI payment needs the payer's address, name@bank",
                field="payerVpa",
            )
    elif command.payer_vpa is not None:
        raise invalid("payments.vpa", "only a UPI payment takes an address", field="payerVpa")


def check_open(intent: Intent, now_ms: int) -> None:
    """Refuse an intent that is over, paid, or under way; expiry is exact, without its job."""
    if intent.state in CONFIRMABLE and now_ms >= intent.expires_at:
        raise conflict("payments.expired", "this payment has expired: ask for a new one")
    if intent.state not in CONFIRMABLE:
        raise conflict("payments.state", f"this payment is {intent.state}", state=str(intent.state))


def moved(intent: Intent, state: State, now_ms: int, **changes: object) -> Intent:
    """The intent in its next state, if the table has that step."""
    if state not in TRANSITIONS[intent.state]:
        raise conflict("payments.state", f"this payment is {intent.state}", state=str(intent.state))
    return replace(intent, state=state, updated_at=now_ms, **changes)  # type: ignore[arg-type]


def attempt_id(intent: UUID, number: int) -> UUID:
    return derived("attempt", intent, number)


def capture_attempt(
    command: Capture, intent: Intent, amount: int, method: Method, scope: str, now_ms: int
) -> Attempt:
    return Attempt(
        id=attempt_id(intent.id, intent.attempts + 1),
        intent=intent.id,
        number=intent.attempts + 1,
        operation=Operation.CAPTURE,
        amount=amount,
        method=method,
        state=AttemptState.SUCCEEDED,
        payer_vpa=None,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None,
        scope=scope,
        key=command.key,
        started_at=now_ms,
        ended_at=now_ms,
    )


def new_attempt(command: Confirm, intent: Intent, scope: str, now_ms: int) -> Attempt:
    return Attempt(
        id=attempt_id(intent.id, intent.attempts + 1),
        intent=intent.id,
        number=intent.attempts + 1,
        amount=intent.amount,
        method=command.method,
        state=AttemptState.SENT,
        payer_vpa=command.payer_vpa,
        code=None,
        rail_reference=None,
        asked=0,
        next_check_at=None,
        scope=scope,
        key=command.key,
        started_at=now_ms,
        ended_at=None,
    )


def source_account(attempt: Attempt, payer: UUID, currency: str) -> UUID:
    """Where the money comes from: the payer's wallet, or what the rail owes us."""
    if attempt.method is Method.BOOK:
        return account_id(Code.WALLET, payer, currency)
    return account_id(Code.CLEARING, attempt.method, currency)


def transfer(intent: Intent, attempt: Attempt, payer: UUID, payee: Party) -> Transfer:
    """The attempt's transfer: at once over `book`; pending, without expiry, over a rail or until captured."""
    at_once = attempt.method is Method.BOOK and intent.capture_method is CaptureMethod.AUTOMATIC
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


def hold_id(intent: Intent, number: int) -> UUID:
    """The transfer by which attempt `number` moved the money or set it aside."""
    return derived("payment", intent.id, number, "move")


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


def refusal(outcome: Outcome) -> DomainError:
    """A ledger refusal in the payer's words."""
    result = outcome.first_failure or outcome.result
    if result is Result.EXCEEDS_FUNDS:
        return conflict(
            "payments.insufficient_funds",
            "the wallet does not hold enough",
            available=outcome.available,
        )
    if result is Result.ACCOUNT_NOT_FOUND:
        return conflict("payments.no_account", "there is no account in this currency")
    return conflict("payments.refused", f"the ledger refused: {result}", reason=str(result))
