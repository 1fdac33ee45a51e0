"""The service's log: JSON lines in a file that turns over, so that it never fills the terminal's disk."""

import json
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Self

from devices.clock import Clock


class _Handler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A log that cannot be written must not stop a sale; doctor tells of the disk."""


class AgentLog:
    """`path`, then `path`.1 and so on: at most `files` files of at most `size` bytes each."""

    __slots__ = ("_clock", "_handler")

    def __init__(self, path: Path, clock: Clock, *, size: int, files: int) -> None:
        self._clock = clock
        self._handler = _Handler(
            path, maxBytes=size, backupCount=files - 1, encoding="utf-8", delay=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._handler.close()

    def write(self, event: str, **facts: object) -> None:
        """Write one line: `at` in Unix milliseconds, the event, and its facts. No payer is named."""
        line = json.dumps({"at": self._clock.now_ms(), "event": event} | facts, default=str)
        self._handler.handle(logging.LogRecord("hundi-edge", logging.INFO, "", 0, line, None, None))
