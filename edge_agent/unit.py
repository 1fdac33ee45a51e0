"""The systemd unit of a terminal: restarted when it fails or hangs, and allowed nothing but its folder and the network."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.errors import AgentError

NAME: Final = "hundi-edge.service"
WATCHDOG_S: Final = 60
_STATE: Final = Path("/var/lib")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))

_UNIT: Final = """\
# Written by `hundi-edge setup`, which writes it anew: put changes into a drop-in (systemctl edit).
[Unit]
Description=Hundi: a shop's terminal
Wants=time-sync.target
After=network.target time-sync.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=5
TimeoutStopSec=30
{place}
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={protect_home}
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
TasksMax=64

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """What a unit says of one machine: absolute paths, and the user who owns the home."""

    program: Path
    home: Path
    user: str
    passphrase_file: Path | None = None


def dynamic(home: Path) -> bool:
    """Whether systemd may own the home: then the service runs as a user that exists only with it."""
    return home.parent == _STATE


def unit_text(facts: UnitFacts) -> str:
    """Give the unit. A home directly in /var/lib is a StateDirectory of a dynamic user; else its owner's."""
    home = facts.home
    words = [str(facts.program), "terminal", "serve", "--json", "--home", str(home)]
    if dynamic(home):
        place = [
            "DynamicUser=yes",
            f"StateDirectory={_plain(home.name)}",
            "StateDirectoryMode=0700",
        ]
    else:
        place = [f"User={_plain(facts.user)}", f"ReadWritePaths={_quoted(str(home))}"]
    start = " ".join(_argument(word) for word in words)
    if facts.passphrase_file is not None:
        # The user of the service never needs to read the file: systemd hands it over.
        place.append(f"LoadCredential=passphrase:{_quoted(str(facts.passphrase_file), bare=True)}")
        start += " --passphrase-file ${CREDENTIALS_DIRECTORY}/passphrase"
    below = any(path.is_relative_to(one) for one in _HOMES for path in (home, facts.program))
    return _UNIT.format(
        start=start,
        watchdog=WATCHDOG_S,
        place="\n".join(place),
        protect_home="read-only" if below else "yes",
    )


def _plain(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", word):
        raise AgentError("edge.unit_path", f"{word!r} cannot be named in a systemd unit")
    return word


def _argument(word: str) -> str:
    return _quoted(word).replace("$", "$$")


def _quoted(word: str, *, bare: bool = False) -> str:
    """Write a path so that systemd reads it back: specifiers doubled, the rest quoted."""
    if not word.isprintable() or (bare and re.search(r"[\s\"'\\:]", word)):
        raise AgentError("edge.unit_path", f"{word!r} cannot be named in a systemd unit")
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_./:@%-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
