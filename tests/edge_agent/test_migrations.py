"""Files of every released version are taken over whole; a newer one is refused; nobody migrates under a service."""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from devices.entropy import SeededEntropy
from edge_agent.accepting import accept
from edge_agent.asking import ask
from edge_agent.chain import broken_at
from edge_agent.server import Server
from edge_agent.store import schema
from edge_agent.store.database import Database, HomeLock
from edge_agent.sync import sync
from tests.edge_agent.release_schema import RELEASED, key_of
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World

DUMPS = sorted(RELEASED.glob("*.sql"))
MIGRATIONS = {"terminal": schema.TERMINAL, "payer": schema.PAYER}


def version_of(path: Path) -> int:
    return int(path.stem.split("-")[1])


def shape(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Tables, columns, keys and indexes, whatever the words they were made with."""
    found: set[tuple[str, ...]] = set()
    for name, sql in db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"):
        found.add((name, re.sub(r"\s+", " ", sql.replace('"', "")).replace("( ", "(")))
    return found


def loaded(path: Path, dump: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.executescript(dump.read_text())
    db.close()
    return path


def made(path: Path, migrations: Sequence[Sequence[str]]) -> sqlite3.Connection:
    Database.open(path, migrations).close()
    return sqlite3.connect(path)


@pytest.mark.parametrize("role", ["terminal", "payer"])
def test_every_version_before_this_one_has_its_file(role: str):
    here = [version_of(path) for path in DUMPS if path.stem.startswith(role)]
    assert here
    assert set(range(1, len(MIGRATIONS[role]))) <= set(here)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_a_released_migration_was_not_edited(dump: Path, tmp_path: Path):
    role = dump.stem.split("-")[0]
    old = sqlite3.connect(loaded(tmp_path / "old.db", dump))
    new = made(tmp_path / "new.db", MIGRATIONS[role][: version_of(dump)])
    assert shape(old) == shape(new)
    old.close()
    new.close()


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_a_released_file_becomes_one_of_this_version_and_keeps_its_rows(dump: Path, tmp_path: Path):
    migrations = MIGRATIONS[dump.stem.split("-")[0]]
    path = loaded(tmp_path / "old.db", dump)
    old = sqlite3.connect(path)
    tables = [
        name for (name,) in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    before = {name: old.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables}
    old.close()
    now, fresh = made(path, migrations), made(tmp_path / "fresh.db", migrations)
    assert shape(now) == shape(fresh)
    after = {name: now.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables}
    assert after == before
    assert now.execute("PRAGMA user_version").fetchone() == (len(migrations),)
    assert now.execute("PRAGMA foreign_key_check").fetchall() == []
    now.close()
    fresh.close()


@pytest.mark.parametrize(
    "dump", [path for path in DUMPS if path.stem.startswith("terminal")], ids=lambda path: path.stem
)
async def test_a_terminal_of_a_released_version_goes_on(
    dump: Path, world: World, server: RunningServer
):
    loaded(world.folder / "shop" / "agent.db", dump)
    key_of(world.folder, "shop")
    world.issuer.entropy = SeededEntropy("another day")
    terminal = world.terminal("shop")
    assert broken_at(terminal.store) is None
    rows = terminal.store.state().head_seq
    assert accept(terminal, world.payer("ravi").pay(ask(terminal, 700).text).to_text()).paid
    server.side.terminals[terminal.me.terminal] = KnownTerminal(key=terminal.keys.public_key())
    async with Server(server.url) as door:
        done = await sync(terminal, door)
    # What the old version took and this one took, in one history; 300 of it was given back.
    assert (done.settled, done.left, done.refused) == (100 + 200 + 300 + 700, 0, [])
    assert done.sent > rows


def test_an_older_agent_refuses_a_newer_file(ready: Shell):
    path = ready.folder / "terminal" / "terminal" / "agent.db"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={len(schema.TERMINAL) + 1}")
    db.close()
    for words in (["status"], ["ask", "1"], ["sync"], ["serve"]):
        assert ready.terminal(*words, code=2)["code"] == "edge.schema_newer"
    assert "newer agent" in ready.terminal("doctor", code=1)["detail"]


def test_nobody_migrates_a_file_that_a_service_has_open(
    ready: Shell, monkeypatch: pytest.MonkeyPatch
):
    home = ready.folder / "terminal" / "terminal"
    later = (*schema.TERMINAL, ("CREATE TABLE later (a INTEGER NOT NULL) STRICT",))
    monkeypatch.setattr(schema, "TERMINAL", later)
    running = HomeLock.take(home / "agent.lock")
    assert ready.terminal("status", code=2)["code"] == "edge.home_busy"
    running.release()
    assert ready.terminal("status")["ok"]
    with sqlite3.connect(home / "agent.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(later),)
    db.close()
