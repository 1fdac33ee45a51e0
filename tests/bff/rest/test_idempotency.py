"""One key, one effect, one answer: whoever repeats, however often, through whichever door."""

import asyncio
import unicodedata

import asyncpg
import httpx
import pytest

from bff.rest.idempotency import HEADER, key_of
from server_core.errors import DomainError
from server_core.idempotency import jobs as keys_jobs
from server_core.idempotency.model import LEASE_MS, TTL_MS
from server_core.ids import public
from server_core.payments import jobs

REPLAYED = "idempotency-replayed"
CONFIRM = """mutation ($input: ConfirmPaymentInput!) { confirmPayment(input: $input) {
  payment { id state } userErrors { code } } }"""


def by_bank(door, vpa: str = "asha@okbank", **more):
    return door.payment(method="upi", payer_vpa=vpa, **more)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def same(first: httpx.Response, *others: httpx.Response) -> None:
    """The same bytes with the same status; the others say that they are told again."""
    assert REPLAYED not in first.headers
    for other in others:
        assert (other.status_code, other.content) == (first.status_code, first.content)
        assert other.headers["content-type"] == first.headers["content-type"]
        assert other.headers.get("location") == first.headers.get("location")
        assert other.headers[REPLAYED] == "true"


class TestKey:
    @pytest.mark.parametrize(
        ("line", "key"),
        [
            ("k-1", "k-1"),
            ('"k-1"', "k-1"),
            (' "k-1"\t', "k-1"),
            (r'"a\"b\\c"', r"a\b".replace("\\", '"') + "\\c"),
            ('a"b', 'a"b'),
            ("x" * 255, "x" * 255),
            ('"' + "x" * 255 + '"', "x" * 255),
        ],
    )
    def test_quoted_and_bare_are_the_same_key(self, line: str, key: str) -> None:
        assert key_of([line]) == key

    @pytest.mark.parametrize(
        ("lines", "missing"),
        [
            ([], True), ([""], True), (["  "], True), (['""'], True), (["a b"], False),
            (['"a b"'], False), (['"abc'], False), (['"a"b"'], False), ([r'"a\b"'], False),
            (['"a";x=1'], False), (['"a", "b"'], False), (["a", "a"], False), (["é"], False),
            (['"é"'], False), (["x" * 256], False), (["a\x7f"], False), (["a\x00"], False),
        ],
    )  # fmt: skip
    def test_wrong_ones_are_named(self, lines: list[str], missing: bool) -> None:
        with pytest.raises(DomainError) as caught:
            key_of(lines)
        said = "idempotency.key_missing" if missing else "idempotency.key_malformed"
        assert (caught.value.code, caught.value.field) == (said, HEADER)

    async def test_over_http(self, door) -> None:
        bearer = {"Authorization": f"Bearer {door.tokens['asha']}"}
        intent = await door.bill()
        for path in ("/intents", "/payments", f"/intents/{intent}/confirm"):
            none = await door.http.post(path, json=door.payment(), headers=bearer)
            assert code(none) == (400, "idempotency.key_missing")
            assert none.json()["field"] == HEADER
            assert code(await door.post(path, {}, key="a b")) == (400, "idempotency.key_malformed")
        twice = [*bearer.items(), (HEADER, "a"), (HEADER, "a")]
        answer = await door.http.post("/payments", json=door.payment(), headers=twice)
        assert code(answer) == (400, "idempotency.key_malformed")


