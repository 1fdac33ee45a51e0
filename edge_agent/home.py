"""Where an agent keeps what it is: one folder, one role in each half, one passphrase, one writer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devices.clock import Clock, SystemClock
from devices.entropy import Entropy, SystemEntropy
from devices.keystore.port import KeyStore, KeyStoreError, KeyStoreLocked
from devices.keystore.sealed import CHEAPEST, INTERACTIVE, machine_passphrase, read_small
from devices.keystore.software import SoftwareKeyStore
from edge_agent.clock_floor import boot_id
from edge_agent.errors import AgentError
from edge_agent.payer import Payer
from edge_agent.store import schema
from edge_agent.store.database import Database, HomeLock
from edge_agent.store.payer_store import PayerStore
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.terminal import Terminal

if TYPE_CHECKING:
    from devices.keystore.pkcs11 import Pkcs11KeyStore

PASSPHRASE_ENV: Final = "HUNDI_EDGE_PASSPHRASE"  # noqa: S105 - its name, not its value
MACHINE_KEY: Final = "machine.key"
KEYS: Final = "keys"
TOKEN: Final = "token.json"  # noqa: S105 - a file's name
DATABASE: Final = "agent.db"
LOCK: Final = "agent.lock"


def give_to_owner(root: Path, *paths: Path) -> None:
    """Let the owner of the home, who may be the service's own user, own what root put into it."""
    if os.geteuid() == 0:
        owner = root.stat()
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid)


def token_keys() -> "type[Pkcs11KeyStore]":
    """Give the key store of tokens, which an agent without one need not have installed."""
    try:
        from devices.keystore.pkcs11 import Pkcs11KeyStore  # noqa: PLC0415
    except ImportError as e:
        raise KeyStoreError("keys on a token need the extra: pip install 'hundi[pkcs11]'") from e
    return Pkcs11KeyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One folder; `payer` and `terminal` live in halves of their own and never share a key."""

    root: Path
    passphrase_file: Path | None = None
    clock: Clock = field(default_factory=SystemClock)
    entropy: Entropy = field(default_factory=SystemEntropy)

    @contextmanager
    def locked(self, role: str) -> Iterator[Path]:
        """Be the one writer of a role's half while the block runs."""
        folder = self.root / role
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise AgentError("edge.home_unusable", f"{folder} cannot be used: {e}") from e
        lock = HomeLock.take(folder / LOCK)
        try:
            yield folder
        finally:
            lock.release()

    def keys(self, role: str, *, create: bool = False) -> KeyStore:
        """Open the role's key; with `create`, make it if there is none. On a token it is there before."""
        folder = self.root / role
        if (folder / KEYS / TOKEN).exists():
            return token_keys().open(folder / KEYS, self.pin())
        exists = SoftwareKeyStore.exists(folder / KEYS)
        if not exists and not create:
            raise AgentError("edge.not_enrolled", f"this home holds no {role}")
        given = self._passphrase()
        if given is None:
            machine = folder / MACHINE_KEY
            if exists and not machine.exists():
                raise KeyStoreLocked(
                    f"this key needs its passphrase: {PASSPHRASE_ENV} or --passphrase-file"
                )
            given = machine_passphrase(machine, self.entropy)
            cost = CHEAPEST  # 256 random bits cannot be guessed, whatever a guess costs
        else:
            cost = INTERACTIVE
        if exists:
            return SoftwareKeyStore.open(folder / KEYS, given, entropy=self.entropy)
        return SoftwareKeyStore.create(folder / KEYS, given, cost=cost, entropy=self.entropy)

    def pin(self) -> str:
        """Give the token's PIN, which comes by the way of the passphrase."""
        given = self._passphrase()
        if given is None:
            raise KeyStoreLocked(
                f"this key lies on a token: give its PIN by {PASSPHRASE_ENV} or --passphrase-file"
            )
        try:
            return given.decode()
        except UnicodeDecodeError as e:
            raise KeyStoreLocked("the PIN is not UTF-8 text") from e

    def _passphrase(self) -> bytes | None:
        if self.passphrase_file is not None:
            given = read_small(self.passphrase_file).rstrip(b"\r\n")
        else:
            given = os.environ.get(PASSPHRASE_ENV, "").encode()
            if not given:
                return None
        if not given:
            raise AgentError("edge.passphrase_empty", "the passphrase file is empty")
        return given

    @contextmanager
    def terminal_store(
        self, *, create: bool = False, held: bool = False
    ) -> Iterator[TerminalStore]:
        """Open the terminal's file; `held` by its one writer, else beside one that may be at work."""
        db = self._database("terminal", schema.TERMINAL, create=create, held=held)
        try:
            yield TerminalStore(db)
        finally:
            db.close()

    @contextmanager
    def payer_store(self, *, create: bool = False, held: bool = False) -> Iterator[PayerStore]:
        db = self._database("payer", schema.PAYER, create=create, held=held)
        try:
            yield PayerStore(db)
        finally:
            db.close()

    def _database(
        self, role: str, migrations: tuple[tuple[str, ...], ...], *, create: bool, held: bool
    ) -> Database:
        path = self.root / role / DATABASE
        if not create and not path.exists():
            raise AgentError("edge.not_enrolled", f"this home holds no {role}: enrol first")
        if not held and Database.version_of(path) < len(migrations):
            # A service of the older version may be at work: its file changes only when it has ended.
            with self.locked(role):
                return Database.open(path, migrations)
        return Database.open(path, migrations)

    @contextmanager
    def terminal(self, *, fresh: bool = False) -> Iterator[Terminal]:
        """Open the enrolled terminal as its one writer; `fresh` is a start, else it goes on."""
        with self.locked("terminal"), self.terminal_store(held=True) as store:
            store.db.settle()
            opened = Terminal.start if fresh else Terminal.resume
            keys = self.keys("terminal")
            yield opened(store, keys, self.clock, self.entropy, boot_id(self.entropy))

    @contextmanager
    def payer(self) -> Iterator[Payer]:
        """Open the enrolled device as its one writer."""
        with self.locked("payer"), self.payer_store(held=True) as store:
            store.db.settle()
            yield Payer(store, self.keys("payer"), self.clock, self.entropy)
