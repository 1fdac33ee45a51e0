"""What may happen to an intent next, and who may make it happen. Pure."""

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from server_core.actor import Actor, Role
from server_core.errors import DomainError, Kind, conflict, denied, invalid, limited, not_found
from server_core.ledger.model import Outcome, Result
from server_core.money import known_currency, positive_minor
from server_core.parties.model import Kind as PartyKind
from server_core.parties.model import Party
from server_core.payments import attempts
from server_core.payments.model import (
    CONFIRMABLE,
    FROM_BANKS,
    HOLD_MS,
    MAX_ATTEMPTS,
    MAX_DESCRIPTION,
    MAX_LIFE_MS,
    TRANSITIONS,
    ActionType,
    Attempt,
    Capture,
    CaptureMethod,
    Confirm,
    Create,
    Intent,
    Method,
    Pay,
    Purpose,
    State,
)
from server_core.rails.connected import Choice
from server_core.rails.router import Reason
from server_core.rails.traits import TRAITS

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
        command.payee != command.actor.party or payee.kind is not PartyKind.PERSON
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
        instrument=command.instrument,
    )


_TAKEN: Final = frozenset({State.SUCCEEDED, State.CONFLICTED, State.REQUIRES_CAPTURE})
"""Paid, by somebody whose app we do not know perhaps: nobody else's to read."""


def visible(intent: Intent | None, actor: Actor) -> Intent:
    """The intent if the actor may know of it: payee, payer, or whoever is shown it while it waits for one.

    A foreign id answers as if it did not exist.
    """
    if intent is None:
        raise unknown_intent()
    mine = actor.party in {intent.payer, intent.payee} and actor.party is not None
    asked = intent.payer is None and intent.state not in _TAKEN and actor.role in PAYERS
    if not (mine or asked or actor.role in {Role.OPERATOR, Role.SYSTEM}):
        raise unknown_intent()
    return intent


def check_acts(actor: Actor) -> None:
    """Who pays or is paid acts for themselves; a guardian's or delegate's session does not."""
    if actor.role not in ASKERS or actor.party is None:
        raise denied("payments.role", f"a {actor.role} may not do this to a payment")


def is_party(intent: Intent, actor: Actor) -> bool:
    """Whether the actor pays it or is paid."""
    return actor.party is not None and actor.party in {intent.payee, intent.payer}


def check_confirm(command: Confirm, intent: Intent | None, now_ms: int) -> Intent:
    """The intent, to be paid by the actor; raises what stands against it."""
    intent = visible(intent, command.actor)
    _check_who_pays(command, intent)
    if command.method is Method.OFFLINE:
        raise invalid("payments.method", "vouchers are confirmed by their terminal", field="method")
    attempts.check_instrument(command)
    if intent.capture_method is not CaptureMethod.AUTOMATIC and not captures_later(command.method):
        raise invalid(
            "payments.no_route",
            f"{command.method} takes the money at once: this payment is captured later",
            field="method",
            reason="capture",
        )
    check_open(intent, now_ms)
    if intent.attempts >= MAX_ATTEMPTS:
        raise limited("payments.too_many_attempts", "make a new payment intent", limit=MAX_ATTEMPTS)
    return intent


def _check_who_pays(command: Confirm, intent: Intent) -> None:
    actor = command.actor
    own = intent.payee == actor.party
    if own and command.method is Method.UPI_LINK and intent.purpose is Purpose.PAYMENT:
        return  # whoever is paid shows a link, and anybody's app pays it
    if actor.role not in PAYERS or actor.party is None:
        raise denied("payments.role", f"a {actor.role} may not confirm a payment")
    if intent.payer not in {None, actor.party}:
        raise denied("payments.not_the_payer", "this payment is another person's to confirm")
    if own != (intent.purpose is Purpose.TOP_UP):
        raise invalid("payments.to_oneself", "one cannot pay oneself: make a top-up instead")
    if own and command.method not in FROM_BANKS:
        raise invalid(
            "payments.top_up_method", "a top-up comes from a bank or a card", field="method"
        )


def who_pays(command: Confirm, intent: Intent) -> UUID | None:
    """The payer of a checked confirm; of a link that its payee shows, nobody that we know."""
    return (
        intent.payer
        if command.actor.party == intent.payee and (intent.purpose is Purpose.PAYMENT)
        else command.actor.party
    )


def action_type(intent: Intent) -> ActionType | None:
    """What the payer must do at `intent.action`; None when nothing waits for them."""
    if intent.state is not State.REQUIRES_ACTION or intent.action is None:
        return None
    by_link = intent.action.startswith("upi:")
    return ActionType.DISPLAY_QR if by_link else ActionType.REDIRECT


def captures_later(method: Method) -> bool:
    """Whether it can set money aside and take it afterwards. A UPI payment is one step."""
    return method is Method.BOOK or (method in TRAITS and TRAITS[method].captures_later)


def check_route(method: Method, choice: Choice) -> str:
    """The rail to pay over; raises when there is none now, or none at all."""
    decided = choice.decision
    if decided.rail is not None:
        return decided.rail
    if decided.reason is Reason.BREAKER_OPEN:
        raise DomainError(
            Kind.UNAVAILABLE,
            "payments.rail_unavailable",
            "the bank network does not answer and nothing was debited: try again",
        )
    raise invalid(
        "payments.no_route",
        f"{method} cannot carry this payment: {decided.reason}",
        field="method",
        reason=str(decided.reason),
    )


def check_capture(command: Capture, intent: Intent | None, now_ms: int, *, most: int) -> int:
    """What is to be taken, in minor units; raises what stands against it."""
    intent = visible(intent, command.actor)
    check_acts(command.actor)
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
    if intent.attempts >= most and intent.capture_method is CaptureMethod.MANUAL_MULTIPLE:
        raise limited(
            "payments.too_many_attempts", "too many captures: cancel the rest", limit=most
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


def captured(intent: Intent, attempt: Attempt, *, now_ms: int) -> Intent:
    """The intent of which the attempt took its amount; paid when nothing is left to take."""
    left = 0 if attempt.final else intent.capturable - attempt.amount
    return moved(
        intent, State.REQUIRES_CAPTURE if left else State.SUCCEEDED, now_ms,
        captured=intent.captured + attempt.amount, capturable=left,
    )  # fmt: skip


def released(intent: Intent, state: State, now_ms: int) -> Intent:
    """The intent whose money was given back; one of which a part was captured is paid by that."""
    return moved(intent, State.SUCCEEDED if intent.captured else state, now_ms, capturable=0)


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
    return replace(intent, state=state, updated_at=now_ms, **changes)


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
