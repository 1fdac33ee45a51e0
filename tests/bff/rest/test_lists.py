"""Lists over REST: whole walks while more is made, what each side sees, and how a wrong query is told."""

import base64

import httpx
import pytest

from server_core.ids import public
from tests.bff.rest.conftest import Door
from tests.bff.rest.test_payments import PROBLEM, told


async def page(door: Door, path: str, by: str = "asha") -> dict:
    answer = await door.get(path, by)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def walk(door: Door, path: str, kind: str, by: str = "asha", between=None) -> list[dict]:
    """Every entry of a list by pages of two; `between` runs after each page."""
    found, after = [], ""
    for _ in range(50):
        said = await page(door, f"{path}limit=2{after}", by)
        found += said[kind]
        assert len(said[kind]) == 2 or said["next"] is None
        if said["next"] is None:
            return found
        after = f"&after={said['next']}"
        if between is not None:
            await between()
    pytest.fail("the walk does not end")


async def paid(door: Door, amount: str = "1000", **more: str) -> str:
    answer = await door.post("/payments", door.payment(amount=amount, **more))
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def back(door: Door, payment: str, amount: str) -> dict:
    answer = await door.post("/refunds", {"payment_id": payment, "amount": amount}, by="shop")
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_payments_are_walked_whole_while_new_ones_are_made(door: Door) -> None:
    made = []
    for _ in range(5):
        made.append(await paid(door))
        await door.bill()  # nobody has paid it: it is the shop's alone
    late = []

    async def more() -> None:
        late.append(await paid(door, "1"))

    walked = await walk(door, "/intents?", "intents", between=more)
    assert [one["id"] for one in walked] == made[::-1]
    again = await walk(door, "/intents?", "intents")
    assert [one["id"] for one in again] == [*late[::-1], *made[::-1]]
    for one in again:
        assert one == (await door.get(f"/intents/{one['id']}")).json()


async def test_sent_and_received_stand_in_one_list_and_a_stranger_sees_none(door: Door) -> None:
    topped = {"amount": "500", "purpose": "top_up", "method": "upi", "payer_vpa": "asha@okbank"}
    own = (await door.post("/payments", topped)).json()["id"]
    got = await door.post(
        "/intents", {"payee_id": public("pty", door.asha.id), "amount": "7"}, by="ravi"
    )
    sent = await paid(door)
    assert [one["id"] for one in await walk(door, "/intents?", "intents")] == [
        sent, got.json()["id"], own,
    ]  # fmt: skip
    assert [one["id"] for one in await walk(door, "/intents?", "intents", "shop")] == [sent]
    assert len((await page(door, "/intents", "ravi"))["intents"]) == 1
    bill = await door.bill()
    assert bill not in {one["id"] for one in (await page(door, "/intents"))["intents"]}


async def test_a_page_has_twenty_unless_it_says_otherwise(door: Door) -> None:
    for _ in range(21):
        await door.bill()
    first = await page(door, "/intents", "shop")
    assert len(first["intents"]) == 20
    rest = await page(door, f"/intents?after={first['next']}", "shop")
    assert (len(rest["intents"]), rest["next"]) == (1, None)
    exactly = await page(door, "/intents?limit=21", "shop")
    assert (len(exactly["intents"]), exactly["next"]) == (21, None)
    assert len((await page(door, "/intents?limit=100", "shop"))["intents"]) == 21


async def test_refunds_are_walked_whole_by_either_side_or_of_one_payment(door: Door) -> None:
    one, other = await paid(door), await paid(door)
    made = [await back(door, payment, str(n + 1)) for n in range(3) for payment in (one, other)]
    late = []

    async def more() -> None:
        late.append(await back(door, one, "9"))

    ids = [refund["id"] for refund in made]
    for by in ("asha", "shop"):
        before = [refund["id"] for refund in late]
        walked = await walk(door, "/refunds?", "refunds", by, between=more)
        assert sorted(refund["id"] for refund in walked) == sorted(ids + before)
    walked = await walk(door, f"/refunds?intent={other}&", "refunds", between=more)
    assert sorted(refund["id"] for refund in walked) == sorted(ids[1::2])
    assert all(refund["payment_id"] == other for refund in walked)
    times = [refund["created_at"] for refund in await walk(door, "/refunds?", "refunds")]
    assert times == sorted(times, reverse=True)
    shown = await page(door, "/refunds?limit=1")
    [newest] = shown["refunds"]
    assert newest == (await door.get(f"/refunds/{newest['id']}")).json()


async def test_another_s_refunds_are_as_if_they_were_not_there(door: Door) -> None:
    payment = await paid(door)
    await back(door, payment, "5")
    assert await page(door, "/refunds", "ravi") == {"refunds": [], "next": None}
    theirs = await door.get(f"/refunds?intent={payment}", "ravi")
    assert told(theirs) == (404, "payments.unknown")
    nobody = await door.get(f"/refunds?intent={public('pay', door.asha.id)}")
    assert told(nobody) == (404, "payments.unknown")
    assert told(await door.get("/refunds?intent=x")) == (404, "id.unknown")
    assert (await door.get("/refunds?intent=x")).json()["field"] == "intent"
    open_bill = await door.bill()
    assert await page(door, f"/refunds?intent={open_bill}") == {"refunds": [], "next": None}


