"""An event as it is stored: numbered without a gap in its cell and in its aggregate."""

from typing import Any
from uuid import UUID

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True):
    """`seq` is dense in the cell, `sequence` dense in the aggregate; consumers dedupe by `id`."""

    seq: int
    id: UUID
    aggregate_type: str
    aggregate_id: UUID
    sequence: int
    type: str
    version: int
    payload: dict[str, Any]
    recorded_at: int
    correlation: UUID | None
    causation: UUID | None
