"""The commands as a person or a script uses them: enrol, take, ask, pay, accept, sync, and every wrong input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from offline import qr
from tests.edge_agent.shell import Shell


def test_the_main_road_with_texts(ready: Shell):
    asked = ready.terminal("ask", "150.50")
    assert (asked["amount"], asked["currency"], asked["ok"]) == ("15050", "INR", True)
    paid = ready.payer("pay", asked["text"], "--yes")
    assert (paid["code"], paid["payee"], paid["amount"]) == (
        "edge.voucher_signed",
        "Ravi Tea",
        "15050",
    )
    again = ready.payer("pay", asked["text"])
    assert (again["code"], again["text"]) == ("edge.voucher_shown_again", paid["text"])
    taken = ready.terminal("accept", paid["text"])
    assert (taken["code"], taken["paid"]) == ("OV_ACCEPTED", True)
    assert ready.payer("keep", taken["text"])["code"] == "edge.receipt_kept"
    twice = ready.terminal("accept", paid["text"])
    assert (twice["code"], twice["paid"]) == ("OV_ALREADY_ACCEPTED", True)
    ready.terminal("ask", "7")
    old = ready.terminal("accept", paid["text"], code=1)
    assert (old["code"], old["paid"]) == ("OV_ALREADY_ACCEPTED", False)
    assert ready.terminal("status")["unsettled"] == "15050"
    done = ready.terminal("sync")
    assert (done["settled"], done["left"]) == ("15050", 0)
    assert [row["state"] for row in ready.terminal("list")["rows"]] == ["OV_ACCEPTED"]
    assert ready.terminal("journal")["chain_ok"] is True
    assert ready.payer("status")["left"] == "84950"
    token = ready.server.side.token
    assert ready.payer("witness", "--token", token)["recorded"] == 1
    assert ready.payer("surrender", "--token", token)["unspent"] == "84950"
    assert [row["proof"] for row in ready.payer("list")["rows"]] == ["OV1P"]


def test_the_main_road_with_pictures(ready: Shell, tmp_path: Path):
    pictures = [str(tmp_path / name) for name in ("ask.png", "pay.png", "receipt.png")]
    ready.terminal("ask", "99", "--png", pictures[0])
    ready.payer("pay", pictures[0], "--yes", "--png", pictures[1])
    taken = ready.terminal("accept", pictures[1], "--png", pictures[2])
    assert taken["paid"]
    assert qr.read_png(Path(pictures[2]).read_bytes()) == taken["text"]


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_signed(
    ready: Shell, tmp_path: Path
):
    asked = ready.terminal("ask", "99")
    nowhere = str(tmp_path / "missing" / "pay.png")
    said = ready.payer("pay", asked["text"], "--yes", "--png", nowhere, code=2)
    assert said["code"] == "edge.file_unwritable"
    assert ready.payer("status")["counter"] == 0
    (tmp_path / "folder.png").mkdir()
    paid = ready.payer("pay", asked["text"], "--yes")
    home = str(ready.folder / "terminal")
    taken = ready.run(
        "terminal",
        "accept",
        paid["text"],
        "--home",
        home,
        "--png",
        str(tmp_path / "folder.png"),
        code=2,
    )
    assert "is a directory" in taken or taken == ""
    assert ready.terminal("accept", paid["text"])["paid"]


def test_a_person_sees_who_is_paid_and_agrees(ready: Shell):
    asked = ready.terminal("ask", "150")
    home = ["--home", str(ready.folder / "payer")]
    no = ready.run("payer", "pay", asked["text"], *home, code=2, given="n\n")
    assert "Pay ₹150.00 to Ravi Tea?" in no
    assert "Nothing was paid" in no
    assert ready.payer("status")["counter"] == 0
    yes = ready.run("payer", "pay", asked["text"], *home, "--qr", given="y\n")
    assert "Signed ₹150.00 for Ravi Tea" in yes
    assert "█" in yes
    [code] = [line for line in yes.splitlines() if line.startswith("OV1V:")]
    shown = ready.run("terminal", "accept", code, "--home", str(ready.folder / "terminal"))
    assert "PAID ₹150.00" in shown
    other = ready.run(
        "terminal", "accept", "OV1V:X", "--home", str(ready.folder / "terminal"), code=1
    )
    assert "NOT PAID" in other
    assert "PAID ₹" not in other


def test_refused_voided_and_cancelled(ready: Shell):
    asked = ready.terminal("ask", "20")
    paid = ready.payer("pay", asked["text"], "--yes")
    assert ready.terminal("cancel")["code"] == "edge.request_closed"
    refused = ready.terminal("accept", paid["text"], code=1)
    assert (refused["code"], refused["voidable"]) == ("OV_CHALLENGE_EXPIRED", True)
    given = ready.terminal("void", paid["text"])
    assert (given["code"], given["reason"], given["paid"]) == ("edge.voided", "refused", False)
    kept = ready.payer("keep", given["text"], "--hand-in")
    assert (kept["code"], kept["state"]) == ("edge.void_kept", "applied")
    assert ready.terminal("accept", paid["text"], code=1)["code"] == "OV_VOIDED"
    asked = ready.terminal("ask", "30")
    paid = ready.payer("pay", asked["text"], "--yes")
    ready.terminal("accept", paid["text"])
    assert ready.terminal("void", paid["text"], code=2)["code"] == "edge.void_accepted"
    assert ready.terminal("void", paid["text"], "--return")["reason"] == "returned"


def test_restore_needs_a_sync(ready: Shell):
    assert ready.terminal("restore", code=2)["code"] == "edge.not_confirmed"
    assert ready.terminal("restore", "--yes")["code"] == "edge.restored"
    assert ready.terminal("ask", "10", code=1)["code"] == "OV_SYNC_OVERDUE"
    ready.terminal("sync")
    assert ready.terminal("ask", "10")["ok"]


@pytest.mark.parametrize(
    ("pairing", "named"),
    [
        ("HUNDI-PAIR:CODE-1:" + "00" * 16, "edge.root_key_foreign"),
        ("HUNDI-PAIR:OTHER-CODE:REAL", "terminals.code_unknown"),
        ("rubbish", "edge.pairing_malformed"),
    ],
)
def test_an_enrolment_that_does_not_hold_stores_nothing(shell: Shell, pairing: str, named: str):
    shell.server.side.codes.add("CODE-1")
    text = pairing.replace("REAL", shell.server.side.fingerprint())
    said = shell.terminal("enrol", text, "--server", shell.server.url, code=2)
    assert said["code"] == named
    assert shell.terminal("status", code=2)["code"] == "edge.not_enrolled"
    shell.server.side.codes.add("CODE-1")
    assert shell.enrol_terminal()["synced"] is True


def test_an_empty_home_says_so(shell: Shell):
    for words in (["status"], ["list"], ["ask", "1"], ["sync"], ["journal"]):
        assert shell.terminal(*words, code=2)["code"] == "edge.not_enrolled"
    for words in (["status"], ["list"], ["pay", "OV1R:A", "--yes"]):
        assert shell.payer(*words, code=2)["code"] == "edge.not_enrolled"
    assert not (shell.folder / "terminal" / "terminal" / "agent.db").exists()


def test_enrolling_twice_and_a_server_that_is_gone(ready: Shell):
    ready.server.side.codes.add("CODE-2")
    pairing = f"HUNDI-PAIR:CODE-2:{ready.server.side.fingerprint()}"
    said = ready.terminal("enrol", pairing, "--server", ready.server.url, code=2)
    assert said["code"] == "edge.already_enrolled"
    said = ready.terminal("sync", "--server", "http://127.0.0.1:9", code=2)
    assert said["code"] == "edge.server_unreachable"


def test_a_passphrase_is_needed_again(shell: Shell, tmp_path: Path):
    (tmp_path / "pass").write_text("correct horse\n")
    shell.server.side.codes.add("CODE-1")
    pairing = f"HUNDI-PAIR:CODE-1:{shell.server.side.fingerprint()}"
    given = ["--passphrase-file", str(tmp_path / "pass")]
    shell.terminal("enrol", pairing, "--server", shell.server.url, *given)
    assert shell.terminal("ask", "10", code=2)["code"] == "keystore.locked"
    (tmp_path / "wrong").write_text("wrong")
    wrong = ["--passphrase-file", str(tmp_path / "wrong")]
    assert shell.terminal("ask", "10", *wrong, code=2)["code"] == "keystore.locked"
    assert shell.terminal("ask", "10", *given)["ok"]


def test_the_open_terminal_reads_lines(ready: Shell):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from edge_agent.cli import main; main()",
            "terminal",
            "run",
            "--home",
            str(ready.folder / "terminal"),
            "--json",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def say(line: str) -> dict:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    assert json.loads(process.stdout.readline())["code"] == "edge.ready"
    assert ready.terminal("ask", "1", code=2)["code"] == "edge.home_busy"
    asked = say("ask 150.00")
    paid = ready.payer("pay", asked["text"], "--yes")
    assert say(f"scan {paid['text']}")["paid"] is True
    assert say("scan rubbish")["code"] == "OV_MALFORMED"
    assert say("ask much")["code"] == "edge.amount_invalid"
    assert say("dance")["code"] == "edge.command_unknown"
    assert say("sync")["code"] == "edge.synced"
    assert say("status")["unsettled"] == "0"
    out, errors = process.communicate("ask 20\nquit\n")
    assert [json.loads(line)["code"] for line in out.splitlines()] == [
        "edge.request_shown",
        "edge.stopped",
    ]
    assert (process.returncode, errors) == (0, "")
    assert ready.terminal("status")["open_requests"] == 0
