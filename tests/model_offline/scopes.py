"""The scopes: each a few moves of a few kinds, explored to the end."""

from dataclasses import replace

from offline.journal import CloseReason
from tests.model_offline.world import Scope
from tests.offline import kit

SCOPES = (
    Scope(
        name="one shop",
        about="loss, doubling, a device that crashes and recovers, a request that ends",
        amounts=(1, 2),
        ends=(CloseReason.EXPIRED, CloseReason.PAID_ONLINE),
        budget={"ask 0": 2, "send 0": 3, "lose": 1, "crash": 1, "end": 1},
    ),
    Scope(
        name="two shops",
        about="one payer, copies shown at another shop, syncs in any order",
        shops=2,
        budget={"ask 0": 1, "ask 1": 1, "send 0": 2, "send 1": 2, "lose": 1, "flip": 1},
    ),
    Scope(
        name="two payers",
        about="two devices at one shop, syncs that overtake one another",
        devices=2,
        flight=2,
        hold=2,
        budget={"ask 0": 2, "send 0": 3, "lose": 1, "crash": 1},
    ),
    Scope(
        name="small batches",
        about="one row in a batch, and a stop that comes in between",
        most=1,
        flight=2,
        budget={"ask 0": 2, "send 0": 4, "revoke": 1},
    ),
    Scope(
        name="revocation",
        about="a lost device at two shops: taken before and after the stop is known",
        shops=2,
        budget={"ask 0": 1, "ask 1": 1, "send 0": 3, "send 1": 2, "revoke": 1},
    ),
    Scope(
        name="voids",
        about="refused and returned, handed in before, with and after the voucher",
        budget={"ask 0": 2, "send 0": 2, "void": 1, "return": 1, "hand in": 1},
    ),
    Scope(
        name="altered copies",
        about="the same payment with a signature that does not hold, and with another that does",
        budget={"ask 0": 2, "send 0": 1, "void": 1, "hand in": 1, "flip": 1, "second": 1},
    ),
    Scope(
        name="close",
        about="what no terminal brought: closed requests, witness, surrender, close",
        budget={"ask 0": 2, "send 0": 2, "end": 1, "witness": 1, "surrender": 1, "time": 2},
    ),
    Scope(
        name="claim",
        about="what comes after the close: the merchant's claim, and a void that comes later still",
        budget={
            "ask 0": 1, "send 0": 2, "return": 1, "hand in": 1, "witness": 1, "time": 2, "claim": 1,
        },
    ),
    Scope(
        name="forging payer",
        about="double signing, broken cum and prev, at two shops",
        shops=2,
        amounts=(2,),
        honest=False,
        budget={"ask 0": 1, "ask 1": 1, "send 0": 1, "send 1": 1, "forge": 2},
    ),
    Scope(
        name="forged and closed",
        about="who lost to a double spend, at close",
        shops=2,
        amounts=(2,),
        honest=False,
        budget={"ask 0": 1, "ask 1": 1, "send 0": 1, "send 1": 1, "forge": 1, "time": 2},
    ),
    Scope(
        name="device put back",
        about="a copied file of a payer's device, and a crash",
        shops=2,
        budget={
            "ask 0": 1, "ask 1": 1, "send 0": 1, "send 1": 1, "crash": 1, "device copy": 1,
            "device back": 1,
        },
    ),
    Scope(
        name="restore",
        about="a terminal restored by command, from a copy of any moment",
        budget={"ask 0": 2, "send 0": 3, "copy": 1, "restore": 2, "void": 1},
    ),
    Scope(
        name="fork",
        about="a copied database file runs on, before and after a restore",
        honest=False,
        quarantines=True,
        flight=2,
        budget={"ask 0": 2, "send 0": 3, "copy": 1, "put back": 1, "restore": 1},
    ),
    Scope(
        name="rogue shop",
        about="a shop that journals what it likes, with a payer who signs what it likes",
        shops=2,
        honest=False,
        budget={"ask 0": 1, "ask 1": 1, "send 0": 1, "send 1": 1, "rogue": 2, "forge": 1},
    ),
    Scope(
        name="strangers",
        about="a shop that voids what is not its own, a merchant who bears witness",
        shops=2,
        budget={"ask 0": 2, "send 0": 2, "foreign void": 1, "stranger": 1, "witness": 1, "time": 2},
    ),
    Scope(
        name="floor limit",
        about="as much unsettled money as a shop may hold, and no more requests",
        devices=2,
        risk=replace(kit.RISK, soft_sum=1, hard_sum=1),
        budget={"ask 0": 2, "send 0": 2, "end": 1, "return": 1},
    ),
)  # fmt: skip
BY_NAME = {one.name: one for one in SCOPES}
