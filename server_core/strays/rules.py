"""How a stray is named, and how its money moves. Pure."""

from uuid import UUID

from server_core.ids import derived
from server_core.ledger.model import Code, Transfer, account_id
from server_core.strays.model import Found, State, Stray


def stray_id(found: Found) -> UUID:
    """One debit is one stray for ever, however often it is found."""
    return derived("stray", found.attempt, found.debit or "")


def new_stray(found: Found, now_ms: int) -> Stray:
    return Stray(
        id=stray_id(found),
        attempt=found.attempt,
        intent=found.intent,
        rail=found.rail,
        debit=found.debit,
        amount=found.amount,
        currency=found.currency,
        state=State.FOUND,
        code=found.code,
        rail_reference=found.rail_reference,
        asked=0,
        refusals=0,
        next_check_at=now_ms,
        found_at=now_ms,
        ended_at=None,
    )


def return_id(stray: Stray) -> UUID:
    """The rail's key of giving it back: another one after each definite refusal."""
    return derived("stray", stray.id, stray.refusals)


def arrival(stray: Stray) -> Transfer:
    """What the rail took it owes us, and we owe it to whoever paid."""
    return _move(stray, "arrival", (Code.CLEARING, Code.SUSPENSE))


def return_(stray: Stray) -> Transfer:
    """The rail has given it back."""
    return _move(stray, "return", (Code.SUSPENSE, Code.CLEARING))


def _move(stray: Stray, leg: str, accounts: tuple[Code, Code]) -> Transfer:
    debit, credit = (account_id(code, stray.rail, stray.currency) for code in accounts)
    return Transfer(
        id=derived("stray", stray.id, leg),
        debit=debit,
        credit=credit,
        amount=stray.amount,
        ledger=stray.currency,
        code="stray",
        reference=str(stray.intent),
    )
