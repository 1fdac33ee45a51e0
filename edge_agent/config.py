"""The service's settings: a small TOML file in the terminal's folder, written by setup, read at each start."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from edge_agent.errors import AgentError

NAME: Final = "agent.toml"
_BOUNDS: Final = {
    "sync_every_s": (1, 86_400),
    "archive_after_days": (14, 3_650),
    "log_bytes": (4_096, 1 << 30),
    "log_files": (1, 100),
    "screen_port": (0, 65_535),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `terminal serve` goes by.

    sync_every_s: seconds between syncs that went well. archive_after_days: when acknowledged rows
    leave the database for the archive; far longer than any allowance lives. log_bytes, log_files: the
    size of one log file, and how many there are. screen_port: where the shop's screen is on this machine;
    0 for none.
    """

    sync_every_s: int = 60
    archive_after_days: int = 30
    log_bytes: int = 1 << 20
    log_files: int = 5
    screen_port: int = 8344


def read_config(folder: Path) -> Config:
    """Read the file, or give the defaults where there is none; a setting that is not known is refused."""
    path = folder / NAME
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise AgentError("edge.config_invalid", f"{path} cannot be read: {e}") from e
    for name, value in given.items():
        if name not in _BOUNDS:
            known = ", ".join(_BOUNDS)
            raise AgentError(
                "edge.config_invalid", f"{path}: there is no setting {name[:40]}; there are {known}"
            )
        low, high = _BOUNDS[name]
        if type(value) is not int or not low <= value <= high:
            raise AgentError(
                "edge.config_invalid", f"{path}: {name} is a whole number from {low} to {high}"
            )
    return Config(**given)


def config_text(config: Config) -> str:
    """Give the file that reads as `config`."""
    head = "# Settings of `hundi-edge terminal serve`, read when it starts.\n"
    return head + "".join(f"{f.name} = {getattr(config, f.name)}\n" for f in fields(config))