async def test_attempts_say_to_each_side_what_concerns_it(door: Door) -> None:
    intent = await door.bill()
    body = {"method": "upi", "payer_vpa": "decline.Z9@okbank"}
    assert (await door.post(f"/intents/{intent}/confirm", body)).status_code == 409
    at = f"/intents/{intent}/attempts"
    [mine] = (await page(door, at))["attempts"]
    assert mine.pop("started_at") <= mine.pop("ended_at")
    assert mine == {
        "number": 1, "operation": "pay", "amount": "15000", "method": "upi", "state": "declined",
        "rail_code": "Z9", "rail_reference": mine["rail_reference"], "hint": "de***@okbank",
    }  # fmt: skip
    [theirs] = (await page(door, at, "shop"))["attempts"]
    assert (theirs["rail_code"], theirs["hint"], theirs["state"]) == (None, None, "declined")
    assert told(await door.get(at, "ravi")) == (404, "payments.unknown")
    assert told(await door.get("/intents/pay_x/attempts")) == (404, "id.unknown")
    assert (await page(door, f"/intents/{await door.bill()}/attempts", "ravi")) == {"attempts": []}


async def cursors(door: Door) -> tuple[str, str]:
    payment = await paid(door)
    for _ in range(2):
        await back(door, payment, "1")
    await paid(door)
    return (
        (await page(door, "/intents?limit=1"))["next"],
        (await page(door, f"/refunds?limit=1&intent={payment}"))["next"],
    )


def hidden(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


WRONG = [
    *(f"limit={text}" for text in ("", "0", "101", "-1", "1.0", "x", "%2B5", "1e1", "007", "٣")),
    *(f"limit={9**400}",),
]
WRONG_CURSORS = [
    "", "x", "%00", "٣", "=", "A" * 4000, hidden("intents:"), hidden("intents:" + "g" * 32),
    hidden("intents:" + "0" * 33), hidden("intents:1." + "0" * 32), hidden("refunds:" + "0" * 32),
    hidden("payments:" + "0" * 32), hidden("intents:{" + "0" * 32 + "}"),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/intents", "/refunds"])
async def test_a_wrong_limit_is_named(door: Door, path: str) -> None:
    for query in WRONG:
        answer = await door.get(f"{path}?{query}")
        assert told(answer) == (400, "http.page_size"), query
        assert answer.json()["field"] == "limit"


@pytest.mark.parametrize("path", ["/intents", "/refunds"])
async def test_a_wrong_cursor_is_named(door: Door, path: str) -> None:
    of_intents, of_one = await cursors(door)
    foreign = of_intents if path == "/refunds" else of_one
    for text in [*WRONG_CURSORS, foreign, of_one]:
        answer = await door.get(f"{path}?after={text}")
        assert told(answer) == (400, "http.cursor"), text
        assert answer.json()["field"] == "after"


async def test_a_cursor_shows_nobody_another_s(door: Door) -> None:
    of_intents, _ = await cursors(door)
    assert (await page(door, f"/intents?after={of_intents}"))["intents"] != []
    assert await page(door, f"/intents?after={of_intents}", "ravi") == {"intents": [], "next": None}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/intents?state=succeeded", "state"), ("/intents?intent=pay_x", "intent"),
        ("/intents?limit=1&limit=2", "limit"), ("/refunds?intent=a&intent=b", "intent"),
        ("/refunds?Limit=3", "Limit"), ("/refunds?cursor=x", "cursor"),
    ],
)  # fmt: skip
async def test_what_would_be_passed_over_is_refused(door: Door, path: str, field: str) -> None:
    answer = await door.get(path)
    assert told(answer) == (400, "http.malformed")
    assert answer.json()["field"] == field


async def test_nobody_signed_in_reads_no_list(door: Door) -> None:
    for path in ("/intents", "/refunds", "/intents/pay_x/attempts", "/intents?limit=0"):
        answer: httpx.Response = await door.http.get(path)
        assert told(answer) == (401, "sessions.unauthenticated")


async def test_the_schema_lists_the_pages(door: Door) -> None:
    schema = (await door.http.get("/schema/openapi.json")).json()
    for path, names in (
        ("/intents", ["limit", "after"]), ("/refunds", ["intent", "limit", "after"]),
    ):  # fmt: skip
        said = schema["paths"][path]["get"]
        assert [one["name"] for one in said["parameters"]] == names
        assert not any(one["required"] for one in said["parameters"])
        assert set(said["responses"]) >= {"200", "400", "401", "403", "404", "503"}
        wrong = said["responses"]["400"]["content"][PROBLEM]["schema"]
        assert wrong == {"$ref": "#/components/schemas/Problem"}
        assert all("examples" in one for one in said["parameters"])
    [limit] = [one for one in said["parameters"] if one["name"] == "limit"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)
    tries = schema["paths"]["/intents/{intent}/attempts"]["get"]["responses"]
    assert set(tries) >= {"200", "400", "401", "403", "404", "503"}
    assert all(PROBLEM in tries[status]["content"] for status in tries if status != "200")
