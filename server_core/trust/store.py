"""Used nonces: kept until their own time is over, so that none is used twice."""

from sqlalchemy import Index
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work


class UsedNonceRow(SQLModel, table=True):
    """The SHA-256 of a nonce that was used; one that was only asked for is not stored at all."""

    __tablename__ = "used_nonce"
    __table_args__ = (Index("used_nonce_expiry", "expires_at"),)
    nonce: bytes = col.blob(primary=True)
    expires_at: int = col.big()


async def is_used(reader: Reader, nonce: bytes) -> bool:
    return bool(
        await reader.value("SELECT EXISTS (SELECT 1 FROM used_nonce WHERE nonce = $1)", nonce)
    )


async def use(work: Work, nonce: bytes, expires_at: int) -> bool:
    return bool(
        await work.execute(
            "INSERT INTO used_nonce (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            nonce,
            expires_at,
        )
    )


async def reap(work: Work, limit: int) -> int:
    return await work.execute(
        "DELETE FROM used_nonce WHERE nonce IN (SELECT nonce FROM used_nonce"
        " WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        work.now_ms // 1000,
        limit,
    )
