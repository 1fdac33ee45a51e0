"""What the sandbox switch keeps of a transaction, how it behaves, and what it refuses."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

MAX_TRANSACTIONS: Final = 1_000_000
"""When that many ids are known, new ones are refused: an old debit is never forgotten instead."""

FOR_EVER: Final = 2**31 - 1


class Delivery(StrEnum):
    """How the answer to a pay request comes back."""

    PROMPT = "prompt"
    SLOW = "slow"
    HELD = "held"
    LOST_ANSWER = "lost_answer"
    LOST_REQUEST = "lost_request"
    GARBAGE = "garbage"
    OVERSIZED = "oversized"
    WRONG_ID = "wrong_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A well-formed pay request."""

    txn_id: str
    amount_minor: int
    currency: str
    payer_vpa: str
    payee_vpa: str
    payee_name: str
    mcc: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one transaction, and what is said of it.

    `code` is answered first, and again to `asks` status asks; after those the switch knows better
    and says `later`, or gives the debit back (`returns`). `debited` is the truth behind the codes. `extra_ms` is how much slower a slow answer is.
    """

    code: str = "00"
    later: str = "00"
    asks: int = 0
    debited: bool = True
    returns: bool = False
    delivery: Delivery = Delivery.PROMPT
    extra_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Txn:
    """One known id. `order` None is a tombstone: asked about before it came, refused ever after."""

    txn_id: str
    order: Order | None
    code: str
    later: str
    asks: int
    debited: bool
    returns: bool
    given_back: bool
    rrn: str | None
    taken_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the switch behaves to payers who do not steer it by their VPA.

    Rates are parts of 1; a transaction's fate and latency follow from `seed` and its id alone,
    so that they do not depend on the order in which requests come.
    """

    latency_median_ms: int = 120
    decline_rate: float = 0.0
    unknown_rate: float = 0.0
    hold_ms: int = 60_000
    outage: bool = False
    seed: int = 1

    def facts(self) -> dict[str, Any]:
        return asdict(self)


class Refusal(Exception):  # noqa: N818 - it is an answer of the switch, not a failure of it
    """A request that was not processed; `code` is `upi.reason`."""

    def __init__(self, status: int, code: str, message: str, txn_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.txn_id = status, code, message, txn_id

    def body(self) -> dict[str, str]:
        said = {"error": self.code, "message": self.message}
        return said if self.txn_id is None else said | {"txn_id": self.txn_id}
