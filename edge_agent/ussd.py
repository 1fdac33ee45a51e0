"""Paid by phone: a challenge beside the request, and the digits by which the server says that it has the money."""

import hmac
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_agent.errors import AgentError
from edge_agent.server import Server
from edge_agent.store.terminal_work import Work
from edge_agent.terminal import Terminal, close
from offline import ussd
from offline.journal import CloseReason
from offline.signing import sync_request_message

TRIES: Final = 3
CURRENCY: Final = "INR"
_DRAWS: Final = 20
_KEPT_DAYS: Final = 30
_SPACE: Final = 10 ** (ussd.CHALLENGE_DIGITS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """What a payer dials: the terminal's code, the amount in rupees, the challenge."""

    code: str
    rupees: int
    challenge: str

    @property
    def text(self) -> str:
        return f"{self.code}*{self.rupees}*{self.challenge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidByPhone:
    """The server has the money. `twice`: a voucher had paid the same sale, so one of them goes back."""

    nonce: bytes
    amount: int
    twice: bool
    repeated: bool


def offer(terminal: Terminal, work: Work, nonce: bytes, amount: int, ccy: str) -> Dial | None:
    """The challenge of a new request; None without today's key, or for paise, which no keypad types."""
    store, day = terminal.store, work.now_s // ussd.DAY_S
    code = store.ussd_code()
    if ccy != CURRENCY or amount % 100 or code is None or store.ussd_key(day) is None:
        return None
    for _ in range(_DRAWS):
        asked = ussd.challenge(day, terminal.entropy.below(_SPACE))
        made = work.run(
            "INSERT INTO ussd_challenge (day, challenge, nonce, amount) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (day, challenge) DO NOTHING",
            (day, asked, nonce, amount),
        )
        if made.rowcount == 1:
            return Dial(code=code, rupees=amount // 100, challenge=asked)
    return None  # a terminal with so many sales a day has a network


def check(terminal: Terminal, digits: str, nonce: bytes | None = None) -> PaidByPhone:
    """Judge the digits that a payer was told, by default for the request on the screen. Three tries, once.

    The try is durable before it is judged. Raises edge.no_challenge, edge.digits_spent, edge.digits_wrong.
    """
    said = "".join(digits.split())
    if not (len(said) == ussd.ANSWER_DIGITS and said.isascii() and said.isdigit()):
        raise AgentError("edge.digits_malformed", f"the payer is told {ussd.ANSWER_DIGITS} digits")
    with terminal.work() as work:
        wanted = nonce if nonce is not None else work.state.screen_nonce
        row = terminal.store.ussd_challenge(wanted) if wanted is not None else None
        key = terminal.store.ussd_key(row.day) if row is not None else None
        if row is None or key is None:
            raise AgentError("edge.no_challenge", "nobody was asked to pay this by phone")
        if row.tries >= TRIES and not row.paid:
            raise AgentError("edge.digits_spent", "three wrong tries: make a new request")
        right = hmac.compare_digest(
            ussd.answer(key, terminal.me.terminal, row.challenge, row.amount, row.day), said
        )
        twice = False
        if not row.paid:
            work.run(
                "UPDATE ussd_challenge SET tries = tries + 1, paid = ? WHERE nonce = ?",
                (int(right), row.nonce),
            )
            request = terminal.store.request(row.nonce)
            if right and request is not None and request.state == "open":
                close(work, row.nonce, CloseReason.PAID_ONLINE)
            twice = right and request is not None and request.state == "paid"
    if not right:
        left = TRIES - row.tries - 1
        raise AgentError(
            "edge.digits_wrong", f"NOT PAID: these digits are wrong, {left} tries left"
        )
    return PaidByPhone(nonce=row.nonce, amount=row.amount, twice=twice, repeated=row.paid)


async def refresh(terminal: Terminal, server: Server) -> None:
    """Fetch code and keys when those of tomorrow are missing. What cannot be had is asked for again."""
    today = terminal.floor.now_s() // ussd.DAY_S
    store = terminal.store
    if store.ussd_code() is not None and store.ussd_key(today + 1) is not None:
        return
    with suppress(AgentError):
        nonce = await server.nonce()
        message = sync_request_message(terminal.me.terminal, nonce, ussd.ASKED_KEYS)
        code, keys = await server.ussd_keys(
            terminal=terminal.me.terminal, server_nonce=nonce, sig=terminal.keys.sign_plain(message)
        )
        with terminal.work() as work:
            work.run("INSERT OR REPLACE INTO ussd_code VALUES (1, ?)", (code,))
            for day, key in keys.items():
                work.run("INSERT OR REPLACE INTO ussd_key VALUES (?, ?)", (day, key))
            work.run("DELETE FROM ussd_key WHERE day < ?", (today - 2,))
            work.run("DELETE FROM ussd_challenge WHERE day < ?", (today - _KEPT_DAYS,))
