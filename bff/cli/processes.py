"""Starts and stops the real programs for `hundi run` and `hundi demo`."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import httpx

from devices.clock import SystemClock
from server_core.settings import Settings

START_S = 40
STOP_S = 15
_BIN = Path(sys.executable).parent


@dataclass(slots=True)
class Processes:
    """Children with their logs in `home`/logs; leaving the block stops them, last first."""

    home: Path
    environment: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start `hundi …` or `hundi-edge …`; its output goes to its own log."""
        logs = self.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                [str(_BIN / words[0]), *words[1:]],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                start_new_session=True,  # Ctrl-C is the parent's; it stops the children in order
            )
        self.running[name] = child
        return child

    def stop(self, name: str) -> None:
        """Ask it to end (SIGTERM), wait, and kill only what does not."""
        child = self.running.pop(name)
        if child.stdin is not None:
            child.stdin.close()
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def wait_until_ready(self, name: str, url: str) -> None:
        """Until `url` answers 200; raises with the end of its log when the program ends first."""
        clock = SystemClock()
        until = clock.monotonic_ms() + START_S * 1000
        child = self.running[name]
        while clock.monotonic_ms() < until:
            if child.poll() is not None:
                break
            try:
                if httpx.get(url, timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            try:
                child.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        tail = (self.home / "logs" / f"{name}.log").read_text(errors="replace")[-1500:]
        raise click.ClickException(f"{name} did not become ready; its log ends:\n{tail}")

    def first_to_end(self) -> str | None:
        return next((name for name, one in self.running.items() if one.poll() is not None), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self.running)):
            self.stop(name)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which every child reads the same settings."""
    return {
        **os.environ,
        "HUNDI_HOME": str(settings.home),
        "HUNDI_HOST": settings.host,
        "HUNDI_PORT": str(settings.port),
        "HUNDI_ORIGIN": settings.origin,
        "HUNDI_UPI_URL": settings.upi_url,
        "HUNDI_RAIL_PACE": str(settings.rail_pace),
    }


def call(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run one command of ours to its end; bounded, never a shell."""
    return subprocess.run(  # noqa: S603 - our own programs, no shell
        [str(_BIN / words[0]), *words[1:]],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
