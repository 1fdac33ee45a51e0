"""Backup and restore, and what becomes of copies that were put back without them."""

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from edge_agent import backup as module
from edge_agent.asking import ask, cancel
from edge_agent.home import Home
from edge_agent.store import schema
from tests.edge_agent.service import Service
from tests.edge_agent.shell import Shell

PASSPHRASE = "--backup-passphrase-file"


@pytest.fixture
def words(ready: Shell, tmp_path: Path) -> list[str]:
    """The backup's own passphrase, as an option."""
    (tmp_path / "pass").write_text("correct horse\n")
    return [PASSPHRASE, str(tmp_path / "pass")]


def sell(shell: Shell, amount: str, home: str = "terminal") -> dict:
    asked = shell.terminal("ask", amount, home=home)
    paid = shell.payer("pay", asked["text"], "--yes")
    assert shell.terminal("accept", paid["text"], home=home)["paid"]
    return paid


def lose(shell: Shell) -> None:
    shutil.rmtree(shell.folder / "terminal" / "terminal")


def settled(shell: Shell) -> int:
    return len(shell.server.side.settled)


def test_a_terminal_restored_by_command_goes_on_in_a_new_epoch(ready: Shell, words: list[str]):
    sell(ready, "100")
    ready.terminal("sync")
    sell(ready, "50")
    file = ready.folder / "shop.backup"
    made = ready.terminal("backup", str(file), *words)
    assert (made["code"], made["schema"]) == ("edge.backed_up", len(schema.TERMINAL))
    assert file.stat().st_mode & 0o777 == 0o600
    before = ready.terminal("status")["epoch"]
    # The last day of the lost machine: one sale that the backup lacks, synced.
    sell(ready, "7")
    ready.terminal("sync")
    lose(ready)
    back = ready.terminal("restore", str(file), *words, "--yes")
    assert (back["code"], back["carried"]) == ("edge.restored", 1)
    assert back["epoch"] != before
    assert ready.terminal("ask", "1", code=1)["code"] == "OV_SYNC_OVERDUE"
    done = ready.terminal("sync")
    assert (done["ok"], done["quarantined"], done["left"]) == (True, False, 0)
    assert settled(ready) == 3
    sell(ready, "9")
    assert ready.terminal("sync")["settled"] == "900"
    assert ready.terminal("doctor")["ok"]
    assert not (ready.folder / "terminal" / ".restoring").exists()


def test_a_copied_folder_forks_and_is_quarantined(ready: Shell):
    sell(ready, "100")
    ready.terminal("sync")
    shutil.copytree(ready.folder / "terminal", ready.folder / "copy")
    sell(ready, "50")
    ready.terminal("sync")
    sell(ready, "60", home="copy")
    forked = ready.terminal("sync", home="copy", code=1)
    assert forked["quarantined"]
    assert ready.terminal("ask", "1", home="copy", code=1)["code"] == "OV_JOURNAL_FORK"
    told = ready.terminal("doctor", home="copy", code=1)
    assert [row["what"] for row in told["rows"] if row["state"] == "bad"] == ["history"]
    assert ready.terminal("ask", "1")["ok"], "the one that was copied goes on"


