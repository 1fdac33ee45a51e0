"""One enrolled terminal: who it is, what it trusts, its clock, and the requests it closes on its way."""

from contextlib import AbstractContextManager
from typing import Final, Self

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.port import KeyStore
from edge_agent.clock_floor import ClockFloor
from edge_agent.errors import AgentError
from edge_agent.store.terminal_rows import RequestRow, TerminalSelf
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.store.terminal_work import Work
from edge_agent.terminal_rules import challenge
from offline.codec import read_certificate
from offline.journal import Close, CloseReason
from offline.model import Bundle, Certificate, Risk
from offline.signing import allowance_cache_key
from offline.verify import Challenge, TerminalFacts
from offline.wire import SignedBundle, SignedVoucher

_CACHE_MAX: Final = 4_096


class Terminal:
    """One enrolled terminal over its file, its key and its clocks. One process at a time."""

    __slots__ = (
        "_bundle",
        "_cache",
        "_entropy",
        "_keys",
        "ccy",
        "certificate",
        "floor",
        "me",
        "store",
    )

    def __init__(
        self, store: TerminalStore, keys: KeyStore, clock: Clock, entropy: Entropy, boot: str
    ) -> None:
        me = store.me()
        if me is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled terminal")
        self.me: TerminalSelf = me
        certificate = read_certificate(me.cert)
        if certificate.terminal_key != keys.public_key():
            raise AgentError("edge.key_mismatch", "the key here is not the one that was enrolled")
        self.certificate: Certificate = certificate
        self.store = store
        self.ccy: str = store.currency()
        self.floor = ClockFloor(clock, boot, store.state().floor)
        self._keys = keys
        self._entropy = entropy
        self._bundle = SignedBundle.from_bytes(store.bundle()).bundle
        self._cache: dict[bytes, None] = {}

    @classmethod
    def start(
        cls, store: TerminalStore, keys: KeyStore, clock: Clock, entropy: Entropy, boot: str
    ) -> Self:
        """Start the terminal: whatever was open before is closed as expired, the screen is empty."""
        terminal = cls(store, keys, clock, entropy, boot)
        terminal.close_open(due_only=False)
        return terminal

    @classmethod
    def resume(
        cls, store: TerminalStore, keys: KeyStore, clock: Clock, entropy: Entropy, boot: str
    ) -> Self:
        """Go on after another command of the same start of the machine.

        The monotonic clock is the machine's, so a request that a command just showed keeps its TTL;
        one of an earlier start is closed, and so is one that ran out.
        """
        terminal = cls(store, keys, clock, entropy, boot)
        terminal.close_open(due_only=True)
        return terminal

    @property
    def keys(self) -> KeyStore:
        return self._keys

    @property
    def entropy(self) -> Entropy:
        return self._entropy

    @property
    def bundle(self) -> Bundle:
        return self._bundle

    @property
    def risk(self) -> Risk | None:
        """What it may risk without a link, by the signed bundle; None when that says nothing."""
        policy = self._bundle.policy(self.ccy)
        return None if policy is None else policy.risk

    def trust(self, signed: SignedBundle) -> None:
        """Take over a bundle that was checked against the pinned root."""
        self.store.replace_bundle(signed.to_bytes(), signed.bundle.version)
        self._bundle = signed.bundle
        self._cache.clear()

    def work(self) -> AbstractContextManager[Work]:
        return self.store.work(self.me.terminal, self.floor)

    # Requests

    def due(self, row: RequestRow) -> bool:
        """Whether a request's time is over by the monotonic clock of this start of the machine."""
        return row.boot != self.floor.boot or self.floor.monotonic_ms() > row.deadline_ms

    def close_open(self, *, due_only: bool) -> int:
        """Close and journal as expired each open request, or each whose time is over."""
        rows = [r for r in self.store.open_requests() if not due_only or self.due(r)]
        if not rows and due_only:
            return 0
        with self.work() as work:
            for row in rows:
                close(work, row.nonce, CloseReason.EXPIRED)
            if not due_only:
                work.state.screen_nonce = None
        return len(rows)

    # What a scan is judged by

    def facts(self, signed: SignedVoucher, now_s: int) -> TerminalFacts:
        known, risk = self.store.facts(signed), self.risk
        return TerminalFacts(
            payee=self.me.payee,
            terminal=self.me.terminal,
            bundle=self._bundle,
            now_s=now_s,
            challenge=self._challenge(signed.voucher.nonce),
            voided=known.voided,
            redeemed=known.redeemed,
            revoked=known.revoked,
            stored=self.store.links(signed.allowance.aid),
            allowance_exposure=known.exposure,
            exposure_limit=0 if risk is None else risk.allowance_sum,
            allowance_verified=_cache_key(signed) in self._cache,
        )

    def remember(self, signed: SignedVoucher) -> None:
        """Remember an allowance whose signature was checked and good under this bundle."""
        key = _cache_key(signed)
        if key not in self._cache and len(self._cache) >= _CACHE_MAX:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = None

    def _challenge(self, nonce: bytes) -> Challenge:
        row = self.store.request(nonce)
        return challenge(row, due=row is not None and self.due(row))


def close(work: Work, nonce: bytes, reason: CloseReason) -> None:
    """Close one open request and journal why."""
    work.close_request(nonce, str(reason))
    work.append(Close(nonce=nonce, reason=reason, closed_at=work.now_s))


def _cache_key(signed: SignedVoucher) -> bytes:
    return allowance_cache_key(signed.kid, signed.allowance_raw, signed.sig_a)
