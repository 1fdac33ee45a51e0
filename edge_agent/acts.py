"""The words that an open terminal understands, whoever says them: its own window, or its screen."""

from collections.abc import Callable
from typing import Final

from devices.clock import Clock
from edge_agent import terminal_said as said
from edge_agent.amounts import parse_amount
from edge_agent.errors import AgentError
from edge_agent.show import Said
from edge_agent.terminal import Terminal

_LISTED: Final = 20
WORDS: Final = (
    "ask AMOUNT | scan CODE | phone DIGITS | void CODE | return CODE | cancel | paid-online | "
    "list | sync | status | quit"
)


def act(terminal: Terminal, clock: Clock, word: str, rest: str, code: Callable[[str], str]) -> Said:
    """Do what one word asks for; `code` reads what stands for a voucher in `rest`.

    Raises what the act raises, and edge.command_unknown. `sync` waits, so it is the caller's.
    """
    match word:
        case "ask":
            return said.ask(terminal, parse_amount(rest, terminal.ccy))
        case "scan" | "accept":
            return said.accept(terminal, code(rest))
        case "void":
            return said.void(terminal, code(rest), give_back=False)
        case "return":
            return said.void(terminal, code(rest), give_back=True)
        case "phone":
            return said.by_phone(terminal, rest)
        case "cancel":
            return said.cancel(terminal, rest or None, paid_online=False)
        case "paid-online":
            return said.cancel(terminal, rest or None, paid_online=True)
        case "list":
            return said.sales(terminal.store, _LISTED)
        case "status":
            return said.status(terminal.store, clock)
        case _:
            raise AgentError("edge.command_unknown", WORDS)
