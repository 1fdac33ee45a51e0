"""In which codes each door speaks, as data."""

import re
from dataclasses import dataclass
from typing import Final

from server_core.rails import codes
from server_core.rails.codes import Codes
from server_core.rails.model import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A door's codes for what every door can say, and how a steering word looks there.

    `deemed` may have been debited, `pending` is not decided yet, `failed` failed in between,
    `invalid` asks for what cannot be. `declines` are drawn by weight, 100 in all; plausible, not
    measured.
    """

    ok: str
    no: str
    deemed: str
    pending: str
    failed: str
    invalid: str
    declines: tuple[tuple[str, int], ...]
    codes: Codes
    shown: str
    joint: str = "."

    @property
    def code(self) -> re.Pattern[str]:
        return self.codes.form

    def show(self, word: str) -> str:
        return self.shown.format(word.replace(".", self.joint))

    def is_no(self, code: str) -> bool:
        return self.codes.meaning(code) is Outcome.DECLINED


UPI: Final = Dialect(
    ok="00",
    no="Z9",
    deemed="RB",
    pending="01",
    failed="U30",
    invalid="XB",
    declines=(("Z9", 50), ("ZA", 20), ("ZM", 12), ("Z8", 8), ("59", 5), ("XH", 3), ("YE", 2)),
    codes=codes.UPI,
    shown="{}@bank",
)
CARD: Final = Dialect(
    ok="00",
    no="05",
    deemed="91",
    pending="09",
    failed="96",
    invalid="12",
    declines=(("51", 40), ("05", 25), ("61", 15), ("54", 10), ("62", 7), ("59", 3)),
    codes=codes.CARD,
    shown="tok_{}",
    joint="_",
)
NETBANKING: Final = Dialect(
    ok="SUCCESS",
    no="FAILED",
    deemed="PENDING",
    pending="PENDING",
    failed="ERROR",
    invalid="FAILED",
    declines=(("FAILED", 100),),
    codes=codes.NETBANKING,
    shown="{}",
)
