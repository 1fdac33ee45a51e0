"""Everything that `terminal doctor` looks at: the machine, the files, the key, the chain, and what health says."""

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from devices.clock import Clock
from devices.keystore.port import KeyStoreError
from devices.keystore.sealed import write_durably
from edge_agent.archive import FOLDER, segments
from edge_agent.chain import broken_at
from edge_agent.clock_floor import ClockFloor
from edge_agent.config import read_config
from edge_agent.errors import AgentError
from edge_agent.health import Finding, Level, Standing, findings, span
from edge_agent.home import LOCK, Home
from edge_agent.segment import SegmentBroken
from edge_agent.store.archive_store import ArchiveStore
from edge_agent.store.database import HomeLock
from edge_agent.store.terminal_store import TerminalStore
from offline.codec import read_certificate
from offline.wire import SignedBundle

_MEGABYTE: Final = 1 << 20
_DISK_BAD: Final = 16 * _MEGABYTE
_DISK_LOOK: Final = 128 * _MEGABYTE
_PROBE: Final = "disk.probe"


def standing(store: TerminalStore, clock: Clock) -> Standing:
    """Read what health is judged by; the stored floor tells enough for a look."""
    me = store.must_me()
    state, ccy = store.state(), store.currency()
    policy = SignedBundle.from_bytes(store.bundle()).bundle.policy(ccy)
    floor = ClockFloor(clock, state.floor.boot or "", state.floor)
    floor_ms = floor.floor_ms()
    unacked = store.journal(state.epoch, state.acked_seq + 1, 1)
    return Standing(
        state=state,
        totals=store.totals(),
        ccy=ccy,
        risk=None if policy is None else policy.risk,
        now_s=floor.now_s(),
        ahead_s=None if floor_ms is None else (clock.now_ms() - floor_ms) / 1000,
        certificate_until_s=read_certificate(me.cert).not_after,
        oldest_unacked_s=unacked[0].written_at_s if unacked else None,
    )


def examine(home: Home) -> list[Finding]:
    """Look at everything; what cannot be looked at is a finding too. Nothing of the terminal is changed."""
    folder = home.root / "terminal"
    if not folder.is_dir():
        raise AgentError("edge.not_enrolled", "this home holds no terminal: run hundi-edge setup")
    found = [_disk(folder), _private(folder), _settings(folder), _service(folder)]
    try:
        with home.terminal_store() as store:
            found += _database(store)
            found.append(_archive(folder, store))
            found += [_key(home, store)]
            found += findings(standing(store, home.clock))
    except (AgentError, sqlite3.Error, OSError) as e:
        found.append(
            Finding(
                what="database",
                level=Level.BAD,
                says=f"it cannot be used: {e}",
                do="see to the disk first; then hundi-edge terminal restore with the last backup",
            )
        )
    return found


def _disk(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
        probe = folder / _PROBE
        write_durably(probe, bytes(4_096))
        probe.unlink()
    except OSError as e:
        return Finding(
            what="disk",
            level=Level.BAD,
            says=f"nothing can be written in {folder}: {e.strerror}",
            do="no sale is taken until it can: free space, or see whether the disk is failing",
        )
    says = f"{free / _MEGABYTE:,.0f} MB free"
    if free < _DISK_BAD:
        return Finding(what="disk", level=Level.BAD, says=says, do="free space: soon no sale fits")
    if free < _DISK_LOOK:
        return Finding(what="disk", level=Level.LOOK, says=says, do="free space soon")
    return Finding(what="disk", level=Level.FINE, says=says)


def _private(folder: Path) -> Finding:
    guarded = (folder, folder / "agent.db", folder / "machine.key", folder / "keys" / "key.sealed")
    readable = [path.name for path in guarded if path.exists() and path.stat().st_mode & 0o077]
    if readable:
        return Finding(
            what="files",
            level=Level.BAD,
            says=f"others on this machine may read {', '.join(readable)}",
            do=f"chmod -R go= {folder}",
        )
    return Finding(what="files", level=Level.FINE, says="private to their owner")


def _settings(folder: Path) -> Finding:
    try:
        config = read_config(folder)
    except AgentError as e:
        return Finding(
            what="settings", level=Level.BAD, says=e.message, do="correct the file, then restart"
        )
    return Finding(
        what="settings", level=Level.FINE, says=f"a sync every {span(config.sync_every_s)}"
    )


def _service(folder: Path) -> Finding:
    try:
        HomeLock.take(folder / LOCK).release()
    except AgentError:
        return Finding(what="service", level=Level.FINE, says="a program has this home open")
    return Finding(
        what="service",
        level=Level.LOOK,
        says="no program has this home open: nothing syncs by itself",
        do="systemctl enable --now hundi-edge.service (hundi-edge setup writes it)",
    )


def _database(store: TerminalStore) -> list[Finding]:
    [(told,), *_] = store.db.read("PRAGMA quick_check(1)")
    if told != "ok" or store.db.read("PRAGMA foreign_key_check"):
        return [
            Finding(
                what="database",
                level=Level.BAD,
                says=f"the file is damaged: {told}",
                do="stop the service, keep the folder, and restore the last backup",
            )
        ]
    version = store.db.first("PRAGMA user_version") or (0,)
    size = store.db.path.stat().st_size / _MEGABYTE
    whole = Finding(
        what="database", level=Level.FINE, says=f"whole; schema {version[0]}, {size:.1f} MB"
    )
    broken = broken_at(store)
    if broken is None:
        rows = store.state().head_seq
        return [whole, Finding(what="journal", level=Level.FINE, says=f"{rows} rows, one chain")]
    return [
        whole,
        Finding(
            what="journal",
            level=Level.BAD,
            says=f"row {broken} does not follow the one before it: the file was altered",
            do="sell no more with it: keep the folder, tell the operator, pair a new terminal",
        ),
    ]


def _archive(folder: Path, store: TerminalStore) -> Finding:
    entries = ArchiveStore(store.db).entries()
    try:
        rows = sum(len(segment.rows) for _, segment in segments(folder, entries))
    except SegmentBroken as e:
        return Finding(
            what="archive",
            level=Level.BAD,
            says=str(e),
            do=f"put {folder / FOLDER} back from the last backup; sales are not touched by it",
        )
    return Finding(
        what="archive", level=Level.FINE, says=f"segments: {len(entries)}, rows: {rows}, one chain"
    )


def _key(home: Home, store: TerminalStore) -> Finding:
    try:
        key = home.keys("terminal").public_key()
    except (KeyStoreError, AgentError) as e:
        return Finding(
            what="key",
            level=Level.BAD,
            says=str(e),
            do="give the passphrase it was made with; if the files are lost, restore the last backup",
        )
    if read_certificate(store.must_me().cert).terminal_key != key:
        return Finding(
            what="key",
            level=Level.BAD,
            says="the key here is not the one that was enrolled",
            do="put back the keys folder that belongs to this database, or restore a backup",
        )
    return Finding(what="key", level=Level.FINE, says="it opens, and it is the enrolled one")
