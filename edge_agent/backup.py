"""A terminal in one file: its database as one moment had it, its archive, its sealed key, its settings.

The file: a line that names the form, a line of JSON (the manifest), the parts one after the other, and a
last line with the SHA-256 of all before it. Whoever has the file and the passphrase has the terminal.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from devices.keystore.sealed import INTERACTIVE, read_small, seal, sync_folder, unseal
from edge_agent.archive import FOLDER, segment_path
from edge_agent.config import NAME as CONFIG
from edge_agent.errors import AgentError
from edge_agent.home import DATABASE, KEYS, LOCK, MACHINE_KEY, TOKEN, Home, give_to_owner
from edge_agent.restore import Restored, restore
from edge_agent.store import schema

_FORM: Final = b"hundi-terminal-backup 1\n"
_MANIFEST_MAX: Final = 1 << 20
_CHUNK: Final = 1 << 20
_TRAILER: Final = 65
_SEALED_MACHINE: Final = "machine.key.sealed"
_KEY_PARTS: Final = (f"{KEYS}/key.sealed", f"{KEYS}/{TOKEN}", f"{KEYS}/counters.sealed")
_PARTS: Final = frozenset({DATABASE, CONFIG, _SEALED_MACHINE, *_KEY_PARTS})
_SEGMENT: Final = re.compile(rf"{FOLDER}/[0-9]{{6,9}}\.seg")
_STAGE: Final = ".restoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. `parts` are names under the terminal's folder with their sizes, in order."""

    schema: int
    terminal: str
    made_at_s: int
    parts: tuple[tuple[str, int], ...]


def back_up(home: Home, target: Path, passphrase_file: Path | None) -> Manifest:
    """Write the terminal to a new file of mode 0600; a running service may go on meanwhile.

    A home whose key a machine key opens needs a passphrase for the backup: a file that carried the
    machine key in the clear would be the terminal itself.
    """
    folder = home.root / "terminal"
    with home.terminal_store() as store:
        terminal = store.must_me().terminal.hex()
    sealed = _sealed_machine_key(home, passphrase_file)
    made = False
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".hundi-backup-") as name:
            snapshot = Path(name) / DATABASE
            version, segments = _snapshot(folder / DATABASE, snapshot)
            parts = [
                (DATABASE, snapshot),
                *((one, folder / one) for one in _KEY_PARTS if (folder / one).exists()),
            ]
            parts += [
                (f"{FOLDER}/{path.name}", path)
                for path in (segment_path(folder, number) for number in segments)
            ]
            if (folder / CONFIG).exists():
                parts.append((CONFIG, folder / CONFIG))
            if sealed is not None:
                (Path(name) / _SEALED_MACHINE).write_bytes(sealed)
                parts.append((_SEALED_MACHINE, Path(name) / _SEALED_MACHINE))
            manifest = Manifest(
                schema=version,
                terminal=terminal,
                made_at_s=home.clock.now_ms() // 1000,
                parts=tuple((part, path.stat().st_size) for part, path in parts),
            )
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            made = True
            with os.fdopen(handle, "wb") as out:
                _write(out, manifest, [path for _, path in parts])
            sync_folder(target.parent)
    except FileExistsError as e:
        raise AgentError("edge.file_exists", f"{target} exists: name a new file") from e
    except (OSError, sqlite3.Error) as e:
        if made:
            target.unlink(missing_ok=True)
        raise AgentError("edge.backup_failed", f"the backup was not written: {e}") from e
    return manifest


def _sealed_machine_key(home: Home, passphrase_file: Path | None) -> bytes | None:
    path = home.root / "terminal" / MACHINE_KEY
    if not path.exists():
        return None
    if passphrase_file is None:
        raise AgentError(
            "edge.backup_passphrase",
            "a machine key opens this terminal: give the backup a passphrase of its own "
            "(--backup-passphrase-file)",
        )
    given = _passphrase(passphrase_file)
    return seal(read_small(path), given, cost=INTERACTIVE, entropy=home.entropy)


def _passphrase(path: Path) -> bytes:
    given = read_small(path).rstrip(b"\r\n")
    if not given:
        raise AgentError("edge.passphrase_empty", "the passphrase file is empty")
    return given


