"""One error type for everything a caller did wrong; six kinds, mapped to HTTP once, at the edge."""

from enum import StrEnum


class Kind(StrEnum):
    """The six kinds of refusal. `bff/problems.py` maps each to a status, once."""

    INVALID = "invalid"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


class DomainError(Exception):
    """A refusal with a stable code.

    `code` is `slice.reason` and stands in docs/errors.md; `message` says what was wrong and what
    to do; `field` names the input at fault, in the API's spelling; `facts` are JSON-safe values
    that typed errors carry (amounts as integers of minor units).
    """

    __slots__ = ("code", "facts", "field", "kind", "message")

    def __init__(
        self, kind: Kind, code: str, message: str, *, field: str | None = None, **facts: object
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.kind = kind
        self.code = code
        self.message = message
        self.field = field
        self.facts = facts


def invalid(code: str, message: str, *, field: str | None = None, **facts: object) -> DomainError:
    return DomainError(Kind.INVALID, code, message, field=field, **facts)


def denied(code: str, message: str, *, field: str | None = None, **facts: object) -> DomainError:
    return DomainError(Kind.DENIED, code, message, field=field, **facts)


def not_found(code: str, message: str, *, field: str | None = None) -> DomainError:
    return DomainError(Kind.NOT_FOUND, code, message, field=field)


def conflict(code: str, message: str, *, field: str | None = None, **facts: object) -> DomainError:
    return DomainError(Kind.CONFLICT, code, message, field=field, **facts)


def limited(code: str, message: str, *, field: str | None = None, **facts: object) -> DomainError:
    return DomainError(Kind.LIMITED, code, message, field=field, **facts)


def unavailable(
    code: str, message: str, *, field: str | None = None, **facts: object
) -> DomainError:
    return DomainError(Kind.UNAVAILABLE, code, message, field=field, **facts)
