"""What holds in every state, read off the tables and not off the rules."""

from server_core.terminals.model import State as TerminalState
from server_core.vouchers.model import State
from tests.model_offline import cast
from tests.model_offline.part import law
from tests.model_offline.server import MOST, Server


def check_server(s: Server) -> None:
    for aid, a in s.allowances.items():
        settled = sum(one.amount for one in s.settled.values() if one.aid == aid)
        law(a.settled == settled, "an allowance's settled is the sum of its settled vouchers")
        law(
            min(a.settled, a.claimed, a.unclaimed, a.returned) >= 0, "no part of a hold is negative"
        )
        parts = a.settled + a.claimed + a.unclaimed + a.returned
        law(parts <= a.hold, "settled + claimed + unclaimed + returned <= hold")
        if a.state is State.CLOSED:
            law(parts == a.hold, "at close settled + claimed + unclaimed + returned = hold")
            own = {one.link.h for one in s.seen.get(aid, ())}
            law(
                a.claimed == sum(x for h, x in s.claims.items() if h in own),
                "claimed is the sum of the claims",
            )
            if a.frozen and a.returned + a.unclaimed > 0:
                _losers_are_paid(s, aid)
    _voids(s)


def _losers_are_paid(s: Server, aid: bytes) -> None:
    for one in s.seen.get(aid, ()):
        h = one.link.h
        if h in s.losers and (h, one.terminal) not in s.voids:
            law(
                s.claims.get(h) == s.losers[h],
                "a frozen allowance returns nothing before the losers are paid",
            )


def _voids(s: Server) -> None:
    paid = {one.h: (one.terminal, one.amount) for one in s.settled.values()}
    paid |= {
        h: (one.terminal, one.amount) for h, one in s.unclaimed.items() if one.paid_to == "merchant"
    }
    for rows in s.seen.values():
        paid |= {o.link.h: (o.terminal, s.claims[o.link.h]) for o in rows if o.link.h in s.claims}
    for h, amount in s.refunded.items():
        law(
            h in paid and (h, paid[h][0]) in s.voids,
            "a refund has a void by the voucher's own terminal",
        )
        law(amount <= paid[h][1], "a void is refunded once")
    for (h, me), void in s.voids.items():
        if h not in paid or paid[h][0] != me or s.states[me] is TerminalState.REVOKED:
            continue
        if void.reason == "returned" and paid[h][1] > MOST:
            continue
        law(
            s.refunded.get(h, 0) == paid[h][1],
            "a void of what its shop was paid for is its full refund",
        )


def check_step(before: Server, after: Server, *, quarantines: bool) -> None:
    """What may not change from one state to the next."""
    for aid, was in before.allowances.items():
        if was.state is State.CLOSED:
            now = after.allowances[aid]
            law(
                (now.state, now.settled, now.claimed, now.unclaimed, now.returned)
                == (was.state, was.settled, was.claimed, was.unclaimed, was.returned),
                "CLOSED is final",
            )
    law(set(before.settled.items()) <= set(after.settled.items()), "what is settled stays settled")
    law(
        all(after.refunded.get(h, 0) >= x for h, x in before.refunded.items()),
        "a refund is not taken back",
    )
    law(
        quarantines or TerminalState.QUARANTINED not in after.states.values(),
        "a terminal of one history is never quarantined",
    )


def said_to_shop(who: int, h: bytes) -> None:
    law(
        cast.VOUCHERS[h].voucher.terminal == cast.TERMINALS[who].id,
        "a copy at another shop is never accepted",
    )
