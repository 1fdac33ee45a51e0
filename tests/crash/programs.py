"""Our own programs as processes of a test: started, killed, waited for."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.crash.waiting import beside

ROOT = Path(__file__).parents[2]
END_S = 40


class Program:
    """One `hundi …` or `python -m module …` that may be killed and started again."""

    def __init__(
        self, log: Path, *words: str, environment: Mapping[str, str] | None = None
    ) -> None:
        own = Path(sys.executable).with_name(words[0])
        self._words = [str(own), *words[1:]] if own.exists() else [sys.executable, "-m", *words]
        self.log, self._environment = log, environment
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self._words,
                cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def kill(self) -> None:
        assert self.alive, f"it had ended before it was killed: {self.said()}"
        self.child.kill()
        self.child.wait()

    async def end(self) -> None:
        """SIGTERM; it must finish what it has taken and end well."""
        if self.child is None or self.child.poll() == -signal.SIGKILL:
            return
        assert self.alive, f"it ended by itself: {self.said()}"
        self.child.terminate()
        await beside(self.child.wait, END_S)
        assert self.child.returncode == 0, self.said()

    def drop(self) -> None:
        """For the end of a test that failed."""
        if self.alive:
            self.child.kill()
            self.child.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]
