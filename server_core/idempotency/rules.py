"""What a claim that is not the first one means, and what a key and a body are. Pure."""

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct

from server_core.errors import DomainError, Kind, conflict, invalid, unavailable
from server_core.idempotency.model import (
    MAX_KEY,
    Claim,
    Found,
    Mismatch,
    Repeated,
    Replay,
    Running,
    State,
)

MAX_RETRY_S: Final = 15
"""The longest a client is told to stay away: a rail call is over by then, or its lease soon is."""

_KEPT: Final = frozenset({Kind.CONFLICT, Kind.LIMITED})


def check_key(key: object, *, field: str = "idempotencyKey") -> str:
    """The key, or idempotency.key_missing / idempotency.key_malformed."""
    if key is None or key == "":
        raise invalid(
            "idempotency.key_missing",
            f"{field} is required: make one per payment you mean, repeat it on every retry",
            field=field,
        )
    if (
        not isinstance(key, str)
        or len(key) > MAX_KEY
        or not (key.isascii() and key.isprintable() and " " not in key)
    ):
        raise invalid(
            "idempotency.key_malformed",
            f"{field} must be 1 to {MAX_KEY} visible ASCII characters, no spaces",
            field=field,
        )
    return key


def body_hash(body: Any) -> bytes:
    """SHA-256 of the body's canonical JSON: key order and white space do not matter, values do."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()


class Stored(Struct, frozen=True, kw_only=True):
    """The key's row, as far as a repeated claim is judged by it."""

    verb: str
    body: bytes
    state: str = State.RUNNING
    answer: Any = None
    fence: int = 0
    lease_until: int = 0

    @classmethod
    def of(cls, claim: Claim) -> "Stored":
        return cls(verb=claim.verb, body=claim.body)


def judge(claim: Claim, stored: Stored) -> Found:
    """What the stored row says to a repeated `claim`."""
    if (claim.verb, claim.body) != (stored.verb, stored.body):
        return Mismatch()
    if stored.state == State.DONE:
        return Replay(answer=stored.answer)
    return Running(until=stored.lease_until, fence=stored.fence)


def is_kept(refused: DomainError) -> bool:
    """Whether a refusal is the key's answer.

    It is when the state of money or a limit said no. It is not when the request was wrong or named
    what is not there (mended, it may use the key), when the caller may not or not yet (another
    sign-in, a step-up or an approval may follow), and when nothing was decided at all.
    """
    return refused.kind in _KEPT


def refusal(refused: DomainError) -> Any:
    """A refusal as a stored answer, which `repeated` reads."""
    return {
        "error": {
            "kind": refused.kind,
            "code": refused.code,
            "message": refused.message,
            "field": refused.field,
            "facts": refused.facts,
        }
    }


def repeated(answer: Any) -> Repeated:
    """The stored refusal, told again."""
    said = answer["error"]
    return Repeated(
        Kind(said["kind"]), said["code"], said["message"], field=said["field"], **said["facts"]
    )


def mismatch() -> DomainError:
    return conflict(
        "idempotency.key_reused",
        "this key was used for another request: repeat that one as it was, or take a new key",
        field="idempotencyKey",
    )


def still_running(until: int, now_ms: int) -> DomainError:
    return conflict(
        "idempotency.still_running",
        "the first request with this key is still at work: repeat it shortly",
        retry_after_s=min(max(1, (until - now_ms) // 1000), MAX_RETRY_S),
    )


def undecided() -> DomainError:
    return unavailable(
        "idempotency.undecided",
        "the first request with this key ended with nothing decided: repeat it",
    )
