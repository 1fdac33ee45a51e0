"""The terminal's service in a process of its own, its screen on a port if a test wants one, and the socket on which it tells systemd how it is."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAM = [sys.executable, "-c", "from edge_agent.cli import main; main()"]
WAIT_S = 20


class Service:
    """`hundi-edge terminal serve` over a home, while the block runs."""

    def __init__(self, home: Path, *, watchdog_us: int | None = None, port: int = 0) -> None:
        self._home = home
        settings = home / "terminal" / "agent.toml"
        given = settings.read_text() if settings.exists() else ""
        kept = [line for line in given.splitlines() if not line.startswith("screen_port")]
        settings.write_text("\n".join([*kept, f"screen_port = {port}", ""]))
        self._watchdog_us = watchdog_us
        self._told: list[str] = []

    def __enter__(self) -> Self:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # An abstract address: no path of a test's folder is short enough to count on.
        address = f"hundi-{os.getpid()}-{id(self)}"
        self.socket.bind("\0" + address)
        self.socket.settimeout(WAIT_S)
        environment = {**os.environ, "NOTIFY_SOCKET": "@" + address}
        if self._watchdog_us is not None:
            environment["WATCHDOG_USEC"] = str(self._watchdog_us)
        self.process = subprocess.Popen(
            [*PROGRAM, "terminal", "serve", "--home", str(self._home), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def until_told(self, state: str) -> str:
        """Wait until it has told a state that begins so; the states before it are let go."""
        while True:
            while self._told:
                told = self._told.pop(0)
                if told.startswith(state):
                    return told
            self._told += self.socket.recv(4_096).decode().split("\n")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, errors

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.process.stdout.close()
        self.process.stderr.close()
        self.socket.close()