def _snapshot(source: Path, target: Path) -> tuple[int, list[int]]:
    """Copy the database by SQLite's online backup; give its schema version and its segments' numbers."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        # One file with all in it: the copy must not need a log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        [version] = copy.execute("PRAGMA user_version").fetchone()
        numbers = copy.execute("SELECT number FROM archive ORDER BY number").fetchall()
    return int(version), [int(number) for (number,) in numbers]


def _write(out: IO[bytes], manifest: Manifest, paths: list[Path]) -> None:
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        out.write(data)

    put(_FORM)
    put(json.dumps(asdict(manifest)).encode() + b"\n")
    for path in paths:
        with path.open("rb") as part:
            for chunk in _chunks(part, path.stat().st_size):
                put(chunk)
    out.write(digest.hexdigest().encode() + b"\n")
    out.flush()
    os.fsync(out.fileno())


def _chunks(source: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = source.read(min(_CHUNK, size))
        if not chunk:
            raise OSError("a file became shorter while it was read")
        size -= len(chunk)
        yield chunk


def check_backup(path: Path) -> Manifest:
    """Read a backup to its end; refuse one that was cut, altered, or made by a newer agent."""
    damaged = AgentError("edge.backup_damaged", f"{path} is no whole backup of a terminal")
    try:
        size = path.stat().st_size - _TRAILER
        with path.open("rb") as source:
            digest = hashlib.sha256()
            for chunk in _chunks(source, size):
                digest.update(chunk)
            if size <= 0 or source.read() != digest.hexdigest().encode() + b"\n":
                raise damaged
            source.seek(0)
            manifest = _manifest(source)
            body = sum(part for _, part in manifest.parts)
            if source.tell() + body != size:
                raise damaged
    except OSError as e:
        raise AgentError("edge.file_missing", f"the backup cannot be read: {e}") from e
    except (ValueError, TypeError, KeyError) as e:
        raise damaged from e
    if manifest.schema > len(schema.TERMINAL):
        raise AgentError("edge.schema_newer", f"{path.name} was written by a newer agent")
    return manifest


def _manifest(source: IO[bytes]) -> Manifest:
    if source.read(len(_FORM)) != _FORM:
        raise ValueError("form")
    read = json.loads(source.readline(_MANIFEST_MAX))
    manifest = Manifest(**{**read, "parts": tuple((name, size) for name, size in read["parts"])})
    if type(manifest.schema) is not int or type(manifest.made_at_s) is not int:
        raise TypeError("manifest")
    for name, size in manifest.parts:
        # Names come from the file: only those that back_up writes lead anywhere.
        if name not in _PARTS and not _SEGMENT.fullmatch(name):
            raise ValueError(name)
        if type(size) is not int or size < 0:
            raise ValueError("size")
    return manifest


def restore_from(home: Home, path: Path, passphrase_file: Path | None) -> tuple[Manifest, Restored]:
    """Put a backup into a home that holds no terminal, as a new epoch; all of it, or nothing.

    The new epoch is begun before the folder gets its name: a crash on the way leaves no terminal
    that would go on under the old one.
    """
    manifest = check_backup(path)
    folder, stage = home.root / "terminal", home.root / _STAGE
    if folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise AgentError(
            "edge.home_not_empty",
            f"{folder} holds a terminal, or what is left of one: move that folder away first",
        )
    shutil.rmtree(stage, ignore_errors=True)
    try:
        _unpack(path, manifest, stage / "terminal")
        _unseal_machine_key(stage / "terminal", passphrase_file)
        with Home(
            root=stage,
            passphrase_file=home.passphrase_file,
            clock=home.clock,
            entropy=home.entropy,
        ).terminal() as opened:
            done = restore(opened)
        give_to_owner(home.root, stage, *stage.rglob("*"))
        if folder.exists():
            shutil.rmtree(folder)
        (stage / "terminal").rename(folder)
        sync_folder(home.root)
    except OSError as e:
        raise AgentError("edge.store_failed", f"the backup was not put back: {e}") from e
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return manifest, done


def _unpack(path: Path, manifest: Manifest, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    with path.open("rb") as source:
        _manifest(source)
        for name, size in manifest.parts:
            target = folder / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                for chunk in _chunks(source, size):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            sync_folder(target.parent)


def _unseal_machine_key(folder: Path, passphrase_file: Path | None) -> None:
    sealed = folder / _SEALED_MACHINE
    if not sealed.exists():
        return
    if passphrase_file is None:
        raise AgentError(
            "edge.backup_passphrase", "this backup has a passphrase: --backup-passphrase-file"
        )
    key = unseal(read_small(sealed), _passphrase(passphrase_file))
    handle = os.open(folder / MACHINE_KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(key)
        out.flush()
        os.fsync(out.fileno())
    sealed.unlink()
