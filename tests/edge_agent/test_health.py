"""What status and doctor say: each trouble is named, says what to do, and gives the exit code."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.clock_floor import FloorMark
from edge_agent.health import Level, Standing, findings, span
from edge_agent.home import Home
from edge_agent.store.terminal_rows import SyncState, Totals
from tests.edge_agent.service import Service
from tests.edge_agent.shell import Shell
from tests.offline import kit

NOW_S = 1_800_000_000
DAY_S = 86_400
STATE = SyncState(
    epoch=bytes(8), head_seq=9, head=bytes(32), acked_seq=4, applied=0, must_sync=False,
    quarantined=False, last_sync_s=NOW_S - 600, screen_nonce=None,
    floor=FloorMark(floor_ms=None, boot=None, monotonic_ms=None),
)  # fmt: skip
WELL = Standing(
    state=STATE, totals=Totals(unsettled=100, unsettled_count=1, open_amount=0, open_count=0),
    ccy="INR", risk=kit.RISK, now_s=NOW_S, ahead_s=2.0, certificate_until_s=NOW_S + 400 * DAY_S,
    oldest_unacked_s=NOW_S - 600,
)  # fmt: skip


def test_a_terminal_that_is_well_has_nothing_to_do():
    found = findings(WELL)
    assert [one.level for one in found] == [Level.FINE] * 6
    assert all(one.says and not one.do for one in found)


def full(amount: int) -> Totals:
    return Totals(unsettled=amount, unsettled_count=1, open_amount=0, open_count=0)


@pytest.mark.parametrize(
    ("what", "level", "change"),
    [
        ("history", Level.BAD, {"state": replace(STATE, quarantined=True)}),
        ("history", Level.BAD, {"state": replace(STATE, must_sync=True)}),
        ("clock", Level.BAD, {"ahead_s": None}),
        ("clock", Level.BAD, {"ahead_s": -3 * DAY_S}),
        ("clock", Level.BAD, {"ahead_s": 3 * DAY_S}),
        ("clock", Level.BAD, {"ahead_s": -301}),
        ("sync", Level.BAD, {"state": replace(STATE, last_sync_s=None)}),
        ("sync", Level.BAD, {"state": replace(STATE, last_sync_s=NOW_S - 3 * DAY_S - 1)}),
        ("sync", Level.LOOK, {"state": replace(STATE, last_sync_s=NOW_S - 2 * DAY_S - 1)}),
        ("queue", Level.LOOK, {"oldest_unacked_s": NOW_S - DAY_S - 1}),
        ("limit", Level.BAD, {"totals": full(1_000_000)}),
        ("limit", Level.LOOK, {"totals": full(800_001)}),
        ("limit", Level.BAD, {"risk": None}),
        ("certificate", Level.BAD, {"certificate_until_s": NOW_S - 1}),
        ("certificate", Level.LOOK, {"certificate_until_s": NOW_S + DAY_S}),
    ],
)
def test_each_trouble_is_named_and_says_what_to_do(what: str, level: Level, change: dict):
    found = [one for one in findings(replace(WELL, **change)) if one.level is not Level.FINE]
    assert [(one.what, one.level) for one in found] == [(what, level)]
    assert found[0].do


def test_spans_are_said_as_a_person_says_them():
    assert [span(s) for s in (5, 119, 600, 7_300, 3 * DAY_S)] == [
        "5 seconds", "119 seconds", "10 minutes", "2 hours", "3 days",
    ]  # fmt: skip


def states(said: dict) -> dict[str, str]:
    return {row["what"]: row["state"] for row in said["rows"]}


def home(shell: Shell) -> Path:
    return shell.folder / "terminal" / "terminal"


def test_status_says_whether_the_next_sale_may_be_asked_for(ready: Shell):
    well = ready.terminal("status")
    assert (well["ok"], set(states(well).values())) == (True, {"fine"})
    ready.terminal("restore", "--yes")
    ill = ready.terminal("status", code=1)
    assert states(ill)["history"] == "bad"
    assert "Do: bring it online" in ill["detail"]
    ready.terminal("sync")
    assert ready.terminal("status")["ok"]


def test_a_terminal_that_is_well_passes_the_doctor(ready: Shell):
    ready.terminal("ask", "5")
    said = ready.terminal("doctor")
    assert (said["ok"], said["code"]) == (True, "edge.examined")
    found = states(said)
    assert set(found) == {
        "disk", "files", "settings", "service", "database", "journal", "archive", "key",
        "history", "clock", "sync", "queue", "limit", "certificate",
    }  # fmt: skip
    assert {what for what, state in found.items() if state != "fine"} <= {"service", "disk"}
    with Service(ready.folder / "terminal") as service:
        service.until_told("READY=1")
        assert states(ready.terminal("doctor"))["service"] == "fine"


def test_the_doctor_names_what_is_wrong_with_the_files(ready: Shell):
    folder = home(ready)

    def bad(*whats: str) -> None:
        said = ready.terminal("doctor", code=1)
        assert {what for what, state in states(said).items() if state == "bad"} == set(whats)
        assert all(row["do"] for row in said["rows"] if row["state"] != "fine")

    folder.chmod(0o755)
    bad("files")
    folder.chmod(0o700)
    (folder / "agent.toml").write_text("nonsense")
    bad("settings")
    (folder / "agent.toml").unlink()
    shutil.move(folder / "machine.key", folder / "lost")
    bad("key")
    shutil.move(folder / "lost", folder / "machine.key")
    shutil.move(folder / "keys", folder / "ours")
    Home(root=folder.parent).keys("terminal", create=True)
    bad("key")
    shutil.rmtree(folder / "keys")
    shutil.move(folder / "ours", folder / "keys")
    paid = ready.payer("pay", ready.terminal("ask", "20")["text"], "--yes")
    ready.terminal("accept", paid["text"])
    with sqlite3.connect(folder / "agent.db") as db:
        db.execute("UPDATE journal SET row = zeroblob(9) WHERE seq = 1")
    db.close()
    bad("journal")


def test_the_doctor_finds_a_damaged_file(ready: Shell):
    path = home(ready) / "agent.db"
    data = path.read_bytes()
    path.write_bytes(data[:4_096] + b"\xff" * 4_096 + data[8_192:])
    said = ready.terminal("doctor", code=1)
    assert states(said)["database"] == "bad"
    path.write_bytes(b"nothing of ours" * 1_000)
    assert states(ready.terminal("doctor", code=1))["database"] == "bad"


def test_a_home_without_a_terminal_has_nothing_to_examine(shell: Shell):
    assert shell.terminal("doctor", code=2)["code"] == "edge.not_enrolled"
