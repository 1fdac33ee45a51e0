"""What /metrics says: of requests, of payments over rails, and of what waits in the database."""

from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from msgspec.structs import replace

from bff import readings
from server_core.db.work import Database
from server_core.errors import unavailable
from server_core.payments import asking
from server_core.rails.model import Outcome, RailAnswer
from server_core.telemetry import metrics
from tests.bff.rest.conftest import Door


async def scraped(door: Door) -> dict[str, float]:
    """Each series by its name with its labels."""
    said = await door.http.get("/metrics")
    assert said.status_code == 200
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in said.text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def grown(door: Door, before: dict[str, float]) -> dict[str, float]:
    after = await scraped(door)
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0)
    }


async def test_requests_are_counted_by_template(door: Door) -> None:
    one, other = (f"pay_{UUID(int=n).hex}" for n in (1, 2))
    for name in (one, other):
        await door.get(f"/intents/{name}")
    await door.http.get("/nowhere/at/all")
    await door.http.get("/metrics")
    said = (await door.http.get("/metrics")).text
    assert one not in said
    assert "nowhere" not in said
    assert 'hundi_http_requests_total{method="GET",route="/metrics",status="200"}' in said
    assert 'hundi_http_request_seconds_count{method="GET",route="/metrics"}' in said
    assert "_created" not in said, "a second series for each"


async def test_an_operation_is_counted_by_its_root_field_not_by_its_callers_name(
    door: Door,
) -> None:
    before = await scraped(door)

    async def ask(text: str, **variables: object) -> None:
        body = {"query": text, "variables": variables}
        assert (await door.post("/graphql", body)).status_code == 200

    await ask("query Mine { me: viewer { role } }")
    # What a mutation refuses is an answer, whether the caller reads it or not.
    await ask(
        "mutation Theirs($i: CancelPaymentInput!) { c: cancelPayment(input: $i)"
        " { payment { id } } }",
        i={"id": "pay_nonsense"},
    )
    await ask("query { __typename viewer { role } }")
    more = await grown(door, before)
    series = "hundi_graphql_operations_total"
    assert {name: n for name, n in more.items() if name.startswith(series)} == {
        series + '{field="viewer",kind="query",outcome="ok"}': 1,
        series + '{field="cancelPayment",kind="mutation",outcome="user_error"}': 1,
        series + '{field="several",kind="query",outcome="ok"}': 1,
    }
    assert more['hundi_graphql_operation_seconds_count{field="viewer",kind="query"}'] == 1
    assert not any("Theirs" in name or "Mine" in name for name in more)


