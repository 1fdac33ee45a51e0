"""Spans leave by OTLP over HTTP and hang from the payment's one root; what is rolled back has none."""

import socket
from contextlib import suppress
from uuid import UUID

import pytest

from devices.clock import ManualClock, SystemClock
from devices.entropy import SystemEntropy
from server_core.db.work import Database
from server_core.events import store as event_store
from server_core.telemetry.spans import Span, Tracing, root_id
from tests.server_core.telemetry.collector import Collector, collecting, facts

INTENT = UUID("01932b6e-0000-7abc-8def-0123456789ab")


@pytest.fixture
def collector():
    with collecting() as made:
        yield made


def test_spans_of_two_processes_make_one_tree_under_the_intents_id(collector: Collector) -> None:
    clock = ManualClock((INTENT.int >> 80) + 500)
    first, later = (Tracing(collector.url, clock=clock) for _ in range(2))
    first.root(INTENT, "payment.succeeded")
    first.tell([Span("risk", INTENT, 1_100, 1_200, {"attempt": 1, "code": None})])
    later.tell([Span("rail", INTENT, 1_200, None, {"rail": "upi"})])
    first.close()
    later.close()
    found = {span.name: span for span in collector.spans()}
    assert set(found) == {"payment", "risk", "rail"}
    root = found.pop("payment")
    assert {span.trace_id for span in (root, *found.values())} == {INTENT.bytes}
    assert (root.parent_span_id, root.span_id) == (b"", root_id(INTENT).to_bytes(8, "big"))
    assert root.end_time_unix_nano - root.start_time_unix_nano == 500_000_000
    assert {span.parent_span_id for span in found.values()} == {root.span_id}
    assert len({span.span_id for span in found.values()}) == 2
    assert found["risk"].start_time_unix_nano == 1_100_000_000
    assert facts(found["risk"]) == {"attempt": 1}


def test_without_an_address_nothing_is_made() -> None:
    off = Tracing()
    off.root(INTENT, "payment.succeeded")
    off.tell([Span("risk", INTENT, 0, 1, {})])
    off.close()
    assert (off.on, off.now()) == (False, 0)


async def test_a_step_is_told_once_it_is_committed(collector: Collector, database_url: str) -> None:
    tracing = Tracing(collector.url)
    db = await Database.connect(
        database_url, clock=SystemClock(), entropy=SystemEntropy(), flush=event_store.flush,
        tracing=tracing,
    )  # fmt: skip
    with suppress(ZeroDivisionError):
        async with db.work() as work:
            work.span("lost", INTENT, tracing.now())
            raise ZeroDivisionError
    async with db.work() as work:
        began = tracing.now()
        work.span("ledger", INTENT, began)
    await db.close()
    tracing.close()
    [told] = collector.spans()
    assert told.name == "ledger"
    assert told.end_time_unix_nano >= told.start_time_unix_nano == began * 1_000_000


def test_a_collector_that_is_away_costs_nobody_anything(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        clock = SystemClock()
        tracing = Tracing(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        began = clock.monotonic_ms()
        for number in range(10_000):  # far more than wait for their turn: the rest is dropped
            tracing.tell([Span("rail", INTENT, number, number, {})])
        told_ms = clock.monotonic_ms() - began
        tracing.close()
    assert told_ms < 10_000
    said = "".join(capfd.readouterr()).strip().splitlines()
    assert len([line for line in said if "spans.unsent" in line]) == len(said) <= 1, "once a minute"
