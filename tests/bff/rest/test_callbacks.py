"""What upi-core tells by itself: signed, a reason to ask now, and never a reason to move money."""

import json
import re

import httpx
import pytest

from server_core.payments import jobs
from server_core.rails.callbacks import sign
from server_core.telemetry import metrics
from tests.bff.rest.conftest import CALLBACK_KEY, Door

PATH = "/rails/callbacks"


def saying(txn: str, **more: object) -> bytes:
    body = {
        "id": "cb_" + "0" * 32, "kind": "upi.txn", "txn_id": txn, "code": "00",
        "rrn": "412345678901", "amount_minor": 15_000, "reversed": False, "reference": None,
    }  # fmt: skip
    return json.dumps(body | more).encode()


async def tell(
    door: Door, raw: bytes, key: bytes = CALLBACK_KEY, ahead_ms: int = 0
) -> httpx.Response:
    headers = {"upi-core-signature": sign(raw, key, door.core.clock.now_ms() + ahead_ms)}
    return await door.http.post(PATH, content=raw, headers=headers)


async def attempt_of(door: Door, intent: str) -> str:
    [row] = await door.sql(
        "SELECT a.id, a.next_check_at, a.state FROM attempt a ORDER BY started_at DESC LIMIT 1"
    )
    return row


async def open_attempt(door: Door):
    body = door.payment(method="upi", payer_vpa="deemed.99@okbank")
    answer = await door.post("/payments", body)
    assert answer.status_code == 202, answer.text
    return await attempt_of(door, answer.json()["id"])


async def test_a_signed_one_makes_the_next_ask_come_now(door: Door) -> None:
    attempt = await open_attempt(door)
    assert attempt["next_check_at"] > door.core.clock.now_ms()
    before = await door.balance(door.shop)
    answer = await tell(door, saying("HUN" + attempt["id"].hex.upper()))
    assert answer.status_code == 204, answer.text
    after = await attempt_of(door, "")
    assert after["next_check_at"] <= door.core.clock.now_ms()
    assert (after["state"], await door.balance(door.shop)) == ("unknown", before)  # nothing moved


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"key": b"x" * 32}, 403), ({"ahead_ms": 400_000}, 403), ({"ahead_ms": -400_000}, 403),
    ],
)  # fmt: skip
async def test_a_forged_or_stale_one_is_refused(door: Door, change, status) -> None:
    assert (await tell(door, saying("HUN" + "0" * 32), **change)).status_code == status


async def test_what_is_not_signed_not_read_or_not_ours(door: Door) -> None:
    assert (await door.http.post(PATH, content=b"{}")).status_code == 403
    assert (await tell(door, b"{}")).status_code == 400
    assert (await tell(door, b"x" * 20_000)).status_code == 403
    for txn in ("HUN" + "0" * 32, "AXB" + "0" * 32, "HUN1", "x"):
        assert (await tell(door, saying(txn))).status_code == 204
    refund = saying("HUN" + "0" * 32, kind="upi.refund", refund_id="HUN" + "1" * 32)
    assert (await tell(door, refund)).status_code == 204


async def contradictions(door: Door) -> float:
    text = metrics.text()
    [line] = re.findall(
        r'^hundi_duplicates_suspected_total\{kind="contradicted"\} (\S+)$', text, re.MULTILINE
    )
    return float(line)


@pytest.mark.parametrize(
    ("note", "code", "state", "denied"),
    [("decline.Z9", "00", "failed", 0), ("", "Z9", "succeeded", 1), ("", "00", "succeeded", 0)],
)
async def test_a_refund_that_a_rail_denies_is_told_and_moves_nothing(
    door: Door, note: str, code: str, state: str, denied: int
) -> None:
    paid = (
        await door.post("/payments", door.payment(method="upi", payer_vpa="asha@okbank"))
    ).json()
    asked = {"payment_id": paid["id"], "note": note}
    await door.post("/refunds", asked, by="shop")
    [refund] = await door.sql("SELECT id, state FROM refund ORDER BY created_at DESC LIMIT 1")
    assert refund["state"] == state
    before, counted = await door.balance(door.shop), await contradictions(door)
    name = "HUN" + refund["id"].hex.upper()
    raw = saying("HUN" + "0" * 32, kind="upi.refund", refund_id=name, code=code)
    assert (await tell(door, raw)).status_code == 204
    assert await door.balance(door.shop) == before
    assert await contradictions(door) == counted + denied


async def test_a_scanned_link_is_told_and_paid(door: Door, upi_core: str) -> None:
    url = f"{door.http.base_url}".rstrip("/") + PATH
    async with httpx.AsyncClient(base_url=upi_core) as switch:
        await switch.post("/upi/admin/behaviour", json={"callback_url": url})
        intent = await door.bill()
        shown = await door.post(f"/intents/{intent}/confirm", {"method": "upi_link"}, by="shop")
        assert shown.status_code == 202, shown.text
        action = shown.json()["next_action"]
        assert action["type"] == "display_qr"
        scan = {"link": action["url"], "payer_vpa": "ravi@okbank"}
        assert (await switch.post("/upi/admin/scan", json=scan)).status_code == 200
        for _ in range(200):  # far below the first look of the schedule
            await jobs.reconcile(door.core.db, door.core.rails)
            paid = (await door.get(f"/intents/{intent}", by="shop")).json()
            if paid["state"] == "succeeded":
                break
            await door.core.clock.sleep(0.05)
        await switch.post("/upi/admin/behaviour", json={"callback_url": ""})
    assert (paid["state"], paid["next_action"]) == ("succeeded", None)
