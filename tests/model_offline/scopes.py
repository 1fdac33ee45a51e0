"""The scopes: each a few moves of a few kinds, explored to the end."""

from edge_agent.store.terminal_rows import ShopLimits
from offline.journal import CloseReason
from tests.model_offline.world import Scope

_ENDS = (CloseReason.EXPIRED, CloseReason.PAID_ONLINE)

SCOPES = (
    Scope(
        name="one shop",
        about="loss, doubling, a device that crashes and recovers, a request that expires",
        amounts=(1, 2),
        ends=_ENDS,
        budget={"ask 0": 2, "send 0": 3, "lose": 1, "crash": 1, "end": 1},
    ),
    Scope(
        name="two shops",
        about="one payer, copies shown at another shop, syncs in any order",
        shops=2,
        budget={"ask 0": 2, "ask 1": 1, "send 0": 2, "send 1": 2, "lose": 1, "flip": 1},
    ),
    Scope(
        name="two payers",
        about="two devices at one shop, syncs that overtake one another",
        devices=2,
        flight=2,
        hold=2,
        budget={"ask 0": 3, "send 0": 3, "lose": 1, "crash": 1, "end": 1},
    ),
    Scope(
        name="small batches",
        about="one row in a batch, answers lost, a stop that comes in between",
        most=1,
        flight=2,
        budget={"ask 0": 2, "send 0": 4, "lose": 1, "revoke": 1, "end": 1},
    ),
    Scope(
        name="revocation",
        about="a lost device at two shops: taken before and after the stop is known",
        shops=2,
        flight=2,
        budget={"ask 0": 2, "ask 1": 1, "send 0": 3, "send 1": 2, "revoke": 1},
    ),
    Scope(
        name="voids",
        about="refused and returned, handed in before, with and after the voucher",
        amounts=(1, 2),
        budget={
            "ask 0": 2, "send 0": 3, "void": 1, "return": 1, "hand in": 2, "end": 1, "flip": 1,
            "lose": 1,
        },
    ),
    Scope(
        name="close",
        about="what no terminal brought: witness, surrender, close, claim",
        budget={
            "ask 0": 2, "send 0": 3, "end": 1, "void": 1, "hand in": 1, "witness": 1, "surrender": 1,
            "time": 3, "claim": 1,
        },
    ),
    Scope(
        name="forging payer",
        about="double signing, broken cum and prev, at two shops",
        shops=2,
        hold=3,
        honest=False,
        budget={"ask 0": 2, "ask 1": 1, "send 0": 2, "send 1": 2, "forge": 3, "flip": 1},
    ),
    Scope(
        name="forged and closed",
        about="who lost to a double spend, at close",
        shops=2,
        hold=3,
        amounts=(1, 2),
        honest=False,
        budget={
            "ask 0": 1, "ask 1": 1, "send 0": 2, "send 1": 2, "forge": 2, "witness": 1, "void": 1,
            "hand in": 1, "time": 2, "claim": 1,
        },
    ),
    Scope(
        name="device put back",
        about="a copied file of a payer's device, crashes around it",
        shops=2,
        budget={
            "ask 0": 2, "ask 1": 1, "send 0": 2, "send 1": 1, "crash": 2, "device copy": 1,
            "device back": 1,
        },
    ),
    Scope(
        name="restore",
        about="a terminal restored by command, from a copy of any moment",
        honest=True,
        budget={"ask 0": 3, "send 0": 4, "copy": 1, "restore": 2, "void": 1, "end": 1},
    ),
    Scope(
        name="fork",
        about="a copied database file runs on, beside and after a restore",
        honest=False,
        quarantines=True,
        flight=2,
        budget={"ask 0": 2, "send 0": 4, "copy": 1, "put back": 2, "restore": 1, "revoke": 1},
    ),
    Scope(
        name="rogue shop",
        about="a shop that journals what it likes, another that voids what is not its own",
        shops=2,
        honest=False,
        budget={
            "ask 0": 1, "ask 1": 2, "send 0": 2, "send 1": 2, "rogue": 2, "foreign void": 1,
            "flip": 1, "witness": 1, "stranger": 1, "time": 2, "claim": 1,
        },
    ),
    Scope(
        name="floor limit",
        about="as much unsettled money as a shop may hold, and no more requests",
        devices=2,
        limits=ShopLimits(floor_limit=2),
        budget={"ask 0": 4, "send 0": 3, "end": 1, "return": 1},
    ),
)  # fmt: skip
