"""What each move does: the world after it, or None where nothing changed."""

from collections.abc import Iterable

from offline.journal import Accept, CloseReason
from offline.model import VoidReason
from offline.verdicts import Verdict
from offline.verify import ChallengeState
from offline.wire import SignedRequest
from server_core.actor import Actor
from server_core.vouchers import rules
from tests.model_offline import cast, laws
from tests.model_offline.device import Device
from tests.model_offline.part import law
from tests.model_offline.shop import Shop
from tests.model_offline.world import BY_NUMBER, World, numbered

GOOD = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})
FAIR = GOOD | {Verdict.DOUBLE_SPEND, Verdict.HOLD_EXHAUSTED}
Void = tuple[int, bytes, int, VoidReason]


def ask(w: World, shop: Shop, number: int, amount: int) -> World | None:
    made, after = w.fork(f"ask {shop.who}"), shop.fork()
    if not after.ask(amount, number, w.now_s):
        return None
    made.with_shop(after)
    made.asked = w.asked | {(shop.who, number, amount)}
    return made


def end(w: World, shop: Shop, nonce: bytes, reason: CloseReason) -> World | None:
    made, after = w.fork("end"), shop.fork()
    if not after.end(nonce, reason, w.now_s):
        return None
    made.with_shop(after)
    return made


def scan(w: World, shop: Shop, name: bytes) -> World | None:
    made, after = w.fork(""), shop.fork()
    v, signed = cast.VOUCHERS[name].voucher, cast.VOUCHERS[name]
    open_now = _awaits(w, shop, name)
    judged, paid = after.scan(name, w.now_s)
    if paid:
        laws.said_to_shop(shop.who, signed.h)
        row = after.redeemed.get(signed.h)
        kept = row and after.rows.get((row.epoch, row.seq))
        law(bool(kept), "nothing is shown as paid that is not in the journal")
        law(
            judged.verdict is Verdict.ACCEPTED or shop.screen == v.nonce,
            "a code that paid another sale is not shown as paid",
        )
    if w.scope.honest and open_now:
        law(judged.verdict is Verdict.ACCEPTED, "an honest voucher for an open request is taken")
    if judged.verdict is not Verdict.ACCEPTED and after.evidence == shop.evidence:
        return None
    made.with_shop(after)
    return made


def _awaits(w: World, shop: Shop, name: bytes) -> bool:
    """Whether this is an unharmed voucher for a request that is open here, in its time."""
    signed = cast.VOUCHERS[name]
    facts = shop.facts(name, w.now_s)
    return (
        cast.holds(name)
        and signed.voucher.terminal == cast.TERMINALS[shop.who].id
        and facts.challenge.state is ChallengeState.OPEN
        and not facts.revoked
        and w.clock == cast.SPENDING
    )


def void(w: World, shop: Shop, name: bytes, kind: str) -> World | None:
    made, after = w.fork(kind), shop.fork()
    signed = after.void(name, w.now_s, give_back=kind == "return")
    if signed is None:
        return None
    laws.said_to_shop(shop.who, cast.VOUCHERS[name].h)
    law(
        kind == "return" or cast.holds(name),
        "a void of what was refused is signed only where both signatures are good",
    )
    law(
        kind == "return" or cast.VOUCHERS[name].h not in shop.redeemed,
        "a sale that was shown as paid is not voided as refused",
    )
    made.with_shop(after)
    made.voids = w.voids | {(shop.who, name, signed.void.seq, signed.void.reason)}
    return made


def rogue(w: World, shop: Shop, name: bytes) -> World | None:
    made, after = w.fork("rogue"), shop.fork()
    after.append(Accept(signed=cast.VOUCHERS[name], accepted_at=w.now_s))
    made.with_shop(after)
    return made


def send(w: World, shop: Shop) -> World | None:
    made, after = w.fork(f"send {shop.who}"), shop.fork()
    number = numbered(after.send(w.scope.most))
    after.pending = number
    made.with_shop(after)
    made.net = w.net | {number}
    _forget(made)
    return made


def lose(w: World, number: int) -> World:
    made = w.fork("lose")
    made.net = w.net - {number}
    return made


def _forget(w: World) -> None:
    """An answer that nobody waits for is never taken."""
    waited = {shop.pending for shop in w.shops}
    w.answers = frozenset(pair for pair in w.answers if pair[0] in waited)


