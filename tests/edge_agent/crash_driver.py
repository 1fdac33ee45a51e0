"""A terminal or a payer in a process of its own that works until it is killed, and says what it has shown."""

import sys
from dataclasses import replace
from pathlib import Path

from nacl.signing import SigningKey

from edge_agent.accepting import accept
from edge_agent.asking import ask
from offline.codec import voucher_bytes
from offline.model import NO_PREV, Voucher
from offline.signing import voucher_hash, voucher_message
from offline.wire import SignedVoucher
from tests.edge_agent.world import NOW_S, World, give, sign
from tests.offline import kit

MANY = 10**12
RISK = replace(kit.RISK, hard_sum=MANY, allowance_sum=MANY)


def say(word: str, what: str) -> None:
    sys.stdout.write(f"{word} {what}\n")
    sys.stdout.flush()


def shop(folder: Path, seed: int) -> None:
    world = World(folder)
    world.entropy = type(world.entropy)(f"shop {seed}")
    world.issuer.entropy = type(world.entropy)(f"issuer {seed}")
    terminal = world.terminal(risk=RISK)
    key = SigningKey(seed.to_bytes(32, "big"))
    allowance = world.issuer.allowance(bytes(key.verify_key), max_count=65_535)
    counter, cum, prev = 0, 0, NO_PREV
    say("ready", "")
    while counter < 60_000:
        asked = ask(terminal, 3)
        counter, cum = counter + 1, cum + 3
        body = voucher_bytes(
            Voucher(
                counter=counter,
                amount=3,
                cum=cum,
                payee=terminal.me.payee,
                terminal=terminal.me.terminal,
                nonce=asked.nonce,
                ts=NOW_S,
                prev=prev,
            )
        )
        sig = sign(key, voucher_message(allowance.allowance_raw, body))
        signed = SignedVoucher.of(
            allowance.kid, allowance.allowance_raw, allowance.sig_a, body, sig
        )
        prev = voucher_hash(allowance.allowance_raw, body)[:8]
        assert accept(terminal, signed.to_text()).paid
        say("paid", signed.h.hex())


def payer(folder: Path, seed: int) -> None:
    world = World(folder)
    world.entropy = type(world.entropy)(f"payer {seed}")
    device = world.payer(allowance=False)
    if device.store.usable() is None:
        give(
            device.store,
            world.issuer.allowance(device.keys.public_key(), cap_total=200_000, max_count=65_535),
        )
    terminal = world.terminal(f"shop{seed}", terminal=seed.to_bytes(4, "big"), risk=RISK)
    device.recover()
    say("ready", "")
    for _ in range(10_000):
        say("shown", device.pay(ask(terminal, 1).text).to_text())


if __name__ == "__main__":
    {"shop": shop, "payer": payer}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