def test_an_older_copy_put_back_on_both_sides_pays_nobody_twice(ready: Shell, words: list[str]):
    sell(ready, "100")
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    device = ready.folder / "payer" / "payer"
    shutil.copy(device / "agent.db", ready.folder / "device.db")
    sell(ready, "50")
    ready.terminal("sync")
    assert settled(ready) == 2
    lose(ready)
    ready.terminal("restore", str(file), *words, "--yes")
    for path in device.glob("agent.db*"):
        path.unlink()
    shutil.copy(ready.folder / "device.db", device / "agent.db")
    # The terminal had not yet sent the first sale when the backup was made: it is known by its h.
    assert ready.terminal("sync")["quarantined"] is False
    assert settled(ready) == 2
    asked = ready.terminal("ask", "50")
    refused = ready.payer("pay", asked["text"], "--yes", code=1)
    assert refused["code"] == "OV_DEVICE_ROLLED_BACK"
    token = ready.server.side.token
    ready.payer("surrender", "--token", token)
    ready.payer("allowance", "--token", token)
    paid = ready.payer("pay", asked["text"], "--yes")
    assert ready.terminal("accept", paid["text"])["paid"]
    ready.terminal("sync")
    assert settled(ready) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restores_belongs_to_the_owner_of_the_home(ready: Shell, words: list[str]):
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    lose(ready)
    home = ready.folder / "terminal"
    os.chown(home, 12_345, 12_345)
    ready.terminal("restore", str(file), *words, "--yes")
    owners = {path.stat().st_uid for path in (home / "terminal").rglob("*")}
    assert owners == {12_345}


def test_a_running_service_is_backed_up(ready: Shell, words: list[str]):
    sell(ready, "100")
    with Service(ready.folder / "terminal") as service:
        service.until_told("STATUS=open; synced")
        assert ready.terminal("backup", str(ready.folder / "live.backup"), *words)["ok"]
    lose(ready)
    ready.terminal("restore", str(ready.folder / "live.backup"), *words, "--yes")
    assert ready.terminal("sync")["left"] == 0
    assert [row["minor"] for row in ready.terminal("list")["rows"]] == ["10000"]


def test_the_key_travels_sealed(ready: Shell, words: list[str]):
    folder = ready.folder / "terminal" / "terminal"
    file = ready.folder / "shop.backup"
    assert ready.terminal("backup", str(file), code=2)["code"] == "edge.backup_passphrase"
    assert not file.exists()
    ready.terminal("backup", str(file), *words)
    assert (folder / "machine.key").read_bytes().strip() not in file.read_bytes()
    lose(ready)
    (ready.folder / "wrong").write_text("battery staple")
    for given, named in (
        ([], "edge.backup_passphrase"),
        ([PASSPHRASE, str(ready.folder / "wrong")], "keystore.locked"),
    ):
        said = ready.terminal("restore", str(file), *given, "--yes", code=2)
        assert said["code"] == named
        assert list((ready.folder / "terminal").iterdir()) == []
    assert ready.terminal("restore", str(file), *words, "--yes")["ok"]


def test_a_backup_is_never_written_over_anything(ready: Shell, words: list[str]):
    file = ready.folder / "shop.backup"
    file.write_text("last week's")
    assert ready.terminal("backup", str(file), *words, code=2)["code"] == "edge.file_exists"
    assert file.read_text() == "last week's"
    nowhere = str(ready.folder / "missing" / "shop.backup")
    assert ready.terminal("backup", nowhere, *words, code=2)["code"] == "edge.backup_failed"


def test_a_restore_never_replaces_a_terminal(ready: Shell, words: list[str]):
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    sell(ready, "10")
    assert ready.terminal("restore", str(file), *words, code=2)["code"] == "edge.not_confirmed"
    said = ready.terminal("restore", str(file), *words, "--yes", code=2)
    assert said["code"] == "edge.home_not_empty"
    assert ready.terminal("status")["unsettled"] == "1000"
    (ready.folder / "terminal" / "terminal" / "agent.db").unlink()
    said = ready.terminal("restore", str(file), *words, "--yes", code=2)
    assert said["code"] == "edge.home_not_empty"
    assert (ready.folder / "terminal" / "terminal" / "keys" / "key.sealed").exists()


