"""Spans leave by OTLP over HTTP and hang from the payment's one root."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from server_core.telemetry.spans import Tracing, root_id

INTENT = UUID("01932b6e-0000-7abc-8def-0123456789ab")


@pytest.fixture
def collector():
    heard = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") is None and self.path == "/v1/traces":
                heard.append(ExportTraceServiceRequest.FromString(raw))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    thread.join()
    server.server_close()


def spans_of(heard):
    return [
        span
        for request in heard
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_spans_of_two_processes_make_one_tree_under_the_intents_id(collector):
    url, heard = collector
    first, later = Tracing(url), Tracing(url)
    first.root("payments.intent", INTENT, 1_000, 2_000, state="processing")
    first.past("payments.risk", INTENT, 1_100, 1_200)
    with pytest.raises(ValueError, match="asha@bank"), later.span("rails.status", INTENT):
        raise ValueError("asha@bank")
    first.close()
    later.close()
    found = {span.name: span for span in spans_of(heard)}
    assert set(found) == {"payments.intent", "payments.risk", "rails.status"}
    root = found.pop("payments.intent")
    assert {span.trace_id for span in (root, *found.values())} == {INTENT.bytes}
    assert root.parent_span_id == b""
    assert root.span_id == root_id(INTENT).to_bytes(8, "big")
    assert {span.parent_span_id for span in found.values()} == {root.span_id}
    assert len({span.span_id for span in found.values()}) == 2
    assert found["payments.risk"].start_time_unix_nano == 1_100_000_000
    assert all(b"asha" not in request.SerializeToString() for request in heard)


def test_without_an_address_nothing_is_made():
    off = Tracing(None)
    with off.span("payments.risk", INTENT):
        off.root("payments.intent", INTENT, 0, 1)
    off.close()
    assert not off.on
