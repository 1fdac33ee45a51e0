"""`hundi-edge setup`: one command from a bare machine to a unit that systemd accepts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.errors import AgentError
from edge_agent.unit import UnitFacts, unit_text
from offline import qr
from tests.edge_agent.shell import Shell

ANALYZE = shutil.which("systemd-analyze")
STATE = UnitFacts(program=Path("/bin/true"), home=Path("/var/lib/hundi-edge"), user="shop")
OWN = UnitFacts(
    program=Path("/bin/true"),
    home=Path("/home/asha's shop 5%"),
    user="asha",
    passphrase_file=Path("/etc/hundi/passphrase"),
)


def given(shell: Shell) -> str:
    shell.server.side.codes.add("CODE-1")
    return f"HUNDI-PAIR:CODE-1:{shell.server.side.fingerprint()}"


def setup(shell: Shell, *words: str, code: int = 0) -> dict:
    units = shell.folder / "units"
    units.mkdir(exist_ok=True)
    return shell.command(
        "setup", *words, "--unit-folder", str(units), home="terminal", code=code
    )  # fmt: skip


def test_it_pairs_and_writes_settings_and_unit(shell: Shell):
    said = setup(shell, given(shell), "--server", shell.server.url)
    assert (said["code"], said["name"], said["synced"]) == ("edge.set_up", "Ravi Tea", True)
    assert "systemctl enable --now hundi-edge.service" in said["detail"]
    unit = Path(said["unit"]).read_text()
    assert f"--home {shell.folder}/terminal\n" in unit
    assert Path(said["config"]).read_text().count("sync_every_s = 60\n") == 1
    assert shell.terminal("status")["floor_limit"] == "1000000"
    assert shell.terminal("ask", "1")["ok"]


def test_a_picture_of_the_pairing_code_pairs(shell: Shell, tmp_path: Path):
    picture = tmp_path / "pair.png"
    picture.write_bytes(qr.png(given(shell)))
    assert setup(shell, str(picture), "--server", shell.server.url)["name"] == "Ravi Tea"


def test_again_it_writes_the_unit_anew_and_keeps_the_settings(shell: Shell):
    said = setup(shell, given(shell), "--server", shell.server.url)
    Path(said["unit"]).unlink()
    Path(said["config"]).write_text("sync_every_s = 5\n")
    again = setup(shell)
    assert (again["code"], again["name"]) == ("edge.set_up", None)
    assert Path(said["unit"]).exists()
    assert Path(said["config"]).read_text() == "sync_every_s = 5\n"
    twice = setup(shell, given(shell), "--server", shell.server.url, code=2)
    assert twice["code"] == "edge.already_enrolled"


def test_what_cannot_be_written_is_refused_before_the_code_is_used(shell: Shell):
    pairing = given(shell)
    said = shell.command(
        "setup", pairing, "--server", shell.server.url, "--unit-folder", "/nowhere", code=2
    )
    assert said["code"] == "edge.file_unwritable"
    assert shell.server.side.codes == {"CODE-1"}
    assert setup(shell, code=2)["code"] == "edge.not_enrolled"
    assert setup(shell, pairing, code=2)["code"] == "edge.server_url"


def test_the_unit_is_least_privileged_and_restarts():
    text = unit_text(STATE)
    for line in ("Type=notify", "WatchdogSec=60", "Restart=on-failure", "DynamicUser=yes",
                 "StateDirectory=hundi-edge", "NoNewPrivileges=yes", "ProtectSystem=strict",
                 "ProtectHome=yes", "CapabilityBoundingSet=", "PrivateDevices=yes"):  # fmt: skip
        assert f"\n{line}\n" in text
    assert "User=asha" not in text
    own = unit_text(OWN)
    assert "\nUser=asha\n" in own
    assert '\nReadWritePaths="/home/asha\'s shop 5%%"\n' in own
    assert "\nProtectHome=read-only\n" in own
    assert "DynamicUser" not in own
    assert "\nLoadCredential=passphrase:/etc/hundi/passphrase\n" in own
    assert own.count("--passphrase-file ${CREDENTIALS_DIRECTORY}/passphrase\n") == 1


@pytest.mark.parametrize("home", ["/var/lib/two words", "/srv/a\nExecStartPre=/bin/rm", "/srv/\0"])
def test_a_path_that_a_unit_cannot_name_is_refused(home: str):
    with pytest.raises(AgentError) as refusal:
        unit_text(UnitFacts(program=Path("/bin/true"), home=Path(home), user="shop"))
    assert refusal.value.code == "edge.unit_path"


@pytest.mark.skipif(ANALYZE is None, reason="this machine has no systemd-analyze")
@pytest.mark.parametrize("facts", [STATE, OWN])
def test_systemd_accepts_the_unit(facts: UnitFacts, tmp_path: Path):
    path = tmp_path / "hundi-edge.service"
    path.write_text(unit_text(facts))
    done = subprocess.run(
        [ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False
    )
    about_us = [line for line in done.stderr.splitlines() if "hundi-edge" in line]
    assert (done.returncode, about_us) == (0, []), done.stderr
    rated = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--no-pager", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for .*: ([0-9.]+)", rated.stdout)
    assert found is not None, rated.stderr
    assert float(found[1]) < 3
