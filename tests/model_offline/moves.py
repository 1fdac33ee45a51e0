"""Every move that may be made from a world: its kind, in words, and the act itself."""

from collections.abc import Callable, Iterator

from offline.model import VoidReason
from server_core.actor import Actor, Role
from tests.model_offline import acts, cast
from tests.model_offline.device import Device, forgeries
from tests.model_offline.shop import Shop
from tests.model_offline.world import BY_NUMBER, World

Move = tuple[str, Callable[[], World | None]]


def every(w: World) -> Iterator[Move]:
    for shop in w.shops:
        # Of two shops that are alike the first to act is the first: the others mirror it.
        if shop.who == 0 or any(who == 0 for who, *_ in w.asked):
            yield from _sales(w, shop)
            yield from _syncs(w, shop)
            yield from _copies(w, shop)
    for device in w.devices:
        if device.who == 0 or w.devices[0].counter:
            yield from _payer(w, device)
    yield from _server(w)
    if w.may("time") and w.clock + 1 < len(cast.TIMES):
        yield "time passes", lambda: acts.time(w)


def _sales(w: World, shop: Shop) -> Iterator[Move]:
    number = sum(who == shop.who for who, *_ in w.asked)
    if w.may(f"ask {shop.who}"):
        for amount in w.scope.amounts:
            yield (
                f"shop {shop.who} shows request {number + 1} for {amount}",
                lambda amount=amount: acts.ask(w, shop, number, amount),
            )  # fmt: skip
    if w.may("end"):
        for nonce, row in shop.requests.items():
            if row.state == "open":
                for reason in w.scope.ends:
                    yield (
                        f"shop {shop.who} closes request {nonce[7]} as {reason}",
                        lambda nonce=nonce, reason=reason: acts.end(w, shop, nonce, reason),
                    )  # fmt: skip
    for name in sorted(w.air):
        yield (
            f"shop {shop.who} scans {cast.said(name)}",
            lambda name=name: acts.scan(w, shop, name),
        )  # fmt: skip
        for kind in ("void", "return"):
            if w.may(kind):
                yield (
                    f"shop {shop.who} signs a void ({kind}) of {cast.said(name)}",
                    lambda name=name, kind=kind: acts.void(w, shop, name, kind),
                )  # fmt: skip
        if w.may("rogue") and shop.who == 0:
            yield (
                f"shop {shop.who} journals {cast.said(name)} without asking",
                lambda name=name: acts.rogue(w, shop, name),
            )  # fmt: skip


def _syncs(w: World, shop: Shop) -> Iterator[Move]:
    mine = [n for n in w.net if BY_NUMBER[n].terminal == cast.TERMINALS[shop.who].id]
    if w.may(f"send {shop.who}") and len(mine) < w.scope.flight:
        yield f"shop {shop.who} sends a sync", lambda: acts.send(w, shop)
    if mine and w.may("lose"):
        yield (
            f"a sync of shop {shop.who} is lost",
            lambda: acts.lose(w, min(mine)),
        )  # fmt: skip
    for at, answer in sorted(w.answers):
        if at == shop.pending:
            yield (
                f"shop {shop.who} takes the answer",
                lambda at=at, answer=answer: acts.take(w, shop, at, answer),
            )  # fmt: skip


def _copies(w: World, shop: Shop) -> Iterator[Move]:
    if w.may("copy"):
        yield f"shop {shop.who}'s file is copied", lambda: acts.copy(w, shop)
    kept = w.copies[shop.who]
    if kept is not None and w.may("put back"):
        yield (
            f"shop {shop.who}'s copy is put back without a word",
            lambda: acts.put_back(w, kept),
        )  # fmt: skip
    if kept is not None and w.may("restore"):
        yield (
            f"shop {shop.who} is restored by command from its copy",
            lambda: acts.restore(w, shop, kept),
        )  # fmt: skip


