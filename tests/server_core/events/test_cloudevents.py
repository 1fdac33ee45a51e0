"""The envelope, held to CloudEvents 1.0 attribute by attribute, and back without a loss."""

import json
import re
from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server_core.errors import DomainError
from server_core.events import cloudevents
from server_core.events.model import Event

PAYMENT = UUID("0199c0de-0000-7000-8000-0000000000aa")
EVENT = Event(
    seq=2**31,
    id=UUID("0199c0de-0000-7000-8000-000000000001"),
    aggregate_type="payment",
    aggregate_id=PAYMENT,
    sequence=3,
    type="payment.succeeded",
    version=1,
    payload={"state": "succeeded", "note": "चाय"},
    recorded_at=1_790_000_000_007,
    correlation=PAYMENT,
    causation=None,
)
EXPECTED = {
    "specversion": "1.0",
    "id": "0199c0de-0000-7000-8000-000000000001",
    "source": "/hundi/cell0",
    "type": "hundi.payment.succeeded.v1",
    "subject": "pay_01k70dw000e00800000000005a",
    "time": "2026-09-21T14:13:20.007Z",
    "sequence": "0000000000000000003",
    "seq": "0000000002147483648",
    "aggregatetype": "payment",
    "correlationid": "0199c0de-0000-7000-8000-0000000000aa",
}

words = st.from_regex(r"\A[a-z]{1,12}\Z")
bigs = st.integers(1, 2**63 - 1)
events = st.builds(
    Event,
    seq=bigs,
    id=st.uuids(),
    aggregate_type=st.sampled_from(sorted(cloudevents.PREFIXES)) | words,
    aggregate_id=st.uuids(),
    sequence=bigs,
    type=st.builds("{}.{}".format, words, words),
    version=st.integers(1, 2**15 - 1),
    payload=st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | st.integers(0, 9)),
    recorded_at=st.integers(0, 253_402_300_799_999),
    correlation=st.none() | st.uuids(),
    causation=st.none() | st.uuids(),
)


@pytest.mark.parametrize(("name", "value"), EXPECTED.items())
def test_each_attribute(name: str, value: str) -> None:
    assert cloudevents.attributes(EVENT, "cell0")[name] == value


def test_what_is_unknown_is_left_out_not_empty() -> None:
    """CloudEvents: an optional attribute MUST be a non-empty string, or absent."""
    assert "causationid" not in cloudevents.attributes(EVENT, "cell0")


def test_the_structured_form_is_the_json_format() -> None:
    said = json.loads(cloudevents.structured(EVENT, "cell0"))
    assert said == EXPECTED | {"datacontenttype": "application/json", "data": EVENT.payload}


def test_the_binary_form_is_the_kafka_binding() -> None:
    key, headers, value = cloudevents.binary(EVENT, "cell0")
    assert key.decode() == EXPECTED["subject"]
    assert json.loads(value) == EVENT.payload
    assert {name: text.decode() for name, text in headers} == {
        **{f"ce_{name}": text for name, text in EXPECTED.items()},
        "content-type": "application/json",
    }
    assert len(headers) == len(dict(headers))


@given(events, st.sampled_from(["cell0", "cell1023"]))
def test_both_forms_bring_the_event_back(event: Event, cell: str) -> None:
    assert cloudevents.from_structured(cloudevents.structured(event, cell)) == event
    _, headers, value = cloudevents.binary(event, cell)
    assert cloudevents.from_binary(headers, value) == event


@given(events)
def test_every_attribute_is_one_that_the_specification_allows(event: Event) -> None:
    said = cloudevents.attributes(event, "cell0")
    for name, text in said.items():
        assert re.fullmatch(r"[a-z0-9]{1,20}", name), "names are lower case letters and digits"
        assert text
        assert text.isprintable(), "strings have no control characters"
    assert datetime.fromisoformat(said["time"]).utcoffset() is not None


@given(st.lists(bigs, min_size=2, max_size=9))
def test_a_sequence_sorts_as_it_counts(numbers: list[int]) -> None:
    texts = [
        cloudevents.attributes(replace(EVENT, sequence=one), "cell0")["sequence"] for one in numbers
    ]
    assert sorted(texts) == [f"{one:019}" for one in sorted(numbers)]


def test_an_unknown_extension_is_passed_over() -> None:
    said = json.loads(cloudevents.structured(EVENT, "cell0")) | {"traceparent": "00-1-2-01"}
    assert cloudevents.from_structured(json.dumps(said).encode()) == EVENT


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"id": None},
        {"id": "1"},
        {"source": "/somebody/else"},
        {"type": "hundi.payment.succeeded"},
        {"subject": "pay_!"},
        {"subject": cloudevents.subject("party", PAYMENT)},
        {"time": "yesterday"},
        {"time": "2026-09-21T14:13:20"},
        {"sequence": "-1"},
        {"seq": 4},
        {"aggregatetype": ""},
        {"data": "text"},
        {"correlationid": 7},
    ],
    ids=str,
)
def test_what_is_not_ours_is_refused(change: dict[str, object]) -> None:
    said = json.loads(cloudevents.structured(EVENT, "cell0")) | change
    with pytest.raises(DomainError, match=r"events\.envelope"):
        cloudevents.from_structured(json.dumps(said).encode())


@pytest.mark.parametrize("message", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_json_object_is_refused(message: bytes) -> None:
    with pytest.raises(DomainError, match=r"events\.envelope"):
        cloudevents.from_structured(message)
    with pytest.raises(DomainError, match=r"events\.envelope"):
        cloudevents.from_binary([("ce_id", b"\xff")], message)


@given(st.uuids())
def test_an_aggregate_is_named_by_uuid_or_public_id(made: UUID) -> None:
    assert cloudevents.aggregate(str(made)) == made
    assert cloudevents.aggregate(cloudevents.subject("payment", made)) == made


@pytest.mark.parametrize("text", ["", "pay", "pay_", "pay_0", "_" + "0" * 26])
def test_what_names_no_aggregate(text: str) -> None:
    with pytest.raises(DomainError, match=r"id\.unknown"):
        cloudevents.aggregate(text)
