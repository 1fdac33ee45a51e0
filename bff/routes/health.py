"""Health: alive as long as the process answers, ready while the ledger can be read."""

from typing import Any

from litestar import Request, get

from bff.auth import core_of


@get("/health/live", sync_to_thread=False)
def live() -> dict[str, str]:
    return {"status": "live"}


@get("/health/ready")
async def ready(request: Request[Any, Any, Any]) -> dict[str, str]:
    """503 db.unreachable while PostgreSQL does not answer."""
    core = core_of(request)
    async with core.db.reader() as reader:
        await reader.value("SELECT 1")
    return {"status": "ready", "schema": core.revision}
