import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.amounts import format_amount, parse_amount
from edge_agent.errors import AgentError
from edge_agent.store import schema
from edge_agent.store.database import Database, HomeLock
from edge_agent.trust import check_fingerprint, read_pairing


@pytest.mark.parametrize("migrations", [schema.PAYER, schema.TERMINAL])
def test_the_file_is_strict_durable_and_private(
    tmp_path: Path, migrations: Sequence[Sequence[str]]
):
    db = Database.open(tmp_path / "a.db", migrations)
    assert db.first("PRAGMA journal_mode") == ("wal",)
    assert db.first("PRAGMA synchronous") == (2,)
    assert db.first("PRAGMA foreign_keys") == (1,)
    assert db.first("PRAGMA user_version") == (len(migrations),)
    loose = db.read("SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0")
    assert {name for (name,) in loose} <= {"sqlite_schema", "sqlite_sequence"}
    db.close()
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
    again = Database.open(tmp_path / "a.db", migrations)
    again.close()


def test_migrations_go_forward_and_a_newer_file_is_refused(tmp_path: Path):
    one = ("CREATE TABLE t (a INTEGER NOT NULL) STRICT", "INSERT INTO t VALUES (7)")
    two = ("ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 1",)
    Database.open(tmp_path / "a.db", [one]).close()
    db = Database.open(tmp_path / "a.db", [one, two])
    assert db.read("SELECT a, b FROM t") == [(7, 1)]
    db.close()
    with pytest.raises(AgentError) as refusal:
        Database.open(tmp_path / "a.db", [one])
    assert refusal.value.code == "edge.schema_newer"


def test_a_failed_migration_leaves_the_old_file(tmp_path: Path):
    one = ("CREATE TABLE t (a INTEGER NOT NULL) STRICT",)
    Database.open(tmp_path / "a.db", [one]).close()
    with pytest.raises(AgentError):
        Database.open(tmp_path / "a.db", [one, ("DROP TABLE t", "NONSENSE")])
    db = Database.open(tmp_path / "a.db", [one])
    assert db.read("SELECT count(*) FROM t") == [(0,)]
    db.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "a.db").write_bytes(b"this is not a database file at all" * 100)
    with pytest.raises(AgentError) as refusal:
        Database.open(tmp_path / "a.db", schema.PAYER)
    assert refusal.value.code == "edge.store_failed"


def test_a_write_that_raises_is_gone(tmp_path: Path):
    db = Database.open(tmp_path / "a.db", [("CREATE TABLE t (a INTEGER NOT NULL) STRICT",)])

    def write_and_fail() -> None:
        with db.write() as c:
            c.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with pytest.raises(AgentError), db.write() as c:
        c.execute("INSERT INTO t VALUES ('text')")
    assert db.read("SELECT * FROM t") == []
    db.close()


def test_a_home_has_one_writer(tmp_path: Path):
    lock = HomeLock.take(tmp_path / "lock")
    with pytest.raises(AgentError) as refusal:
        HomeLock.take(tmp_path / "lock")
    assert refusal.value.code == "edge.home_busy"
    lock.release()
    HomeLock.take(tmp_path / "lock").release()


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("150", 15_000),
        ("150.5", 15_050),
        ("150.50", 15_050),
        ("0.01", 1),
        (" 7 ", 700),
        ("007", 700),
    ],
)
def test_amounts_are_read_exactly(text: str, minor: int):
    assert parse_amount(text) == minor


@pytest.mark.parametrize(
    "text",
    ["0", "0.00", "-1", "+1", "1e3", "1.001", "1,000", "", " ", ".5", "5.", "inf", "NaN", "0x10",
     "\uff11\uff15\uff10", "१५०", "9" * 40, "999999999999999", "1_000", "1 0", "₹5"],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(AgentError) as refusal:
        parse_amount(text)
    assert refusal.value.code == "edge.amount_invalid"


def test_amounts_are_shown_with_their_currency():
    assert format_amount(15_050, "INR") == "₹150.50"
    for minor, said in ((99_900, "₹999.00"), (100_000, "₹1,000.00"), (9_999_999, "₹99,999.99"),
                        (12_345_650, "₹1,23,456.50"), (100_000_000, "₹10,00,000.00")):  # fmt: skip
        assert format_amount(minor, "INR") == said
    assert format_amount(200, "JPY") == "JPY 200"
    assert parse_amount("200", "JPY") == 200
    with pytest.raises(AgentError):
        parse_amount("200.5", "JPY")


def test_a_pairing_string_is_read_whole_or_not_at_all():
    pairing = read_pairing("HUNDI-PAIR:AB12-cd:" + "0F" * 16)
    assert (pairing.code, pairing.fingerprint) == ("AB12-cd", "0f" * 16)
    for text in ("", "HUNDI-PAIR:", "HUNDI-PAIR:abcd:12", "PAIR:abcd:" + "0" * 32, "x" * 9999):
        with pytest.raises(AgentError):
            read_pairing(text)
    with pytest.raises(AgentError):
        check_fingerprint(b"a root key", "0" * 32)


def test_importing_the_agent_loads_no_server_code():
    program = (
        "import sys, edge_agent.cli, edge_agent.sync, edge_agent.terminal_loop\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in "
        "{'sqlalchemy','strawberry','server_core','sqlmodel','asyncpg','litestar','bff','graph'}]\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