class TestRepeat:
    async def test_every_door_replays_its_bytes_and_status(self, door) -> None:
        intent, other = await door.bill(), await door.bill()
        for path, body, by in (
            ("/intents", {"payee_id": public("pty", door.shop.id), "amount": "7"}, "asha"),
            ("/payments", door.payment(), "asha"),
            ("/payments", by_bank(door), "asha"),
            (f"/intents/{intent}/confirm", {"method": "book"}, "asha"),
            (f"/intents/{other}/cancel", {}, "shop"),
        ):
            key = door.key()
            answers = [await door.post(path, body, key=key, by=by) for _ in range(3)]
            assert answers[0].status_code in {200, 201}, answers[0].text
            same(*answers)
            same(answers[0], await door.post(path, body, key=f'"{key}"', by=by))
        assert await door.balance(door.shop) == 45_000

    async def test_refusals_are_replayed_too(self, door) -> None:
        shop = public("pty", door.shop.id)
        paid = (await door.post("/payments", door.payment())).json()["id"]
        for path, body, expected in (
            ("/payments", door.payment(amount="100000"), (409, "payments.insufficient_funds")),
            ("/payments", by_bank(door, "decline.Z9@okbank"), (409, "payments.declined")),
            ("/payments", door.payment(amount="10000001"), (429, "payments.over_limit")),
            ("/intents", {"payee_id": shop, "amount": "10000001"}, (429, "payments.over_limit")),
            (f"/intents/{paid}/confirm", {"method": "book"}, (409, "payments.state")),
            (f"/intents/{paid}/cancel", {}, (409, "payments.state")),
        ):
            key = door.key()
            answers = [await door.post(path, body, key=key) for _ in range(3)]
            assert code(answers[0]) == expected
            same(*answers)
        assert await door.balance(door.shop) == 15_000

    async def test_a_mended_request_may_use_the_key_of_a_wrong_one(self, door) -> None:
        intent = await door.bill()
        for path, wrong, right in (
            ("/payments", door.payment(amount="0"), door.payment()),
            ("/payments", door.payment(payee_id="pty_" + "0" * 26), door.payment()),
            ("/payments", door.payment(currency="XXX"), door.payment()),
            (f"/intents/{intent}/confirm", {"method": "upi"}, {"method": "book"}),
        ):
            key = door.key()
            assert (await door.post(path, wrong, key=key)).status_code in {400, 404}
            mended = await door.post(path, right, key=key)
            assert mended.status_code in {200, 201}, mended.text
            assert REPLAYED not in mended.headers

    async def test_who_may_not_is_not_remembered_for_who_may(self, door) -> None:
        """The scope is the party: a refusal of this sign-in says nothing of the next one."""
        intent = await door.bill()
        key = door.key()
        by_shop = await door.post(
            f"/intents/{intent}/confirm", {"method": "book"}, key=key, by="shop"
        )
        assert code(by_shop) == (403, "payments.role")
        rows = await door.sql("SELECT 1 FROM idempotency WHERE scope = $1 AND key = $2",
                              str(door.shop.id), key)  # fmt: skip
        assert rows == []

    async def test_another_sign_in_of_the_party_finds_it_and_another_party_does_not(
        self, door
    ) -> None:
        key = door.key()
        first = await door.post("/payments", door.payment(), key=key)
        same(first, await door.post("/payments", door.payment(), key=key, by="again"))
        stranger = await door.post("/payments", door.payment(), key=key, by="ravi")
        assert code(stranger) == (409, "payments.insufficient_funds")
        assert REPLAYED not in stranger.headers

    async def test_graphql_and_rest_share_their_keys(self, door) -> None:
        intent, key = await door.bill(), door.key()
        path = f"/intents/{intent}/confirm"
        first = await door.post(path, {"method": "book"}, key=key)
        asked = {"idempotencyKey": key, "id": intent, "method": "BOOK"}
        said = await door.post("/graphql", {"query": CONFIRM, "variables": {"input": asked}})
        assert said.json()["data"]["confirmPayment"] == {
            "payment": {"id": intent, "state": "SUCCEEDED"}, "userErrors": [],
        }  # fmt: skip
        asked |= {"method": "UPI", "payerVpa": "asha@okbank"}
        said = await door.post("/graphql", {"query": CONFIRM, "variables": {"input": asked}})
        [error] = said.json()["data"]["confirmPayment"]["userErrors"]
        assert error["code"] == "idempotency.key_reused"
        same(first, await door.post(path, {"method": "book"}, key=key))


class TestBody:
    async def test_order_space_escapes_and_defaults_do_not_matter(self, door) -> None:
        key, payee = door.key(), public("pty", door.shop.id)
        first, *others = [
            await door.post("/payments", body.encode(), key=key)
            for body in (
                f'{{"payee_id": "{payee}", "amount": "100", "method": "book"}}',
                f'{{\n\t"method":"book","amount":"100" , "payee_id":"{payee}"}}',
                f'{{"payee_id": "{payee}", "\\u0061mount": "10\\u0030", "method": "book"}}',
                f'{{"payee_id": "{payee}", "amount": "100", "method": "book", "currency": "INR",'
                ' "description": "", "purpose": "payment", "payer_vpa": null}',
            )
        ]
        same(first, *others)

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": "15001"},
            {"description": "Tea"},
            {"description": "tea "},
            {"description": unicodedata.normalize("NFD", "caf\u00e9")},
            {"method": "upi", "payer_vpa": "asha@okbank"},
            {"purpose": "top_up"},
            {"currency": "USD"},
        ],
    )
    async def test_values_matter(self, door, change) -> None:
        key = door.key()
        asked = door.payment(description="tea")
        if "description" in change and change["description"].startswith("caf"):
            asked["description"] = "caf\u00e9"
        first = await door.post("/payments", asked, key=key)
        assert first.status_code == 201
        other = await door.post("/payments", asked | change, key=key)
        assert code(other) == (422, "idempotency.key_reused")
        assert (other.json()["field"], REPLAYED in other.headers) == (HEADER, False)
        same(first, await door.post("/payments", asked, key=key))
        assert await door.balance(door.shop) == 15_000

    async def test_the_verb_matters(self, door) -> None:
        key = door.key()
        body = {"payee_id": public("pty", door.shop.id), "amount": "15000"}
        made = await door.post("/intents", body, key=key)
        assert code(await door.post("/payments", door.payment(), key=key)) == (
            422, "idempotency.key_reused",
        )  # fmt: skip
        path = f"/intents/{made.json()['id']}"
        for what, asked in (("confirm", {"method": "book"}), ("cancel", {})):
            answer = await door.post(f"{path}/{what}", asked, key=key)
            assert code(answer) == (422, "idempotency.key_reused")


