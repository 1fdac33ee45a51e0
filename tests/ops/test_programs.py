"""The script that installs what the tests drive, on machines that are only pretended."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "ops" / "programs.sh"
ALL = ("chromium", "softhsm2-util", "swtpm", "tpm2_nvextend")


def said(folder: Path, programs: dict[str, str]) -> str:
    """What the script says where exactly these programs are; what apt-get was asked follows."""
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", SCRIPT], env={"PATH": str(folder)}, cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    asked = folder / "asked"
    return done.stdout + (asked.read_text() if asked.exists() else "")


APT = 'echo "apt-get $*" >> asked'


def test_nothing_is_done_where_all_is_there(tmp_path: Path) -> None:
    assert said(tmp_path, dict.fromkeys(ALL, "") | {"apt-get": APT, "id": "echo 0"}) == ""


def test_root_installs_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    there = dict.fromkeys(ALL[1:], "")
    text = said(tmp_path, there | {"apt-get": APT, "id": "echo 0"})
    assert "installing chromium, once" in text
    assert text.endswith(
        "apt-get update -qq\napt-get install -y -qq --no-install-recommends chromium\n"
    )


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        (
            {"apt-get": APT, "id": "echo 1000"},
            "sudo apt-get install -y --no-install-recommends chromium softhsm2 swtpm tpm2-tools\n",
        ),
        ({"id": "echo 0"}, "install them by your system's packages\n"),
        ({"apt-get": "exit 100", "id": "echo 0"}, "the tests that drive them will fail\n"),
    ],
    ids=["not root", "no apt", "apt fails"],
)
def test_who_cannot_install_is_told_what_to_do(
    tmp_path: Path, programs: dict[str, str], sentence: str
) -> None:
    text = said(tmp_path, programs)
    wanted = "chromium softhsm2 swtpm tpm2-tools"
    assert f"need {wanted}" in text or f"install {wanted}" in text
    assert text.endswith(sentence)