def serve(w: World, number: int) -> World:
    request = BY_NUMBER[number]
    made, server = w.fork(""), w.server.fork()
    who = cast.WHO[request.terminal]
    answer, told = server.serve(request, w.now_s)
    made.server, made.net = server, w.net - {number}
    made.answers = w.answers | {(number, numbered(answer))}
    _forget(made)
    paid = {one.h for one in server.settled.values()}
    for h, verdict in told:
        if verdict in GOOD:
            laws.said_to_shop(who, h)
            law(h in paid, "who is told that a voucher is settled, has been paid for it")
        closed = verdict is Verdict.SETTLEMENT_CLOSED
        law(
            not w.scope.honest or verdict in GOOD or closed,
            "what an honest terminal accepted from an honest payer is never refused",
        )
        law(
            w.scope.quarantines or not _upright(w, who) or verdict in FAIR or closed,
            "an honest terminal is refused only for a double spend or an exhausted hold",
        )
    return made


def take(w: World, shop: Shop, at: int, answer: int) -> World:
    made, after = w.fork(""), shop.fork()
    request = BY_NUMBER[at]
    after.take(request, BY_NUMBER[answer])
    made.with_shop(after)
    _forget(made)
    return made


def copy(w: World, shop: Shop) -> World:
    made, kept = w.fork("copy"), shop.fork()
    kept.pending = kept.after = None
    made.copies = (*w.copies[: shop.who], kept, *w.copies[shop.who + 1 :])
    return made


def put_back(w: World, kept: Shop) -> World:
    made = w.fork("put back")
    made.with_shop(kept.fork())
    _forget(made)
    return made


def restore(w: World, shop: Shop, kept: Shop) -> World:
    made, after = w.fork("restore"), kept.fork()
    after.restore(made.spent["restore"], w.now_s)
    made.with_shop(after)
    if not w.scope.quarantines:
        # A request is good for five minutes: what was on its way is over when the shop is back.
        me = cast.TERMINALS[shop.who].id
        made.net = frozenset(n for n in w.net if BY_NUMBER[n].terminal != me)
    _forget(made)
    return made


def pay(w: World, device: Device, request: SignedRequest, *, crash: bool) -> World | None:
    made, after = w.fork("crash" if crash else ""), device.fork()
    h = after.pay(request, w.now_s, crash=crash)
    if after.name() == device.name():
        return None
    made.with_device(after)
    made.air = w.air | {h} if h is not None else w.air
    return made


def recover(w: World, device: Device) -> World:
    made, after = w.fork(""), device.fork()
    made.air = w.air | set(after.recover())
    made.with_device(after)
    return made


def shown(w: World, kind: str, names: list[bytes]) -> World | None:
    made = w.fork(kind)
    made.air = w.air | set(names)
    return None if made.air == w.air else made


def copy_device(w: World, device: Device) -> World:
    made = w.fork("device copy")
    made.device_copies = (
        *w.device_copies[: device.who], device, *w.device_copies[device.who + 1 :],
    )  # fmt: skip
    return made


def device_back(w: World, device: Device, kept: Device) -> World:
    made = w.fork("device back")
    made.with_device(device.put_back(kept))
    return made


def witness(w: World, kind: str, names: Iterable[bytes], actor: Actor) -> World:
    made = w.fork(kind)
    made.server = w.server.fork()
    made.server.witness(names, actor)
    return made


def surrender(w: World, device: Device) -> World:
    made, after = w.fork("surrender"), device.fork()
    after.state = "surrendered"
    made.with_device(after)
    made.server = w.server.fork()
    aid = cast.allowance(device.who, device.hold).allowance.aid
    made.server.allowances[aid] = rules.surrender(made.server.allowances[aid])
    return made


def revoke(w: World, aid: bytes) -> World | None:
    made = w.fork("revoke")
    made.server = w.server.fork()
    return made if made.server.lose_device(aid) else None


def _upright(w: World, who: int) -> bool:
    return who != 0 or not w.scope.budget.get("rogue")


def close(w: World, aid: bytes) -> World | None:
    made, server = w.fork(""), w.server.fork()
    made.server = server
    if not server.close(aid):
        return None
    shown = {one.link.h for one in server.witnessed.get(aid, ())}
    paid = {one.h for one in server.settled.values()} | set(server.unclaimed)
    for shop in w.shops if w.scope.honest and not w.scope.quarantines else ():
        for h, row in shop.redeemed.items():
            law(
                row.returned or h not in shown or h in paid,
                "what a shop took and its payer showed is not given back at close",
            )
    return made


def hand_in(w: World, kind: str, key: Void) -> World:
    made = w.fork(kind)
    made.server = w.server.fork()
    made.server.hand_in(cast.void(*key))
    return made


def claim(w: World, h: bytes, who: int) -> World | None:
    made = w.fork("claim")
    made.server = w.server.fork()
    if not made.server.claim(h, who):
        return None
    laws.said_to_shop(who, h)
    return made


def time(w: World) -> World:
    made = w.fork("time")
    made.clock = w.clock + 1
    return made