@pytest.mark.parametrize("failing", ["away", "bug"])
async def test_an_operation_that_fails_by_our_fault_is_an_error(
    door: Door, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the fault is told as a typed refusal, with status 200."""
    before = await scraped(door)

    async def create(*_: object) -> None:
        raise unavailable("db.unreachable", "away") if failing == "away" else ValueError("bug")

    monkeypatch.setattr("graph.mutations.payments.create", create)
    text = "mutation($i: CreateTopUpInput!) { createTopUp(input: $i) { payment { id } } }"
    body = {"query": text, "variables": {"i": {"idempotencyKey": door.key(), "amount": "100"}}}
    assert (await door.post("/graphql", body)).status_code == 200
    series = 'hundi_graphql_operations_total{field="createTopUp",kind="mutation",outcome="error"}'
    assert (await grown(door, before))[series] == 1


async def test_payments_are_counted_once_they_are_committed(door: Door) -> None:
    before = await scraped(door)
    paid, body = door.key(), door.payment()
    for _ in range(2):
        assert (await door.post("/payments", body, key=paid)).status_code == 201
    await door.post("/payments", door.payment(amount="1"), key=paid)  # the key means another
    for vpa in ("asha@okbank", "decline.Z9@bank"):
        await door.post("/payments", door.payment(method="upi", payer_vpa=vpa))
    shown = await door.bill()
    confirm = {"method": "upi_link"}
    assert (await door.post(f"/intents/{shown}/confirm", confirm)).status_code == 202
    more = await grown(door, before)
    assert {
        name.partition("{")[2]: n
        for name, n in more.items()
        if name.startswith("hundi_attempts_total")
    } == {
        'operation="pay",outcome="succeeded",rail="book"}': 1,
        'operation="pay",outcome="succeeded",rail="upi"}': 1,
        'operation="pay",outcome="declined",rail="upi"}': 1,
    }
    assert more['hundi_confirms_total{method="book"}'] == 1
    assert more['hundi_confirms_total{method="upi"}'] == 2
    assert more['hundi_challenges_total{action="display_qr"}'] == 1
    assert more['hundi_events_total{type="payment.succeeded"}'] == 2
    assert more['hundi_idempotency_total{found="replay"}'] == 1
    assert more['hundi_idempotency_total{found="mismatch"}'] == 1
    call = 'operation="authorize",outcome="%s",rail="upi"}'
    assert more["hundi_rail_calls_total{" + call % "succeeded"] == 1
    assert more["hundi_rail_calls_total{" + call % "declined"] == 1
    assert more['hundi_rail_call_seconds_count{operation="authorize",rail="upi"}'] == 2
    now = await scraped(door)
    assert now['hundi_rail_health{rail="upi",state="closed"}'] == 1
    assert now['hundi_rail_health{rail="upi",state="open"}'] == 0
    assert now['hundi_rail_success_ratio{rail="upi"}'] == 1


async def test_a_dry_run_counts_as_nothing(door: Door) -> None:
    intent = await door.bill()
    before = await scraped(door)
    body = {"method": "book", "dry_run": True}
    assert (await door.post(f"/intents/{intent}/confirm", body)).status_code == 200
    more = await grown(door, before)
    counted = {name.partition("{")[0] for name in more}
    assert not counted & {"hundi_confirms_total", "hundi_attempts_total", "hundi_events_total"}


async def test_an_unknown_outcome_is_seen_with_its_age_until_it_is_known(door: Door) -> None:
    many = 'hundi_attempts_open{cell="cell0",rail="upi",state="unknown"}'
    oldest = 'hundi_attempts_open_oldest_seconds{cell="cell0",rail="upi",state="unknown"}'
    assert (await scraped(door))[many] == 0
    assert (await scraped(door))[oldest] == 0
    body = door.payment(method="upi", payer_vpa="deemed.99@okbank")
    assert (await door.post("/payments", body)).status_code == 202
    await door.later(120_000)
    found = await scraped(door)
    assert found[many] == 1
    assert 120 <= found[oldest] < 150
    [row] = await door.sql("SELECT id FROM attempt WHERE state = 'unknown'")
    await door.sql("UPDATE attempt SET state = 'reversing' WHERE id = $1", row["id"])
    found = await scraped(door)
    assert found[many] == 0
    assert found[many.replace("unknown", "reversing")] == 1


async def test_a_success_that_its_rail_denies_is_suspected_and_seen(door: Door) -> None:
    body = door.payment(method="upi", payer_vpa="asha@okbank")
    await door.post("/payments", body)
    before = await scraped(door)
    [row] = await door.sql(
        "SELECT id FROM attempt WHERE rail = 'upi' ORDER BY started_at DESC LIMIT 1"
    )
    lying = replace(door.core.rails, by_name={"upi": Denying()})
    await asking.ask(door.core.db, lying, row["id"])
    more = await grown(door, before)
    assert more['hundi_duplicates_suspected_total{kind="conflicted"}'] == 1
    assert more['hundi_intents_conflicted{cell="cell0"}'] == 1
    await door.sql("UPDATE intent SET state = 'succeeded' WHERE state = 'conflicted'")


class Denying:
    async def status(self, *_: object) -> RailAnswer:
        return RailAnswer(outcome=Outcome.DECLINED, code="U30")


async def test_while_the_database_is_away_the_counters_are_told(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await scraped(door))['hundi_database_up{cell="cell0"}'] == 1

    @asynccontextmanager
    async def reader(_: Database):
        raise unavailable("db.unreachable", "away")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(Database, "reader", reader)
        text = await readings.take(door.core)
    assert 'hundi_database_up{cell="cell0"} 0.0' in text
    assert "hundi_http_requests_total{" in text
    for gauge in metrics.READ:  # an old number would pass for a new one
        [family] = gauge.collect()
        assert f"\n{family.name}{{" not in text
