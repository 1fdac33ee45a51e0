"""What /metrics says of requests: by template, so that ids and strangers make no series."""

from uuid import UUID


async def test_requests_are_counted_by_template(door):
    one, other = (f"pay_{UUID(int=n).hex}" for n in (1, 2))
    for name in (one, other):
        await door.http.get(f"/payments/{name}")
    await door.http.get("/nowhere/at/all")
    await door.http.get("/metrics")
    said = (await door.http.get("/metrics")).text
    assert one not in said
    assert "nowhere" not in said
    assert 'hundi_http_requests_total{method="GET",route="/metrics",status="200"}' in said
    assert 'hundi_http_request_seconds_count{method="GET",route="/metrics"}' in said
    assert "hundi_event_head" in said
