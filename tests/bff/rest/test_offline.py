"""Offline money over REST: a shop's terminals by pages, and its claims; nobody else's."""

import pytest

from offline.verdicts import Verdict
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import Bearer
from tests.bff.rest.conftest import OPERATOR, Door
from tests.bff.rest.test_lists import page, walk
from tests.bff.rest.test_payments import PROBLEM
from tests.server_core.vouchers.street import ACCEPTED, Street


def street_of(door: Door) -> Street:
    return Street(door.core.db, door.core.trust)


async def closed(door: Door, *texts: str, actor=None) -> None:
    """Every allowance is closed, after its payer showed `texts`."""
    if texts:
        await vouchers.witness(door.core.db, door.core.trust, actor, list(texts))
    await door.sql("UPDATE allowance SET spend_until = 1, settle_until = 1")
    await jobs.tick(door.core.db)


async def test_a_shop_walks_its_own_terminals(door: Door) -> None:
    street = street_of(door)
    own = [(await street.shop(door.shop)).terminal for _ in range(5)]
    await street.shop()
    found = await walk(door, "/terminals?", "terminals", by="shop")
    assert [one["id"] for one in found] == sorted(one.id.hex() for one in own)
    assert {(one["state"], one["rows_behind"], one["stops_behind"]) for one in found} == {
        ("active", 0, found[0]["stops_behind"])
    }
    assert (await page(door, "/terminals"))["terminals"] == []  # a payer has none


async def test_what_a_payer_showed_and_the_terminal_did_not_send(door: Door) -> None:
    street = street_of(door)
    actor = await street.payer()
    shop, phone = await street.shop(door.shop), await street.phone(actor)
    sold = phone.pay(shop, 12_345)
    await vouchers.witness(door.core.db, door.core.trust, actor, [sold.to_text()])
    [one] = (await page(door, "/terminals", "shop"))["terminals"]
    assert one["unsent"] == {"INR": "12345"}


async def test_a_witnessed_voucher_is_claimed_at_once_and_once(door: Door) -> None:
    street = street_of(door)
    actor = await street.payer()
    shop, phone = await street.shop(door.shop), await street.phone(actor)
    sold = phone.pay(shop, 12_345)
    await closed(door, sold.to_text(), actor=actor)
    [waits] = (await page(door, "/vouchers/unclaimed", "shop"))["unclaimed"]
    assert (waits["voucher"], waits["amount"], waits["paid_to"]) == (sold.h.hex(), "12345", None)
    shop.accept(sold)
    assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED]
    before = await door.balance(door.shop)
    for _ in range(2):
        answer = await door.post(f"/vouchers/{sold.h.hex()}/claim", by="shop")
        assert (answer.status_code, answer.json()["state"]) == (200, "paid")
    assert await door.balance(door.shop) == before + 12_345
    [paid] = (await page(door, "/vouchers/unclaimed", "shop"))["unclaimed"]
    assert paid["paid_to"] == "merchant"


async def test_a_late_one_waits_for_an_operator(door: Door) -> None:
    street = street_of(door)
    shop, phone = await street.shop(door.shop), await street.phone()
    sold = phone.pay(shop, 12_345)
    await closed(door)
    shop.accept(sold)
    await shop.sync()
    path = f"/vouchers/{sold.h.hex()}/claim"
    assert (await door.post(path, by="shop")).json()["state"] == "waiting"
    await vouchers.decide(door.core.db, OPERATOR, sold.h, Bearer.HOUSE)
    said = (await door.post(path, by="shop")).json()
    assert said == {
        "voucher": sold.h.hex(), "amount": "12345", "currency": "INR", "state": "paid",
    }  # fmt: skip


async def test_what_is_not_ones_own_is_not_there(door: Door) -> None:
    street = street_of(door)
    shop, phone = await street.shop(), await street.phone()
    sold = phone.pay(shop, 12_345)
    shop.accept(sold)
    assert await shop.sync() == [ACCEPTED]
    for by in ("asha", "shop"):
        answer = await door.post(f"/vouchers/{sold.h.hex()}/claim", by=by)
        assert answer.status_code == 404
        assert answer.json()["code"] == "vouchers.unclaimed_unknown"
    assert (await page(door, "/vouchers/unclaimed"))["unclaimed"] == []


@pytest.mark.parametrize("name", ["x", "00", "0" * 63, "g" * 64, "0" * 66, "0" * 5000])
async def test_a_wrong_name_is_told(door: Door, name: str) -> None:
    answer = await door.post(f"/vouchers/{name}/claim", by="shop")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] == "vouchers.name"


@pytest.mark.parametrize("after", ["", "x", "AAAA", "dGVybWluYWxzOnp6"])
async def test_a_wrong_cursor_is_told(door: Door, after: str) -> None:
    answer = await door.get(f"/terminals?after={after}", "shop")
    assert (answer.status_code, answer.json()["code"]) == (400, "http.cursor")
