"""What a claim that is not the first one means, and what a key and a body are. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from server_core.errors import DomainError, conflict, invalid
from server_core.idempotency.model import MAX_KEY, Claim, Found, Mismatch, Replay, Running, State


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
        or not all("\x21" <= letter <= "\x7e" for letter in key)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
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
        retry_after_s=max(1, (until - now_ms) // 1000),
    )
