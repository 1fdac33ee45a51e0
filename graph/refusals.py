"""Refusals as answers: a DomainError becomes a typed user error here and nowhere else."""

from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

import strawberry

from graph.money import Money
from server_core.errors import DomainError

UNAUTHENTICATED: Final = "sessions.unauthenticated"

TOLD: Final[ContextVar[list[DomainError] | None]] = ContextVar("told", default=None)
"""Where whoever executes an operation has its refusals collected; an answer need not select them."""


@strawberry.interface(description="Why nothing was done, for a program (code) and for its author.")
class UserError:
    code: str = strawberry.field(description="`slice.reason`; stable.")
    message: str
    field: str | None = strawberry.field(description="The input at fault, when one is.")


@strawberry.type(description="Any refusal that carries nothing more.")
class Refusal(UserError):  # noqa: N818 - an answer, not an exception
    pass


@strawberry.type(description="The wallet does not hold enough.")
class InsufficientFunds(UserError):  # noqa: N818 - the same
    available: Money


@strawberry.type(description="More than a limit in force allows.")
class LimitExceeded(UserError):  # noqa: N818 - the same
    limit: Money
    resets_at: datetime | None = strawberry.field(
        description="When the limit allows more again; null for a limit on each payment."
    )


def user_error(refused: DomainError, currency: str | None = None) -> UserError:
    """The typed error behind `refused`; `currency` is that of the amounts among its facts.

    Raises it again when it is no answer to the input: whoever asks must sign in first.
    """
    if refused.code == UNAUTHENTICATED:
        raise refused
    told = TOLD.get()
    if told is not None:
        told.append(refused)
    said: Any = {"code": refused.code, "message": refused.message, "field": refused.field}
    available, limit = refused.facts.get("available"), refused.facts.get("limit")
    if currency is not None:
        if refused.code == "payments.insufficient_funds" and isinstance(available, int):
            return InsufficientFunds(**said, available=Money.of(available, currency))
        if refused.code == "payments.over_limit" and isinstance(limit, int):
            return LimitExceeded(**said, limit=Money.of(limit, currency), resets_at=None)
    return Refusal(**said)
