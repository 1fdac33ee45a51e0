"""A payment's trace, as a collector receives it from the real server and worker."""

from threading import Event
from uuid import UUID

import pytest

from server_core.ids import parse
from tests.e2e.test_webhooks import BIN, Street, free_port, lines, street, wait_for
from tests.server_core.telemetry.collector import Collector, collecting, facts

__all__ = ["street"]
VPA, NAME = "asha@okbank", "Asha Rao"


@pytest.fixture
def collector():
    with collecting() as made:
        yield made


def told(collector: Collector, intent: UUID, least: int) -> list:
    """The spans of one trace, in the order of their times, when there are enough of them."""
    for _ in range(400):
        found = [one for one in collector.spans() if one.trace_id == intent.bytes]
        if len(found) >= least:
            return sorted(found, key=lambda one: (one.start_time_unix_nano, one.end_time_unix_nano))
        Event().wait(0.05)
    pytest.fail(f"only {[one.name for one in found]} came")


def test_a_payment_that_failed_over_is_one_tree(street: Street, collector: Collector) -> None:
    switch = free_port()
    street.start(str(BIN / "hundi"), "sandbox", "--port", str(switch))
    street.env |= {
        "HUNDI_UPI_URL": f"http://127.0.0.1:{free_port()},http://127.0.0.1:{switch}",
        "HUNDI_OTLP_URL": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    street.serve()
    wait_for(street)
    street.party = street.hundi(
        "party", "add", "--name", "Chai Point", "--kind", "merchant", "--mcc", "5814"
    )
    street.hundi("party", "prefer", street.party, "upi")
    street.token = street.hundi("session", "issue", "--party", street.party, "--role", "merchant")
    endpoint = street.call(
        "POST", "/webhooks/endpoints",
        {"url": f"http://127.0.0.1:{street.hook_port}/", "events": ["payment.succeeded"]},
        **{"Idempotency-Key": "hook"},
    )  # fmt: skip
    consumer = street.consume(endpoint["secret"])
    street.work()
    sale = street.ask("sale")
    payer = street.hundi("party", "add", "--name", NAME, "--kind", "person")
    street.token = street.hundi("session", "issue", "--party", payer, "--role", "payer")
    paid = street.call(
        "POST", f"/intents/{sale}/confirm", {"method": "upi", "payer_vpa": VPA},
        **{"Idempotency-Key": "pay"},
    )  # fmt: skip
    assert paid["state"] == "succeeded"
    assert lines(consumer, 1)[0].startswith("taken msg_")

    intent = parse("pay", sale)
    spans = told(collector, intent, 9)
    [root] = [one for one in spans if not one.parent_span_id]
    under = [one for one in spans if one is not root]
    assert (root.name, facts(root)) == ("payment", {"outcome": "payment.succeeded"})
    assert {one.parent_span_id for one in under} == {root.span_id}
    assert [one.name for one in under] == [
        "risk", "route", "ledger",  # transaction 1
        "rail", "ledger",  # never left: transaction 2 sends it over the next one
        "rail", "ledger", "webhook",
    ]  # fmt: skip
    assert [facts(one)["rail"] for one in under if one.name == "rail"] == ["upi", "upi.2"]
    assert [facts(one)["outcome"] for one in under if one.name == "rail"] == [
        "not_sent", "succeeded",
    ]  # fmt: skip
    assert facts(under[-1])["status"] == 204
    assert facts(under[1])["rail"] == "upi"
    everything = b"".join(collector.heard)
    for private in (VPA, "asha", NAME, street.token):
        assert private.encode() not in everything