class TestAtOnce:
    @pytest.mark.parametrize("method", ["book", "upi"])
    async def test_fifty_are_answered_alike_and_one_pays(self, door, method: str) -> None:
        body = door.payment() if method == "book" else by_bank(door)
        key = door.key()
        answers = await asyncio.gather(*(door.post("/payments", body, key=key) for _ in range(50)))
        assert {(one.status_code, one.content) for one in answers} == {
            (201, answers[0].content)
        }  # fmt: skip
        assert sum(REPLAYED not in one.headers for one in answers) == 1
        assert await door.balance(door.shop) == 15_000

    async def test_two_bodies_with_one_key_one_pays_and_the_other_is_told(self, door) -> None:
        key = door.key()
        bodies = [door.payment(amount=str(100 + i % 2)) for i in range(20)]
        answers = await asyncio.gather(*(door.post("/payments", one, key=key) for one in bodies))
        assert sorted(one.status_code for one in answers) == [201] * 10 + [422] * 10
        assert await door.balance(door.shop) in {100, 101}

    async def test_a_wrong_one_beside_a_right_one_takes_nothing_from_it(self, door) -> None:
        for _ in range(5):
            key = door.key()
            wrong, right = door.payment(payee_id="pty_" + "0" * 26), door.payment(amount="1")
            answers = await asyncio.gather(
                *(door.post("/payments", wrong if i % 2 else right, key=key) for i in range(8))
            )
            assert {one.status_code for one in answers[::2]} == {201}
            assert {one.status_code for one in answers[1::2]} <= {404, 422}
        assert await door.balance(door.shop) == 5

    async def test_while_a_slow_rail_is_at_work_duplicates_wait(self, door) -> None:
        key, body = door.key(), by_bank(door, "slow.1500@okbank")
        first = asyncio.ensure_future(door.post("/payments", body, key=key))
        await asyncio.wait({first}, timeout=0.4)
        second = await door.post("/payments", body, key=key)
        same(await first, second)
        assert await door.balance(door.shop) == 15_000

    async def test_a_rail_that_is_slower_than_ten_seconds(self, door) -> None:
        key, body = door.key(), by_bank(door, "slow.11500@okbank")
        first = asyncio.ensure_future(door.post("/payments", body, key=key))
        await asyncio.wait({first}, timeout=0.3)
        told = await door.post("/payments", body, key=key)
        assert code(told) == (409, "idempotency.still_running")
        assert 1 <= int(told.headers["retry-after"]) <= 15
        assert told.json()["retry_after_s"] == int(told.headers["retry-after"])
        assert not first.done()
        same(await first, await door.post("/payments", body, key=key))
        assert await door.balance(door.shop) == 15_000


