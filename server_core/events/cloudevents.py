"""CloudEvents 1.0: the one shape in which an event leaves this program. Pure.

Two forms of the same attributes: structured (one JSON object, for Redis, the command line and
webhooks) and binary (for Kafka: attributes are headers, the record's value is the data as it is).
Sources: CloudEvents 1.0.2, its JSON format, its Kafka protocol binding, and the documented
extensions Sequence and Correlation.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from server_core.errors import DomainError, invalid, not_found
from server_core.events.model import Event
from server_core.ids import parse, public

SPECVERSION: Final = "1.0"
DATA_TYPE: Final = "application/json"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
PREFIXES: Final = {
    "account": "acc",
    "allowance": "alw",
    "device": "dev",
    "party": "pty",
    "payment": "pay",
    "terminal": "trm",
}
"""An aggregate's type to the prefix of its public id; one that is not here is its own prefix."""

_REQUIRED: Final = (
    "specversion", "id", "source", "type", "subject", "time", "sequence", "seq", "aggregatetype",
)  # fmt: skip
_SOURCE: Final = "/hundi/"
_DIGITS: Final = 19  # those of the largest bigint, so that text sorts as the number does
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)

Headers = list[tuple[str, bytes]]
"""Kafka headers in order; names are unique."""


def attributes(event: Event, cell: str) -> dict[str, str]:
    """Every context attribute but `datacontenttype`, by name; all are strings.

    CloudEvents' Integer has 32 bits, so both numbers are text: padded, because the Sequence
    extension asks that it sorts as it counts. `sequence` is dense in the aggregate (`subject`),
    `seq` dense in the cell (`source`).
    """
    said = {
        "specversion": SPECVERSION,
        "id": str(event.id),
        "source": _SOURCE + cell,
        "type": f"hundi.{event.type}.v{event.version}",
        "subject": subject(event.aggregate_type, event.aggregate_id),
        "time": _time(event.recorded_at),
        "sequence": f"{event.sequence:0{_DIGITS}}",
        "seq": f"{event.seq:0{_DIGITS}}",
        "aggregatetype": event.aggregate_type,
    }
    if event.correlation is not None:
        said["correlationid"] = str(event.correlation)
    if event.causation is not None:
        said["causationid"] = str(event.causation)
    return said


def structured(event: Event, cell: str) -> bytes:
    """One JSON object, UTF-8, without line breaks: media type application/cloudevents+json."""
    said: dict[str, Any] = attributes(event, cell)
    said["datacontenttype"] = DATA_TYPE
    said["data"] = event.payload
    return msgspec.json.encode(said)


def binary(event: Event, cell: str) -> tuple[bytes, Headers, bytes]:
    """Key, headers and value of a Kafka record in binary content mode (binding §3.2).

    The key is the subject, so that one aggregate's events share a partition and keep their order.
    """
    said = attributes(event, cell)
    headers = [("ce_" + name, value.encode()) for name, value in said.items()]
    headers.append(("content-type", DATA_TYPE.encode()))
    return said["subject"].encode(), headers, msgspec.json.encode(event.payload)


def from_structured(message: bytes) -> Event:
    """The event that `structured` wrote; attributes that we do not know are passed over.

    Raises events.envelope when it is not one of ours.
    """
    try:
        said = msgspec.json.decode(message, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _not_ours(str(error)) from error
    return _event(said, said.get("data"))


def from_binary(headers: Iterable[tuple[str, bytes]], value: bytes) -> Event:
    """The event of a Kafka record that `binary` wrote. Raises events.envelope."""
    try:
        said = {
            name.removeprefix("ce_"): text.decode()
            for name, text in headers
            if name.startswith("ce_")
        }
        data = msgspec.json.decode(value)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise _not_ours(str(error)) from error
    return _event(said, data)


def subject(aggregate_type: str, aggregate_id: UUID) -> str:
    """The public id of an aggregate: `pay_01j…`."""
    return public(PREFIXES.get(aggregate_type, aggregate_type), aggregate_id)


def aggregate(text: str) -> UUID:
    """The aggregate that somebody names by a UUID or a public id. Raises id.unknown."""
    try:
        return UUID(text)
    except ValueError:
        prefix = text.rpartition("_")[0]
    if not prefix:
        raise not_found("id.unknown", "expected a public id (pay_…) or a UUID", field="aggregate")
    return parse(prefix, text, field="aggregate")


def _event(said: Mapping[str, Any], data: Any) -> Event:
    missing = [name for name in _REQUIRED if not isinstance(said.get(name), str)]
    if missing:
        raise _not_ours(f"without {', '.join(missing)}")
    kind, _, version = said["type"].removeprefix("hundi.").rpartition(".v")
    source = said["source"].startswith(_SOURCE)
    if said["specversion"] != SPECVERSION or not source or not kind or not isinstance(data, dict):
        raise _not_ours("of another version, source or kind")
    aggregate_type = said["aggregatetype"]
    try:
        return Event(
            seq=_number(said["seq"]),
            id=UUID(said["id"]),
            aggregate_type=aggregate_type,
            aggregate_id=parse(PREFIXES.get(aggregate_type, aggregate_type), said["subject"]),
            sequence=_number(said["sequence"]),
            type=kind,
            version=_number(version),
            payload=data,
            recorded_at=(datetime.fromisoformat(said["time"]) - _EPOCH) // _MS,
            correlation=_id(said.get("correlationid")),
            causation=_id(said.get("causationid")),
        )
    except (ValueError, TypeError, AttributeError, DomainError) as error:
        raise _not_ours(str(error)) from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _time(ms: int) -> str:
    """Unix ms to RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _not_ours(why: str) -> DomainError:
    return invalid("events.envelope", f"this is not a CloudEvent of Hundi: {why}")