def _payer(w: World, device: Device) -> Iterator[Move]:
    d = device.who
    for who, number, amount in sorted(w.asked):
        request = cast.request(who, number, amount)
        what = f"request {number + 1} of shop {who}"
        yield f"device {d} pays {what}", lambda r=request: acts.pay(w, device, r, crash=False)
        if w.may("crash"):
            yield (
                f"device {d} reserves {what} and crashes",
                lambda r=request: acts.pay(w, device, r, crash=True),
            )  # fmt: skip
        if w.may("forge") and d == 0:
            for h in forgeries(device, request, w.air):
                if h not in w.air:
                    yield (
                        f"device {d} forges {cast.said(h)}",
                        lambda h=h: acts.shown(w, "forge", [h]),
                    )  # fmt: skip
    if any(not is_signed for *_, is_signed in device.answered.values()):
        yield f"device {d} recovers", lambda: acts.recover(w, device)
    own = [
        n for n in sorted(w.air) if cast.VOUCHERS[n].allowance.aid[0] == 0xA0 + d and len(n) == 32
    ]
    if w.may("flip"):
        for name in own:
            yield (
                f"somebody flips a bit of {cast.said(name)}",
                lambda name=name: acts.shown(w, "flip", [cast.altered(name, cast.FLIPPED)]),
            )  # fmt: skip
    if w.may("second"):
        for name in own:
            yield (
                f"somebody signs {cast.said(name)} in its second form",
                lambda name=name: acts.shown(w, "second", [cast.altered(name, cast.SECOND)]),
            )  # fmt: skip
    if w.may("device copy"):
        yield f"device {d}'s file is copied", lambda: acts.copy_device(w, device)
    kept = w.device_copies[d]
    if kept is not None and w.may("device back"):
        yield (
            f"device {d}'s file is put back",
            lambda: acts.device_back(w, device, kept),
        )  # fmt: skip


def _server(w: World) -> Iterator[Move]:
    for n in sorted(w.net):
        who = cast.WHO[BY_NUMBER[n].terminal]
        yield f"the server takes a sync of shop {who}", lambda n=n: acts.serve(w, n)
    for device in w.devices:
        yield from _payers_server(w, device)
    if w.may("hand in"):
        for key in sorted(w.voids):
            yield (
                f"a void of {cast.said(key[1])} is handed in",
                lambda key=key: acts.hand_in(w, "hand in", key),
            )  # fmt: skip
    if w.may("foreign void"):
        for name in sorted(w.air):
            key = (1, name, 1, VoidReason.REFUSED)
            yield (
                f"shop 1 hands in its own void of {cast.said(name)}",
                lambda key=key: acts.hand_in(w, "foreign void", key),
            )  # fmt: skip
    if w.may("claim"):
        for h in sorted(w.server.unclaimed):
            for who in range(w.scope.shops):
                yield (
                    f"shop {who} claims {cast.said(h)}",
                    lambda h=h, who=who: acts.claim(w, h, who),
                )  # fmt: skip


def _payers_server(w: World, device: Device) -> Iterator[Move]:
    """What a payer, or somebody in its name, does at the server, and the end of its allowance."""
    d = device.who
    aid = cast.allowance(d, w.scope.hold).allowance.aid
    own = [n for n in sorted(w.air) if cast.VOUCHERS[n].allowance.aid == aid]
    if own and w.may("witness"):
        payer = Actor(party=cast.party(d), role=Role.PAYER)
        yield (
            f"payer {d} shows its vouchers",
            lambda: acts.witness(w, "witness", own, payer),
        )  # fmt: skip
    if own and w.may("stranger"):
        other = Actor(party=cast.TERMINALS[0].party, role=Role.MERCHANT)
        yield (
            f"a merchant shows payer {d}'s vouchers",
            lambda: acts.witness(w, "stranger", own, other),
        )  # fmt: skip
    if w.may("surrender") and device.state == "active":
        yield f"device {d} gives its allowance back", lambda: acts.surrender(w, device)
    if w.may("revoke"):
        yield f"device {d} is reported lost", lambda: acts.revoke(w, aid)
    if w.clock >= cast.OVER:
        yield f"the allowance of device {d} is closed", lambda: acts.close(w, aid)