def test_a_backup_that_was_cut_or_altered_is_refused_whole(ready: Shell, words: list[str]):
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    lose(ready)
    good = file.read_bytes()
    broken = [good[:n] for n in (0, 10, 64, 65, 200, len(good) // 2, len(good) - 1)]
    places = (0, 40, 300, len(good) // 2, len(good) - 70, len(good) - 5)
    broken += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in places]
    for data in (*broken, good + b"x"):
        file.write_bytes(data)
        said = ready.terminal("restore", str(file), *words, "--yes", code=2)
        assert said["code"] == "edge.backup_damaged"
    assert list((ready.folder / "terminal").iterdir()) == []


def test_the_service_puts_old_rows_away_and_a_backup_carries_them(ready: Shell, words: list[str]):
    root = ready.folder / "terminal"
    with Home(root=root).terminal() as terminal:
        for _ in range(120):
            ask(terminal, 1)
            cancel(terminal)
    ready.terminal("sync")
    with sqlite3.connect(root / "terminal" / "agent.db") as db:
        db.execute("UPDATE journal SET written_at_s = written_at_s - 31 * 86400")
    db.close()
    with Service(root) as service:
        service.until_told("STATUS=open; synced")
        assert service.stop()[0] == 0
    log = (root / "terminal" / "agent.log").read_text()
    assert '"event": "archived", "rows": 119' in log
    ready.terminal("backup", str(ready.folder / "shop.backup"), *words)
    lose(ready)
    ready.terminal("restore", str(ready.folder / "shop.backup"), *words, "--yes")
    ready.terminal("sync")
    said = ready.terminal("doctor")
    [archive] = [row for row in said["rows"] if row["what"] == "archive"]
    assert archive["says"] == "segments: 1, rows: 119, one chain"
    segment = ready.terminal("journal", "--segment", "1")
    assert [row["seq"] for row in segment["rows"]] == list(range(1, 120))
    assert ready.terminal("journal", "--segment", "2", code=2)["code"] == "edge.archive_unknown"
    (root / "terminal" / "archive" / "000001.seg").unlink()
    said = ready.terminal("doctor", code=1)
    assert [row["what"] for row in said["rows"] if row["state"] == "bad"] == ["archive"]


def resealed(data: bytes, **changes: object) -> bytes:
    """The backup with another manifest, as somebody would write it who knows the form."""
    form, head, body = data[:-65].split(b"\n", 2)
    head = json.dumps(json.loads(head) | changes).encode()
    whole = form + b"\n" + head + b"\n" + body
    return whole + hashlib.sha256(whole).hexdigest().encode() + b"\n"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 99}, "edge.schema_newer"),
        ({"schema": "1"}, "edge.backup_damaged"),
        ({"parts": [["../../evil", 0]]}, "edge.backup_damaged"),
        ({"parts": [["agent.db", -1]]}, "edge.backup_damaged"),
        ({"more": 1}, "edge.backup_damaged"),
    ],
)
def test_a_manifest_is_read_strictly(
    ready: Shell, words: list[str], changes: dict[str, object], named: str
):
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    file.write_bytes(resealed(file.read_bytes(), **changes))
    lose(ready)
    assert ready.terminal("restore", str(file), *words, "--yes", code=2)["code"] == named


def test_a_restore_that_breaks_off_leaves_no_terminal_of_the_old_epoch(
    ready: Shell, words: list[str], monkeypatch: pytest.MonkeyPatch
):
    file = ready.folder / "shop.backup"
    ready.terminal("backup", str(file), *words)
    epoch = ready.terminal("status")["epoch"]
    lose(ready)
    seen = []

    def cut(_root: Path, stage: Path, *_rest: Path) -> None:
        with sqlite3.connect(stage / "terminal" / "agent.db") as db:
            seen.append(db.execute("SELECT hex(epoch) FROM sync_state").fetchone()[0].lower())
        db.close()
        raise OSError("the power went")

    monkeypatch.setattr(module, "give_to_owner", cut)
    said = ready.terminal("restore", str(file), *words, "--yes", code=2)
    assert said["code"] == "edge.store_failed"
    assert seen != [epoch]
    assert ready.terminal("status", code=2)["code"] == "edge.not_enrolled"
