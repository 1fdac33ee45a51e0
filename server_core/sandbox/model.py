"""What the sandbox keeps of an order, how it behaves, what it answers and what it refuses."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_ENTRIES: Final = 1_000_000
"""When that many ids are known, new ones are refused: an old debit is never forgotten instead."""

FOR_EVER: Final = 2**31 - 1


class Delivery(StrEnum):
    """How the answer to an order comes back."""

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
    """A well-formed request to move money, at any desk.

    `about` is what it belongs to: a link's reference, or the debit that is captured or refunded.
    `word` may steer its fate. `said` holds the other members as they were sent, defaults filled in.
    """

    id: str
    amount_minor: int
    about: str = ""
    word: str = ""
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one order, and what is said of it.

    `code` is answered first, and again to `asks` status asks; after those the desk knows better
    and says `later`, or gives the debit back (`returns`). `debited` is the truth behind the codes.
    `extra_ms` is how much slower a slow answer is.
    """

    code: str = "00"
    later: str = "00"
    asks: int = 0
    debited: bool = True
    returns: bool = False
    delivery: Delivery = Delivery.PROMPT
    extra_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One known id. `order` None is a tombstone: asked about before it came, refused ever after."""

    id: str
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
    """How upi-core behaves to payers who do not steer it.

    Rates are parts of 1; an order's fate and latency follow from `seed` and its id alone, so that
    they do not depend on the order in which requests come. In a brown-out a share of all calls is
    lost before or after it is done, or takes `brownout_factor` times as long. `action_ms` is how
    long a bank's page waits for the payer. Callbacks go to `callback_url`, on this machine alone.
    """

    latency_median_ms: int = 120
    decline_rate: float = 0.0
    unknown_rate: float = 0.0
    hold_ms: int = 60_000
    outage: bool = False
    brownout_rate: float = 0.0
    brownout_factor: int = 20
    action_ms: int = 15 * 60 * 1000
    callback_url: str = ""
    callback_delay_ms: int = 0
    callback_duplicates: int = 0
    callback_loss_rate: float = 0.0
    callback_contradict_rate: float = 0.0
    seed: int = 1

    def facts(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`said` as JSON, or `raw` bytes in its place where the answer is spoilt on the way."""

    status: int = 200
    said: dict[str, Any] | None = None
    raw: bytes = b""


class Refusal(Exception):  # noqa: N818 - it is an answer of the sandbox, not a failure of it
    """A request that was not processed; `code` is `door.reason`, `about` names whose it was."""

    def __init__(
        self, status: int, code: str, message: str, about: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.about = status, code, message, about or {}

    def body(self) -> dict[str, str]:
        return {"error": self.code, "message": self.message} | self.about
