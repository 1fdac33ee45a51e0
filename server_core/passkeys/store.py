"""The passkeys' rows and SQL; of challenges only hashes are kept."""

import hashlib
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from devices.passkeys import Passkey
from server_core.db import columns as col
from server_core.db.work import Reader, Row, Work
from server_core.passkeys.model import Challenge, Owned, Purpose


class PasskeyRow(SQLModel, table=True):
    """One credential; its name is one party's for ever."""

    __tablename__ = "passkey"
    __table_args__ = (
        Index("passkey_credential", "credential", unique=True),
        Index("passkey_party", "party"),
        CheckConstraint("sign_count >= 0", name="passkey_sign_count"),
    )
    id: UUID = col.key()
    party: UUID = col.uuid()
    credential: bytes = col.blob()
    public_key: bytes = col.blob()
    sign_count: int = col.big()
    synced: bool = col.flag()
    backed_up: bool = col.flag()
    aaguid: str = col.string()
    attestation: bytes = col.blob()
    label: str = col.string()
    made_at: int = col.big()
    used_at: int | None = col.big(null=True)
    ended_at: int | None = col.big(null=True)


class PasskeyHandleRow(SQLModel, table=True):
    """What an authenticator knows a party by: chance, so that it tells nobody anything."""

    __tablename__ = "passkey_handle"
    __table_args__ = (Index("passkey_handle_value", "handle", unique=True),)
    party: UUID = col.key()
    handle: bytes = col.blob()


class PasskeyChallengeRow(SQLModel, table=True):
    """One question; it is deleted when it is answered, well or not."""

    __tablename__ = "passkey_challenge"
    __table_args__ = (Index("passkey_challenge_expires", "expires_at"),)
    value_hash: bytes = col.blob(primary=True)
    purpose: str = col.string()
    holder: bytes = col.blob()
    about: bytes | None = col.blob(null=True)
    expires_at: int = col.big()


_KEY: Final = "credential, public_key, sign_count, synced, backed_up, aaguid, attestation"
_COLUMNS: Final = f"id, party, {_KEY}, label, made_at, used_at, ended_at"
_KEY_NAMES: Final = tuple(_KEY.split(", "))


def _owned(row: Row) -> Owned:
    said = dict(row)
    key = Passkey(**{name: said.pop(name) for name in _KEY_NAMES})
    return Owned(passkey=key, **said)


async def insert(work: Work, one: Owned) -> bool:
    """Whether it is new: a credential that is known stays its first party's."""
    key = one.passkey
    return bool(
        await work.execute(
            f"INSERT INTO passkey ({_COLUMNS})"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
            " ON CONFLICT (credential) DO NOTHING",
            one.id, one.party, *(getattr(key, name) for name in _KEY_NAMES), one.label,
            one.made_at, one.used_at, one.ended_at,
        )
    )  # fmt: skip


async def lock_by_credential(work: Work, credential: bytes) -> Owned | None:
    row = await work.row(
        f"SELECT {_COLUMNS} FROM passkey WHERE credential = $1 FOR UPDATE", credential
    )
    return _owned(row) if row else None


async def lock(work: Work, identity: UUID) -> Owned | None:
    row = await work.row(f"SELECT {_COLUMNS} FROM passkey WHERE id = $1 FOR UPDATE", identity)
    return _owned(row) if row else None


async def of_party(reader: Reader, party: UUID) -> list[Owned]:
    """Those not ended, the oldest first."""
    rows = await reader.rows(
        f"SELECT {_COLUMNS} FROM passkey WHERE party = $1 AND ended_at IS NULL ORDER BY made_at, id",
        party,
    )
    return [_owned(row) for row in rows]


async def save(work: Work, one: Owned) -> None:
    await work.execute(
        "UPDATE passkey SET sign_count = $2, backed_up = $3, label = $4, used_at = $5, ended_at = $6"
        " WHERE id = $1",
        one.id, one.passkey.sign_count, one.passkey.backed_up, one.label, one.used_at, one.ended_at,
    )  # fmt: skip


async def handle_of(work: Work, party: UUID, fresh: bytes) -> bytes:
    """The party's handle, which is `fresh` from now on if it had none."""
    await work.execute(
        "INSERT INTO passkey_handle (party, handle) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        party,
        fresh,
    )
    found: bytes = await work.value("SELECT handle FROM passkey_handle WHERE party = $1", party)
    return found


async def lock_party(work: Work, party: UUID) -> None:
    """Let what counts over a party's passkeys wait its turn."""
    await work.value("SELECT 1 FROM passkey_handle WHERE party = $1 FOR UPDATE", party)


async def party_of(reader: Reader, handle: bytes) -> UUID | None:
    found: UUID | None = await reader.value(
        "SELECT party FROM passkey_handle WHERE handle = $1", handle
    )
    return found


async def ask(work: Work, challenge: Challenge) -> None:
    await work.execute(
        "INSERT INTO passkey_challenge (value_hash, purpose, holder, about, expires_at)"
        " VALUES ($1, $2, $3, $4, $5)",
        _hash(challenge.value), challenge.purpose, challenge.holder, challenge.about,
        challenge.expires_at,
    )  # fmt: skip


async def use(
    work: Work, value: bytes, purpose: Purpose, holder: bytes, about: bytes | None
) -> bool:
    """Delete the question that this answers; False when there is none such. One of two at once gets it."""
    row = await work.row(
        "DELETE FROM passkey_challenge WHERE value_hash = $1 RETURNING purpose, holder, about, expires_at",
        _hash(value),
    )
    return row is not None and (
        (row["purpose"], bytes(row["holder"]), row["about"]) == (purpose, holder, about)
        and row["expires_at"] > work.now_ms
    )


async def reap(work: Work, limit: int) -> int:
    """Delete questions that nobody answered in time."""
    return await work.execute(
        "DELETE FROM passkey_challenge WHERE value_hash IN (SELECT value_hash FROM passkey_challenge"
        " WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        work.now_ms,
        limit,
    )


def _hash(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
