"""A street on the file's database; afterwards the books are right and no hold was overspent."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from server_core.db.work import Database
from server_core.events import store as events
from server_core.ledger import audit
from server_core.trust import service as trust
from tests.server_core.vouchers.street import Street


@pytest.fixture
async def street(db: Database, tmp_path: Path) -> AsyncIterator[Street]:
    clock = db.clock
    assert isinstance(clock, ManualClock)
    keys = trust.load(tmp_path / "keys", entropy=SystemEntropy(), clock=clock, passphrase=None)
    yield Street(db, keys)
    async with db.snapshot() as reader:
        assert await audit.findings(reader) == []
        assert await events.gap(reader) is None
        wrong = await reader.rows(
            "SELECT aid FROM allowance WHERE settled + claimed + unclaimed + returned > hold"
            " OR (state = 'closed' AND settled + claimed + unclaimed + returned <> hold)"
        )
        assert wrong == []
        dense = await reader.row("SELECT count(*) AS n, max(epoch) AS last FROM revocation")
        assert dense["n"] == (dense["last"] or 0)
