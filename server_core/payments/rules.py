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
    CONFIRMABLE,
    MAX_ATTEMPTS,
    MAX_DESCRIPTION,
    MAX_LIFE_MS,
    TRANSITIONS,
    Attempt,
    AttemptState,
    Confirm,
    Create,
    Intent,
    Method,
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
    )


def asks_for(command: Create, intent: Intent) -> bool:
    """Whether `intent` is what `command` would make: the key that made it is used as it was."""
    return (
        command.payee, command.amount, command.currency, command.purpose, command.description,
        command.life_ms,
    ) == (
        intent.payee, intent.amount, intent.currency, intent.purpose, intent.description,
        intent.expires_at - intent.created_at,
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


def new_attempt(command: Confirm, intent: Intent, scope: str, now_ms: int) -> Attempt:
    return Attempt(
        id=attempt_id(intent.id, intent.attempts + 1),
        intent=intent.id,
        number=intent.attempts + 1,
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
    """The attempt's transfer: at once over `book`, pending over a rail (and then without expiry)."""
    return Transfer(
        id=derived("payment", intent.id, attempt.number, "move"),
        mode=Mode.SINGLE if attempt.method is Method.BOOK else Mode.PENDING,
        debit=source_account(attempt, payer, intent.currency),
        credit=account_id(MONEY_ACCOUNT[payee.kind], payee.id, intent.currency),
        amount=intent.amount,
        ledger=intent.currency,
        code=intent.purpose,
        reference=str(intent.id),
    )


def resolution(intent: Intent, attempt: Attempt, mode: Mode) -> Transfer:
    """What ends the attempt's pending transfer: POST when the rail paid, VOID when it did not."""
    return Transfer(
        id=derived("payment", intent.id, attempt.number, mode),
        mode=mode,
        amount=intent.amount if mode is Mode.POST else 0,
        ledger=intent.currency,
        code=intent.purpose,
        reference=str(intent.id),
        pending_id=derived("payment", intent.id, attempt.number, "move"),
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
