"""An agent whose keys lie on a PKCS#11 token: paired, paid, backed up and put back as any other."""

from pathlib import Path

import pytest

from devices.keystore.tokens import LOGINS
from tests.edge_agent.shell import Shell
from tests.softhsm import MODULE, PIN
from tests.swtpm import Tpm


@pytest.fixture(autouse=True)
def pin(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNDI_EDGE_PASSPHRASE", PIN)


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_it_is_paid_and_pays_with_keys_that_never_left_a_token(
    shell: Shell, token: str, algorithm: str, tmp_path: Path
) -> None:
    words = ("--module", str(MODULE), "--label", token, "--algorithm", algorithm)
    made = shell.command("token", "payer", *words, home="payer")
    assert (made["code"], made["algorithm"]) == ("edge.token_ready", algorithm)
    shell.enrol_terminal()
    shell.enrol_payer()
    asked = shell.terminal("ask", "150")
    shown = shell.payer("pay", asked["text"], "--yes")
    assert shell.payer("pay", asked["text"], "--yes")["text"] == shown["text"]
    assert shell.terminal("accept", shown["text"])["code"] == "OV_ACCEPTED"


def test_a_payers_counters_are_anchored_in_a_tpm(shell: Shell, token: str, tpm: Tpm) -> None:
    words = ("--module", str(MODULE), "--label", token, "--tpm", tpm.tcti)
    assert shell.command("token", "terminal", *words, code=2)["code"] == "edge.tpm_of_payer"
    made = shell.command("token", "payer", *words, home="payer")
    assert made["tier"] == "hardware_counter"
    file = shell.folder / "payer/payer/keys/counters.sealed"
    shell.enrol_terminal()
    shell.enrol_payer()
    asked = shell.terminal("ask", "150")
    before = file.read_bytes()
    shown = shell.payer("pay", asked["text"], "--yes")
    assert shell.terminal("accept", shown["text"])["code"] == "OV_ACCEPTED"
    file.write_bytes(before)
    refused = shell.payer("pay", shell.terminal("ask", "1")["text"], "--yes", code=2)
    assert (refused["code"], "older copy" in refused["message"]) == ("keystore.damaged", True)


def test_a_terminal_on_a_token_is_restored_beside_it(
    shell: Shell, token: str, tmp_path: Path
) -> None:
    shell.command("token", "terminal", "--module", str(MODULE), "--label", token)
    shell.enrol_terminal()
    assert shell.terminal("ask", "1")["ok"]
    [key] = [row for row in shell.terminal("doctor")["rows"] if row["what"] == "key"]
    assert key["state"] == "fine"
    file = tmp_path / "shop.backup"
    shell.terminal("backup", str(file))
    shell.terminal("restore", str(file), "--yes", home="elsewhere")
    assert (shell.folder / "elsewhere/terminal/keys/token.json").exists()
    assert not list((shell.folder / "elsewhere/terminal/keys").glob("key.sealed"))


def test_what_is_wrong_is_told(shell: Shell, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("token", "terminal", "--module", str(MODULE), "--label", token)
    shell.command(*words)
    shell.enrol_terminal()
    assert shell.command(*words, code=2)["code"] in {"edge.key_exists", "keystore.failed"}
    LOGINS.clear()
    monkeypatch.setenv("HUNDI_EDGE_PASSPHRASE", "999999")
    assert shell.terminal("ask", "1", code=2)["code"] in {"keystore.locked", "keystore.failed"}
    monkeypatch.delenv("HUNDI_EDGE_PASSPHRASE")
    said = shell.terminal("ask", "1", code=2)
    assert said["code"] == "keystore.locked"
    assert "PIN" in said["message"]
