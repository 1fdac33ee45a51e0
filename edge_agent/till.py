"""What a shop's screen shows beside a sale: today's takings, what waits for the server, the request that is open."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from devices.clock import Clock
from edge_agent.doctor import standing
from edge_agent.health import Level, findings
from edge_agent.show import moment
from edge_agent.store.terminal_rows import RequestRow
from edge_agent.terminal import Terminal
from edge_agent.terminal_said import finding_rows
from edge_agent.ussd import Dial


def till(terminal: Terminal, clock: Clock, east_s: int) -> Mapping[str, object]:
    """Everything of it, amounts in minor units as text. `east_s`: the shop's seconds east of UTC."""
    stands = standing(terminal.store, clock)
    found = findings(stands)
    since_s = day_begins(terminal.floor.now_s(), east_s)
    takings = terminal.store.takings(since_s)
    waiting = terminal.store.waiting()
    last = stands.state.last_sync_s
    return {
        "name": terminal.certificate.name,
        "currency": terminal.ccy,
        "takings": {"count": takings.count, "amount": str(takings.amount)},
        "refused": {"count": takings.refused_count, "amount": str(takings.refused)},
        "waiting": {
            "count": waiting.count,
            "amount": str(waiting.amount),
            "oldest_s": None
            if waiting.oldest_at_s is None
            else max(0, stands.now_s - waiting.oldest_at_s),
        },
        "synced_ago_s": None if last is None else max(0, stands.now_s - last),
        "may_sell": all(one.level is not Level.BAD for one in found),
        "findings": finding_rows(found),
        "request": _request(terminal),
    }


def day_begins(now_s: int, east_s: int) -> int:
    """Give midnight of the shop's day, in Unix seconds."""
    zone = timezone(timedelta(seconds=east_s))
    now = datetime.fromtimestamp(now_s, zone)
    return int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def _request(terminal: Terminal) -> Mapping[str, object] | None:
    """Give the request that is on the screen, so that a page that was loaded anew shows it again."""
    nonce = terminal.store.state().screen_nonce
    row = terminal.store.request(nonce) if nonce is not None else None
    if row is None or row.state != "open" or terminal.due(row):
        return None
    return {
        "nonce": row.nonce.hex(),
        "amount": str(row.amount),
        "text": row.text,
        "left_s": _left_s(terminal, row),
        "dial": _dial(terminal, row),
        "asked_at": moment(row.asked_at_s),
    }


def _left_s(terminal: Terminal, row: RequestRow) -> int:
    return max(0, (row.deadline_ms - terminal.floor.monotonic_ms()) // 1000)


def _dial(terminal: Terminal, row: RequestRow) -> str | None:
    asked, code = terminal.store.ussd_challenge(row.nonce), terminal.store.ussd_code()
    if asked is None or code is None:
        return None
    return Dial(code=code, rupees=asked.amount // 100, challenge=asked.challenge).text
