from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.clock import Clock, ManualClock
from server_core.sandbox.line import Line
from server_core.sandbox.model import Behaviour, Refusal
from server_core.sandbox.store import Store
from server_core.sandbox.upi import UpiDesk

NOW_MS = 1_790_000_000_000


def body(number: int = 0, payer: str = "asha@okbank", amount: int = 100) -> dict[str, Any]:
    return {
        "txn_id": f"HUN{number:032X}",
        "amount_minor": amount,
        "currency": "INR",
        "payer_vpa": payer,
        "payee_vpa": "shop@hundi",
    }


def opened(
    path: Path | None = None, most: int = 100, clock: Clock | None = None, **behaviour: Any
) -> UpiDesk:
    store = Store(path, most=most)
    store.open()
    return UpiDesk(Line(Behaviour(**behaviour), clock or ManualClock(NOW_MS)), store, unheard)


def unheard(kind: str, outcome: dict[str, Any]) -> None:
    """Where nobody listens for callbacks."""


@pytest.fixture
def switch() -> Iterator[UpiDesk]:
    one = opened()
    yield one
    one._store.close()


async def refusal(call: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as refused:
        await call
    return refused.value.status, refused.value.code


async def test_the_same_seed_answers_the_same_and_takes_the_same_time():
    told = []
    for _ in range(2):
        clock = ManualClock(NOW_MS)
        switch = opened(clock=clock, decline_rate=0.4, unknown_rate=0.2, seed=11)
        answers = [await switch.take(body(number)) for number in range(60)]
        told.append((answers, clock.now_ms()))
        switch._store.close()
    assert told[0] == told[1]
    assert told[0][1] > NOW_MS + 60 * 50


async def test_an_answer_takes_its_latency_and_a_slow_one_longer():
    clock = ManualClock(NOW_MS)
    switch = opened(clock=clock, latency_median_ms=0, hold_ms=40_000)
    await switch.take(body(1))
    assert clock.now_ms() == NOW_MS
    await switch.take(body(2, "slow@okbank"))
    assert clock.now_ms() == NOW_MS + 3_000
    await switch.take(body(3, "slow.250@okbank"))
    assert clock.now_ms() == NOW_MS + 3_250
    await switch.take(body(4, "timeout@okbank"))
    assert clock.now_ms() == NOW_MS + 43_250
    await switch.take(body(4, "timeout@okbank"))  # a repeat is not held
    assert clock.now_ms() == NOW_MS + 43_250
    switch._store.close()


async def test_references_differ(switch: UpiDesk):
    answers = [(await switch.take(body(number))).said for number in range(20)]
    assert len({said["rrn"] for said in answers if said}) == 20


async def test_a_full_switch_refuses_new_ids_and_still_knows_the_old():
    switch = opened(most=2)
    await switch.take(body(1))
    assert await refusal(switch.status(body(2)["txn_id"])) == (404, "upi.txn_not_found")
    assert await refusal(switch.take(body(3))) == (503, "upi.full")
    assert await refusal(switch.status(body(3)["txn_id"])) == (503, "upi.full")
    assert (await switch.take(body(1))).status == 200
    assert await refusal(switch.take(body(2))) == (410, "upi.txn_tombstoned")
    assert switch._store.count == 2
    switch._store.close()


async def test_a_known_id_under_a_malformed_body_is_a_conflict_not_a_bad_request(switch: UpiDesk):
    await switch.take(body(1))
    assert await refusal(switch.take(body(1, amount=0))) == (409, "upi.txn_conflict")
    assert await refusal(switch.take(body(1, amount=101))) == (409, "upi.txn_conflict")
    assert await refusal(switch.take(body(2, amount=0))) == (400, "upi.amount")


async def test_a_reversal_tombstones_what_never_came(switch: UpiDesk):
    said = {"txn_id": body(1)["txn_id"]}
    assert await refusal(switch.reverse(said)) == (404, "upi.txn_not_found")
    assert await refusal(switch.take(body(1))) == (410, "upi.txn_tombstoned")


async def test_a_contradiction_can_be_steered(switch: UpiDesk):
    txn_id = body(1)["txn_id"]
    assert (await switch.take(body(1, "decline.Z9@okbank"))).said["code"] == "Z9"
    switch.steer(txn_id, {"code": "00", "asks": 1})
    told = [(await switch.status(txn_id)).said["code"] for _ in range(2)]
    assert told == ["Z9", "00"]
    reversed_ = (await switch.reverse({"txn_id": txn_id})).said
    assert (reversed_["code"], reversed_["reversed"]) == ("00", True)


async def test_a_contradicting_payer_is_debited(switch: UpiDesk):
    paid = (await switch.take(body(1, "contradict@okbank"))).said
    found = (await switch.status(body(1)["txn_id"])).said
    assert (paid["code"], found["code"]) == ("Z9", "00")


@pytest.mark.parametrize(
    "said", [{}, {"code": 0}, {"code": "zz"}, {"code": "00", "asks": -1}, {"code": "00", "x": 1}]
)
async def test_bad_steering_is_refused(switch: UpiDesk, said: dict[str, Any]):
    await switch.take(body(1))
    with pytest.raises(Refusal) as refused:
        switch.steer(body(1)["txn_id"], said)
    assert refused.value.code == "upi.steering"


async def test_only_what_is_known_can_be_steered(switch: UpiDesk):
    with pytest.raises(Refusal) as refused:
        switch.steer(body(1)["txn_id"], {"code": "00"})
    assert refused.value.status == 404
    assert switch._store.count == 0


async def test_a_restart_forgets_nothing(tmp_path: Path):
    path = tmp_path / "upi.db"
    before = opened(path)
    paid = await before.take(body(1))
    await before.take(body(2, "deemed.1@okbank"))
    await before.status(body(2)["txn_id"])
    await before.take(body(3))
    await before.reverse({"txn_id": body(3)["txn_id"]})
    assert await refusal(before.status(body(4)["txn_id"])) == (404, "upi.txn_not_found")
    before._store.close()

    after = opened(path)
    assert after._store.count == 4
    assert await after.take(body(1)) == paid
    assert await refusal(after.take(body(1, amount=5))) == (409, "upi.txn_conflict")
    assert (await after.status(body(2)["txn_id"])).said["code"] == "00"
    assert (await after.status(body(3)["txn_id"])).said["reversed"] is True
    assert await refusal(after.take(body(4))) == (410, "upi.txn_tombstoned")
    assert (await after.take(body(5))).said["rrn"] not in {paid.said["rrn"], None}
    after._store.close()
