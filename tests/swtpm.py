"""A TPM 2.0 of the tests' own: Debian's swtpm, a process and a folder each."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Tpm:
    """One TPM; `tcti` is the road to it. Stopped and started, it is the same one."""

    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tcti(self) -> str:
        return f"swtpm:path={self.folder / 'sock'}"

    def start(self) -> None:
        words = [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}",
            "--server", f"type=unixio,path={self.folder / 'sock'}",
            "--ctrl", f"type=unixio,path={self.folder / 'sock.ctrl'}",
            "--flags", "not-need-init,startup-clear", "--pid", f"file={self.folder / 'pid'}",
        ]  # fmt: skip
        self.running.append(subprocess.Popen(words))
        while not all((self.folder / name).exists() for name in ("sock", "sock.ctrl")):
            assert self.running[-1].poll() is None

    def stop(self) -> None:
        for one in self.running:
            one.kill()
            one.wait(timeout=10)
        self.running.clear()
        for name in ("sock", "sock.ctrl"):
            (self.folder / name).unlink(missing_ok=True)

    def tool(self, *words: str) -> bytes:
        """Run one of tpm2-tools as the machine's owner could."""
        env = os.environ | {"TPM2TOOLS_TCTI": self.tcti}
        return subprocess.run(words, env=env, check=True, capture_output=True, timeout=30).stdout


@pytest.fixture
def new_tpm() -> Iterator[Callable[[], Tpm]]:
    """Call it for a fresh TPM."""
    made: list[Tpm] = []

    def make() -> Tpm:
        made.append(Tpm(Path(tempfile.mkdtemp())))  # a socket's path is short
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        shutil.rmtree(one.folder)


@pytest.fixture
def tpm(new_tpm: Callable[[], Tpm]) -> Tpm:
    return new_tpm()
