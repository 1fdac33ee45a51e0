"""An issuer, terminals and payers in one process: what the agent's tests stand on."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from nacl.signing import SigningKey

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from devices.keystore.port import KeyStore
from devices.keystore.sealed import CHEAPEST
from devices.keystore.software import SoftwareKeyStore
from edge_agent.accepting import accept
from edge_agent.payer import Payer
from edge_agent.store import schema
from edge_agent.store.database import Database
from edge_agent.store.payer_store import PayerSelf, PayerStore
from edge_agent.store.terminal_rows import TerminalSelf
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.terminal import Terminal
from offline.codec import allowance_bytes, bundle_bytes, certificate_bytes
from offline.journal import Row, read_row
from offline.model import Algorithm, Allowance, Bundle, BundleEntry, Certificate, Policy, Risk
from offline.signing import (
    algorithm_of,
    allowance_message,
    bundle_message,
    certificate_message,
    sha256,
)
from offline.verdicts import Verdict
from offline.wire import SignedAllowance, SignedBundle
from tests.offline import kit

NOW_S = 1_800_000_000
BOOT = "boot-one"
DAY_S = 86_400


def sign(key: SigningKey, message: bytes) -> bytes:
    return bytes(key.sign(message).signature)


@dataclass
class Issuer:
    """Root and issuer keys, and whatever only they can sign."""

    root: SigningKey = field(default_factory=lambda: SigningKey(bytes([7]) * 32))
    key: SigningKey = field(default_factory=lambda: SigningKey(bytes([9]) * 32))
    kid: bytes = b"k1"
    root_kid: bytes = b"r1"
    version: int = 1
    entropy: SeededEntropy = field(default_factory=lambda: SeededEntropy("issuer"))

    @property
    def root_key(self) -> bytes:
        return bytes(self.root.verify_key)

    def bundle(self, risk: Risk = kit.RISK) -> SignedBundle:
        body = Bundle(
            version=self.version,
            root_kid=self.root_kid,
            entries=(
                BundleEntry(
                    kid=self.kid,
                    alg=Algorithm.ED25519,
                    key=bytes(self.key.verify_key),
                    usages="ABCLY",
                    not_before=NOW_S - 3_650 * DAY_S,
                    not_after=NOW_S + 3_650 * DAY_S,
                ),
            ),
            policies=(
                Policy(ccy="INR", cap_each=50_000, cap_total=200_000, life_s=10 * DAY_S, risk=risk),
            ),
        )
        raw = bundle_bytes(body)
        return SignedBundle.of(
            self.root_kid, raw, sign(self.root, bundle_message(self.root_kid, raw))
        )

    def certificate(
        self, key: bytes, terminal: bytes, payee: bytes, name: str
    ) -> tuple[bytes, bytes]:
        raw = certificate_bytes(
            Certificate(
                terminal=terminal,
                payee=payee,
                terminal_key=key,
                name=name,
                mcc=5411,
                not_after=NOW_S + 3_650 * DAY_S,
            )
        )
        return raw, sign(self.key, certificate_message(self.kid, raw))

    def allowance(self, device_key: bytes, **changes: object) -> SignedAllowance:
        base = Allowance(
            aid=self.entropy.bytes(16),
            device_key=device_key,
            ccy="INR",
            cap_total=200_000,
            cap_each=50_000,
            max_count=1_000,
            not_before=NOW_S - 60,
            spend_until=NOW_S + DAY_S,
            settle_until=NOW_S + 4 * DAY_S,
            flags=int(algorithm_of(device_key)),
        )
        raw = allowance_bytes(replace(base, **changes))
        return SignedAllowance.of(self.kid, raw, sign(self.key, allowance_message(self.kid, raw)))


@dataclass
class World:
    """One issuer and one clock; terminals and payers are made on demand under a folder."""

    folder: Path
    issuer: Issuer = field(default_factory=Issuer)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_S * 1000, 5_000_000))
    entropy: SeededEntropy = field(default_factory=lambda: SeededEntropy("world"))
    opened: list[Database] = field(default_factory=list)

    def keys(self, name: str) -> SoftwareKeyStore:
        folder = self.folder / name / "keys"
        if SoftwareKeyStore.exists(folder):
            return SoftwareKeyStore.open(folder, b"pass")
        return SoftwareKeyStore.create(folder, b"pass", cost=CHEAPEST)

    def database(self, name: str, migrations: tuple[tuple[str, ...], ...]) -> Database:
        db = Database.open(self.folder / name / "agent.db", migrations)
        self.opened.append(db)
        return db

    def terminal(
        self,
        name: str = "shop",
        *,
        terminal: bytes = b"T001",
        payee: bytes = b"PAYEE001",
        risk: Risk = kit.RISK,
        synced: bool = True,
        fresh: bool = True,
        boot: str = BOOT,
        server: str = "http://127.0.0.1:1",
    ) -> Terminal:
        keys = self.keys(name)
        store = TerminalStore(self.database(name, schema.TERMINAL))
        if store.me() is None:
            cert, sig_cert = self.issuer.certificate(
                keys.public_key(), terminal, payee, "Asha Stores"
            )
            bundle = self.issuer.bundle(risk)
            store.found(
                TerminalSelf(
                    terminal=terminal,
                    payee=payee,
                    kid=self.issuer.kid,
                    cert=cert,
                    sig_cert=sig_cert,
                    root_kid=bundle.root_kid,
                    root_key=self.issuer.root_key,
                    server=server,
                    enrolled_at_s=NOW_S,
                ),
                bundle.to_bytes(),
                bundle.bundle.version,
                self.entropy.bytes(8),
                "INR",
            )
        opened = (Terminal.start if fresh else Terminal.resume)(
            store, keys, self.clock, self.entropy, boot
        )
        if synced:
            beaconed(opened, self.clock.now_ms() // 1000)
        return opened

    def payer(
        self,
        name: str = "asha",
        *,
        allowance: bool = True,
        keys: KeyStore | None = None,
        server: str = "http://127.0.0.1:1",
        **changes: object,
    ) -> Payer:
        own = keys if keys is not None else self.keys(name)
        store = PayerStore(self.database(name, schema.PAYER))
        if store.me() is None:
            bundle = self.issuer.bundle()
            store.found(
                PayerSelf(
                    party=bytes(16),
                    name=name,
                    device="dev_1",
                    root_kid=bundle.root_kid,
                    root_key=self.issuer.root_key,
                    server=server,
                    enrolled_at_s=NOW_S,
                ),
                bundle.to_bytes(),
                bundle.bundle.version,
            )
            if allowance:
                give(store, self.issuer.allowance(own.public_key(), **changes))
        return Payer(store, own, self.clock, self.entropy)

    def close(self) -> None:
        for db in self.opened:
            db.close()


def give(store: PayerStore, signed: SignedAllowance) -> None:
    store.take_allowance(signed, sha256(signed.allowance_raw), NOW_S)


def beaconed(terminal: Terminal, at_s: int) -> None:
    """What a first sync leaves behind."""
    terminal.floor.replace(at_s)
    with terminal.work() as work:
        work.state.last_sync_s = at_s
        work.state.floor = terminal.floor.mark()


def content(db: Database) -> str:
    """Everything that a file holds, as text: two equal texts are byte-identical contents."""
    return "\n".join(db._connection.iterdump())


def rows(terminal: Terminal) -> list[Row]:
    state = terminal.store.state()
    return [read_row(row.row) for row in terminal.store.journal(state.epoch, 1, 1000)]


def refused_unchanged(terminal: Terminal, text: str) -> Verdict:
    before = content(terminal.store.db)
    result = accept(terminal, text)
    assert not result.paid
    assert content(terminal.store.db) == before
    return result.verdict
