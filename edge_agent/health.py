"""Whether a terminal may sell, and for how long yet: each finding says what is wrong and what to do. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_agent.amounts import format_amount
from edge_agent.store.terminal_rows import SyncState, Totals
from offline.model import Risk

_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_CERTIFICATE_SOON_S: Final = 30 * _DAY_S
_SYNC: Final = "bring it online: the service syncs by itself, else hundi-edge terminal sync"


class Level(StrEnum):
    """How a finding stands: nothing to do; look at it soon; it stops sales or loses what it guards."""

    FINE = "fine"
    LOOK = "look"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `do` is empty when there is nothing to do."""

    what: str
    level: Level
    says: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the findings are drawn from; times in seconds, `ahead_s` the wall clock's lead over the floor.

    ahead_s is None while there has been no beacon, risk when the bundle says nothing of the currency.
    """

    state: SyncState
    totals: Totals
    ccy: str
    risk: Risk | None
    now_s: int
    ahead_s: float | None
    certificate_until_s: int
    oldest_unacked_s: int | None


def findings(s: Standing) -> list[Finding]:
    """Give the findings in the order in which a request is refused."""
    if s.risk is None:
        says = f"the issuer says nothing of what may be risked in {s.ccy}: no request is shown"
        return [
            _history(s),
            Finding(what="limit", level=Level.BAD, says=says, do=_SYNC),
            _certificate(s),
        ]
    risk = s.risk
    return [
        _history(s), _clock(s), _synced(s, risk), _queue(s), _exposure(s, risk), _certificate(s),
    ]  # fmt: skip


def _history(s: Standing) -> Finding:
    if s.state.quarantined:
        return Finding(
            what="history",
            level=Level.BAD,
            says="the server holds another history of this terminal: it is quarantined",
            do="its sales are judged one by one; pair a new terminal in a new home, keep this one",
        )
    if s.state.must_sync:
        return Finding(
            what="history",
            level=Level.BAD,
            says="it was restored and has not synced since: no sale before one sync",
            do=_SYNC,
        )
    return Finding(what="history", level=Level.FINE, says="the server's and ours are one")


def _clock(s: Standing) -> Finding:
    if s.ahead_s is None:
        return Finding(what="clock", level=Level.BAD, says="no beacon of the server yet", do=_SYNC)
    ahead = f"the clock is {span(abs(s.ahead_s))} {'ahead of' if s.ahead_s > 0 else 'behind'} it"
    if not clock_trusted(s):
        return Finding(
            what="clock",
            level=Level.BAD,
            says=f"against the last beacon {ahead}: no request is shown",
            do="set the machine's clock, turn on its time service, and " + _SYNC,
        )
    return Finding(what="clock", level=Level.FINE, says=f"trusted; {ahead}")


def clock_trusted(s: Standing) -> bool:
    """The rule of `ClockFloor.trusted`, over what is stored."""
    if s.risk is None or s.ahead_s is None:
        return False
    return -s.risk.clock_behind_s <= s.ahead_s <= s.risk.clock_ahead_s


def _synced(s: Standing, risk: Risk) -> Finding:
    last = s.state.last_sync_s
    if last is None:
        return Finding(what="sync", level=Level.BAD, says="it has never synced", do=_SYNC)
    since = max(0, s.now_s - last)
    says = f"the last one was {span(since)} ago, at most {span(risk.hard_age_s)} may pass"
    if since > risk.hard_age_s:
        return Finding(what="sync", level=Level.BAD, says=f"overdue: {says}", do=_SYNC)
    if since > risk.soft_age_s:
        return Finding(what="sync", level=Level.LOOK, says=f"soon overdue: {says}", do=_SYNC)
    return Finding(what="sync", level=Level.FINE, says=says)


def _queue(s: Standing) -> Finding:
    waiting = s.state.head_seq - s.state.acked_seq
    if waiting == 0 or s.oldest_unacked_s is None:
        return Finding(what="queue", level=Level.FINE, says="nothing waits for the server")
    age = max(0, s.now_s - s.oldest_unacked_s)
    says = f"{waiting} rows wait for the server, the oldest for {span(age)}"
    if age > _DAY_S:
        # Allowances settle within four days: what waits longer may come too late.
        return Finding(what="queue", level=Level.LOOK, says=says, do=_SYNC)
    return Finding(what="queue", level=Level.FINE, says=says)


def _exposure(s: Standing, risk: Risk) -> Finding:
    stands = s.totals.unsettled + s.totals.open_amount
    says = (
        f"{format_amount(stands, s.ccy)} of {format_amount(risk.hard_sum, s.ccy)} stand unsettled"
    )
    if stands >= risk.hard_sum:
        return Finding(what="limit", level=Level.BAD, says=f"full: {says}", do=_SYNC)
    if stands > risk.soft_sum:
        return Finding(what="limit", level=Level.LOOK, says=f"nearly full: {says}", do=_SYNC)
    return Finding(what="limit", level=Level.FINE, says=says)


def _certificate(s: Standing) -> Finding:
    left = s.certificate_until_s - s.now_s
    renew = "pair a new terminal in a new home, let this one sync to the end"
    if left < 0:
        says = f"ran out {span(-left)} ago: no request is shown"
        return Finding(what="certificate", level=Level.BAD, says=says, do=renew)
    if left < _CERTIFICATE_SOON_S:
        says = f"runs out in {span(left)}"
        return Finding(what="certificate", level=Level.LOOK, says=says, do=renew)
    return Finding(what="certificate", level=Level.FINE, says=f"holds for {span(left)}")


def span(seconds: float) -> str:
    """Give a length of time as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} hours"
    return f"{seconds / _DAY_S:.0f} days"
