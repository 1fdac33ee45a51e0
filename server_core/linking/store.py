"""The device table's rows and SQL."""

from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work


class DeviceRow(SQLModel, table=True):
    """One payer's device; a key is one party's for ever."""

    __tablename__ = "device"
    __table_args__ = (
        Index("device_key", "key", unique=True),
        Index("device_party", "party"),
        CheckConstraint(
            "tier IN ('hardware_counter', 'tee', 'software')", name="device_tier_known"
        ),
    )
    id: UUID = col.key()
    party: UUID = col.uuid()
    key: bytes = col.blob()
    tier: str = col.string()
    label: str = col.string()
    linked_at: int = col.big()
    revoked_at: int | None = col.big(null=True)


class Device(Struct, frozen=True, kw_only=True):
    """A payer's device; `tier` (of `devices.keystore.port.Tier`) is how well its key is kept.

    `software` when it is linked; another by an operator's word alone.
    """

    id: UUID
    party: UUID
    key: bytes
    tier: str
    label: str
    linked_at: int
    revoked_at: int | None = None


_COLUMNS: Final = "id, party, key, tier, label, linked_at, revoked_at"


async def insert(work: Work, d: Device) -> None:
    await work.execute(
        f"INSERT INTO device ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        d.id, d.party, d.key, d.tier, d.label, d.linked_at, d.revoked_at,
    )  # fmt: skip


async def get(reader: Reader, device: UUID) -> Device | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM device WHERE id = $1", device)
    return Device(**dict(row)) if row else None


async def lock(work: Work, device: UUID) -> Device | None:
    row = await work.row(f"SELECT {_COLUMNS} FROM device WHERE id = $1 FOR UPDATE", device)
    return Device(**dict(row)) if row else None


async def of_key(reader: Reader, key: bytes) -> Device | None:
    row = await reader.row(f"SELECT {_COLUMNS} FROM device WHERE key = $1", key)
    return Device(**dict(row)) if row else None


async def of_party(reader: Reader, party: UUID) -> list[Device]:
    """At most 100, oldest first."""
    found = await reader.rows(
        f"SELECT {_COLUMNS} FROM device WHERE party = $1 ORDER BY linked_at, id LIMIT 100", party
    )
    return [Device(**dict(row)) for row in found]


async def lock_of_party(work: Work, party: UUID) -> list[Device]:
    found = await work.rows(
        f"SELECT {_COLUMNS} FROM device WHERE party = $1 ORDER BY id LIMIT 1000 FOR UPDATE", party
    )
    return [Device(**dict(row)) for row in found]


async def set_tier(work: Work, device: UUID, tier: str) -> None:
    await work.execute("UPDATE device SET tier = $2 WHERE id = $1", device, tier)


async def revoke(work: Work, device: UUID) -> bool:
    return bool(
        await work.execute(
            "UPDATE device SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
            device,
            work.now_ms,
        )
    )