class TestHalfWay:
    async def test_a_client_that_goes_away_is_answered_when_it_comes_again(self, door) -> None:
        for body in (door.payment(), by_bank(door, "slow.800@okbank")):
            key = door.key()
            gone = asyncio.ensure_future(door.post("/payments", body, key=key))
            await asyncio.wait({gone}, timeout=0.05)
            gone.cancel()
            answer = await door.post("/payments", body, key=key)
            assert (answer.status_code, answer.json()["state"]) == (201, "succeeded")
        assert await door.balance(door.shop) == 30_000

    @pytest.mark.parametrize("method", ["book", "upi"])
    async def test_the_commits_own_answer_is_lost(self, door, method: str, monkeypatch) -> None:
        body = door.payment() if method == "book" else by_bank(door)
        key = door.key()
        whole = asyncpg.transaction.Transaction.commit
        lost = []

        async def commit(self) -> None:
            await whole(self)
            if not lost:
                lost.append(1)
                raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT was lost")

        monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", commit)
        assert code(await door.post("/payments", body, key=key)) == (503, "db.commit_unknown")
        assert lost
        if method == "upi":  # the rail was never called; the lease ends, and the rail is asked
            await door.later(LEASE_MS)
            assert code(await door.post("/payments", body, key=key)) == (
                503, "payments.rail_unavailable",
            )  # fmt: skip
        again = await door.post("/payments", body, key=key)
        assert (again.status_code, again.json()["state"]) == (201, "succeeded")
        assert await door.balance(door.shop) == 15_000
        assert len(await door.sql("SELECT id FROM intent WHERE payer = $1", door.asha.id)) == 1

    async def test_an_unclear_answer_is_202_until_the_rail_has_told(self, door) -> None:
        key, body = door.key(), by_bank(door, "deemed.1@okbank")
        first = await door.post("/payments", body, key=key)
        assert (first.status_code, first.json()["state"]) == (202, "processing")
        same(first, await door.post("/payments", body, key=key))
        await door.later(LEASE_MS)
        await jobs.reconcile(door.core.db, door.core.rails)
        same(first, await door.post("/payments", body, key=key))
        await door.later(3_600_000)
        await jobs.reconcile(door.core.db, door.core.rails)
        final, again = [await door.post("/payments", body, key=key) for _ in range(2)]
        assert (final.status_code, final.json()["state"]) == (201, "succeeded")
        assert (again.content, again.status_code) == (final.content, final.status_code)
        assert await door.balance(door.shop) == 15_000

    async def test_a_network_that_is_not_there_leaves_the_key_free_and_one_intent(
        self, door, monkeypatch
    ) -> None:
        key, body = door.key(), by_bank(door)
        upi = door.core.rails.by_name["upi"]._rail
        monkeypatch.setattr(upi._client, "base_url", httpx.URL("http://127.0.0.1:9"))
        answers = await asyncio.gather(*(door.post("/payments", body, key=key) for _ in range(10)))
        assert {one.status_code for one in answers} == {503}
        assert {one.json()["code"] for one in answers} <= {
            "payments.rail_unavailable", "idempotency.undecided",
        }  # fmt: skip
        monkeypatch.undo()
        paid = await door.post("/payments", body, key=key)
        assert (paid.status_code, paid.json()["state"]) == (201, "succeeded")
        assert len(await door.sql("SELECT id FROM intent WHERE payer = $1", door.asha.id)) == 1
        assert await door.balance(door.shop) == 15_000


class TestAfterADay:
    async def forget(self, door) -> None:
        await door.later(TTL_MS + 1)
        await keys_jobs.tick(door.core.db)
        assert await door.sql("SELECT 1 FROM idempotency WHERE state = 'done'") == []

    async def test_a_payment_at_once_is_answered_again_and_not_made_again(self, door) -> None:
        for body in (door.payment(), by_bank(door)):
            key = door.key()
            first = await door.post("/payments", body, key=key)
            await self.forget(door)
            again = await door.post("/payments", body, key=key)
            same(first, again, await door.post("/payments", body, key=key))
            await self.forget(door)
            other = await door.post("/payments", body | {"amount": "1"}, key=key)
            assert code(other) == (422, "idempotency.key_reused")
        assert await door.balance(door.shop) == 30_000

    async def test_create_and_confirm_are_the_same_payment(self, door) -> None:
        create, confirm = door.key(), door.key()
        body = {"payee_id": public("pty", door.shop.id), "amount": "15000"}
        made = await door.post("/intents", body, key=create)
        path = f"/intents/{made.json()['id']}/confirm"
        await door.post(path, {"method": "book"}, key=confirm)
        await self.forget(door)
        again = await door.post("/intents", body, key=create)
        assert (again.status_code, again.json()["id"]) == (201, made.json()["id"])
        assert (again.json()["state"], again.headers[REPLAYED]) == ("succeeded", "true")
        late = await door.post(path, {"method": "book"}, key=confirm)
        assert code(late) == (409, "payments.state")
        other = await door.post("/intents", body | {"amount": "1"}, key=create)
        assert code(other) == (422, "idempotency.key_reused")
        assert await door.balance(door.shop) == 15_000

    async def test_what_was_refused_may_be_tried_again_on_the_same_intent(self, door) -> None:
        key, body = door.key(), by_bank(door, "decline.Z9@okbank")
        refused = await door.post("/payments", body, key=key)
        await self.forget(door)
        over = await door.post("/payments", body, key=key)  # its half hour is over as well
        assert code(over) == (409, "payments.expired")
        assert refused.json()["payment"].startswith("pay_")
        assert len(await door.sql("SELECT id FROM intent WHERE payer = $1", door.asha.id)) == 1
