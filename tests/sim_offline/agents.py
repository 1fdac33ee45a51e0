"""Shops and phones: the agent's own code over files of their own, with a clock that is off and processes that die."""

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from devices.keystore.port import KeyStore
from devices.keystore.sealed import CHEAPEST
from devices.keystore.software import SoftwareKeyStore
from edge_agent.payer import Payer
from edge_agent.store import schema
from edge_agent.store.database import Database
from edge_agent.store.payer_store import PayerStore
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.terminal import Terminal
from tests.sim_offline.wire import Wire


class DiedError(BaseException):
    """The process ended here; nobody in it catches this."""


class OffClock:
    """The city's clock, seen by a machine whose own is off."""

    def __init__(self, city: ManualClock, skew_ms: int) -> None:
        self._city, self.skew_ms = city, skew_ms

    def now_ms(self) -> int:
        return self._city.now_ms() + self.skew_ms

    def monotonic_ms(self) -> int:
        return self._city.monotonic_ms()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody waits in a simulation, but for {seconds} s")


class DyingKeys:
    """A key in whose next signature the process dies: `before` it is made, or after."""

    def __init__(self, keys: KeyStore, *, before: bool) -> None:
        self._keys, self._before = keys, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)

    def sign(self, counter: int, payload: bytes) -> bytes:
        if not self._before:
            self._keys.sign(counter, payload)
        raise DiedError

    def sign_plain(self, _payload: bytes) -> bytes:
        raise DiedError


@dataclass(slots=True)
class Shop:
    """One terminal. Its sales stand in the world's books."""

    name: str
    folder: Path
    party: UUID
    clock: OffClock
    entropy: SeededEntropy
    wire: Wire
    keys: SoftwareKeyStore = field(init=False)
    terminal: Terminal = field(init=False)
    starts: int = 0

    def __post_init__(self) -> None:
        self.keys = SoftwareKeyStore.create(
            self.folder / "keys", b"pass", cost=CHEAPEST, entropy=self.entropy
        )

    def store(self) -> TerminalStore:
        return TerminalStore(Database.open(self.folder / "agent.db", schema.TERMINAL))

    def start(self, *, power: bool = False) -> None:
        """Start the program; after `power` the machine too, whose monotonic clock began anew."""
        self.starts += power
        store = self.store()
        store.db.settle()
        boot = f"{self.name}:{self.starts}"
        self.terminal = Terminal.start(store, self.keys, self.clock, self.entropy, boot)

    def dies(self, *, power: bool = False) -> None:
        self.terminal.store.db.close()
        self.start(power=power)

    def dies_while(self, act: Any) -> None:
        """Run `act` and end the program inside its commit, at the receipt's signature."""
        self.terminal._keys = DyingKeys(self.keys, before=True)
        try:
            with suppress(DiedError):
                act()
        finally:
            self.dies()


@dataclass(slots=True)
class Phone:
    """One payer's device. `clone` is another one from a copy of its files."""

    name: str
    folder: Path
    party: UUID
    clock: OffClock
    entropy: SeededEntropy
    wire: Wire
    keys: SoftwareKeyStore = field(init=False)
    payer: Payer = field(init=False)
    honest: bool = True
    lost: bool = False

    def __post_init__(self) -> None:
        if SoftwareKeyStore.exists(self.folder / "keys"):
            self.keys = SoftwareKeyStore.open(self.folder / "keys", b"pass", entropy=self.entropy)
        else:
            self.keys = SoftwareKeyStore.create(
                self.folder / "keys", b"pass", cost=CHEAPEST, entropy=self.entropy
            )

    def store(self) -> PayerStore:
        return PayerStore(Database.open(self.folder / "agent.db", schema.PAYER))

    def start(self) -> None:
        self.payer = Payer(self.store(), self.keys, self.clock, self.entropy)

    def dies_while_paying(self, text: str, *, before: bool) -> None:
        """The program ends in a signature; it is started again."""
        self.payer.keys = DyingKeys(self.keys, before=before)
        try:
            with suppress(DiedError):
                self.payer.pay(text)
        finally:
            self.payer.store.db.close()
            self.start()

    def clone(self, folder: Path) -> "Phone":
        """A second device from a copy of this one's files, key and counters."""
        self.payer.store.db.close()
        shutil.copytree(self.folder, folder)
        self.start()
        made = Phone(
            f"{self.name}'", folder, self.party, self.clock, self.entropy, self.wire, honest=False
        )
        made.start()
        return made

    def close(self) -> None:
        self.payer.store.db.close()
