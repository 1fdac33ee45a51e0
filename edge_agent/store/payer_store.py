"""All SQL of a payer's device: who it is, its allowance, and the vouchers it reserved and signed."""

from dataclasses import dataclass
from typing import Any, Final

from edge_agent.errors import AgentError
from edge_agent.store.database import Database
from offline.codec import read_voucher
from offline.model import Voucher
from offline.signing import voucher_hash
from offline.wire import SignedAllowance, SignedVoucher

_ALLOWANCE: Final = "SELECT wire, scope, counter, cum, last_h, state, taken_at_s FROM allowance"
_VOUCHER: Final = """SELECT v.aid, v.counter, v.h, v.terminal, v.nonce, v.request_hash, v.amount,
    v.payee_name, v.body, v.sig, v.state, v.reserved_at_s, v.proof, v.witnessed, a.wire
    FROM voucher v JOIN allowance a USING (aid)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerSelf:
    """Who this device pays for."""

    party: bytes
    name: str
    device: str
    root_kid: bytes
    root_key: bytes
    server: str
    enrolled_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceRow:
    """An allowance and how far it was used; counter, cum and last_h count reserved payloads."""

    signed: SignedAllowance
    scope: bytes
    counter: int
    cum: int
    last_h: bytes
    state: str
    taken_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherRow:
    """One voucher: reserved for ever, and signed unless a crash came between."""

    allowance: SignedAllowance
    body: bytes
    sig: bytes | None
    h: bytes
    request_hash: bytes
    payee_name: str
    reserved_at_s: int
    proof: str | None
    witnessed: bool
    voucher: Voucher

    def signed(self) -> SignedVoucher | None:
        if self.sig is None:
            return None
        a = self.allowance
        return SignedVoucher.of(a.kid, a.allowance_raw, a.sig_a, self.body, self.sig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one commit writes before anything is signed."""

    aid: bytes
    voucher: Voucher
    body: bytes
    h: bytes
    request_hash: bytes
    payee_name: str
    now_s: int


class PayerStore:
    """Reads and commits of a payer's file."""

    __slots__ = ("db",)

    def __init__(self, db: Database) -> None:
        self.db = db

    def found(self, me: PayerSelf, bundle: bytes, version: int) -> None:
        with self.db.write() as c:
            c.execute(
                "INSERT INTO self VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (
                    me.party,
                    me.name,
                    me.device,
                    me.root_kid,
                    me.root_key,
                    me.server,
                    me.enrolled_at_s,
                ),
            )
            c.execute("INSERT INTO trust VALUES (1, ?, ?)", (version, bundle))

    def me(self) -> PayerSelf | None:
        row = self.db.first(
            "SELECT party, name, device, root_kid, root_key, server, enrolled_at_s FROM self"
        )
        if row is None:
            return None
        return PayerSelf(**dict(zip(PayerSelf.__slots__, row, strict=True)))

    def bundle(self) -> bytes:
        row = self.db.first("SELECT wire FROM trust")
        if row is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled device")
        wire: bytes = row[0]
        return wire

    def replace_bundle(self, wire: bytes, version: int) -> None:
        with self.db.write() as c:
            c.execute(
                "UPDATE trust SET version = ?, wire = ? WHERE version <= ?",
                (version, wire, version),
            )

    def usable(self) -> AllowanceRow | None:
        """Give the one allowance that is not over: active, blocked or being surrendered."""
        return self._allowance(" WHERE state IN ('active', 'blocked', 'surrendering')")

    def allowance(self, aid: bytes) -> AllowanceRow | None:
        return self._allowance(" WHERE aid = ?", (aid,))

    def _allowance(self, where: str, values: tuple[object, ...] = ()) -> AllowanceRow | None:
        row = self.db.first(_ALLOWANCE + where, values)
        if row is None:
            return None
        return AllowanceRow(
            signed=SignedAllowance.from_bytes(row[0]),
            scope=row[1],
            counter=row[2],
            cum=row[3],
            last_h=row[4],
            state=row[5],
            taken_at_s=row[6],
        )

    def take_allowance(self, signed: SignedAllowance, scope: bytes, now_s: int) -> None:
        """Store an issued allowance and forget that it was being asked for."""
        with self.db.write() as c:
            c.execute(
                """INSERT INTO allowance (aid, scope, wire, state, taken_at_s)
                VALUES (?, ?, ?, 'active', ?)""",
                (signed.allowance.aid, scope, signed.to_bytes(), now_s),
            )
            c.execute("DELETE FROM asking")

    def set_allowance_state(self, aid: bytes, state: str) -> None:
        with self.db.write() as c:
            c.execute("UPDATE allowance SET state = ? WHERE aid = ?", (state, aid))

    def asking(self) -> tuple[str, str] | None:
        row = self.db.first("SELECT idempotency_key, body FROM asking")
        return (row[0], row[1]) if row is not None else None

    def ask_for(self, idempotency_key: str, body: str) -> None:
        with self.db.write() as c:
            c.execute("INSERT INTO asking VALUES (1, ?, ?)", (idempotency_key, body))

    def stop_asking(self) -> None:
        with self.db.write() as c:
            c.execute("DELETE FROM asking")

    def reserve(self, r: Reservation) -> None:
        """Take counter, amount and place in the chain for one payload, in one commit, for ever."""
        v = r.voucher
        with self.db.write() as c:
            c.execute(
                """INSERT INTO voucher (aid, counter, h, terminal, nonce, request_hash, amount,
                payee_name, body, state, reserved_at_s)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'reserved', ?)""",
                (
                    r.aid,
                    v.counter,
                    r.h,
                    v.terminal,
                    v.nonce,
                    r.request_hash,
                    v.amount,
                    r.payee_name,
                    r.body,
                    r.now_s,
                ),
            )
            moved = c.execute(
                """UPDATE allowance SET counter = ?, cum = ?, last_h = ?
                WHERE aid = ? AND counter = ? AND cum = ? AND state = 'active'""",
                (v.counter, v.cum, r.h, r.aid, v.counter - 1, v.cum - v.amount),
            ).rowcount
            if moved != 1:
                raise AgentError(
                    "edge.store_contradiction", "the allowance moved while it was being used"
                )

    def store_signature(self, h: bytes, sig: bytes) -> None:
        with self.db.write() as c:
            c.execute("UPDATE voucher SET sig = ?, state = 'signed' WHERE h = ?", (sig, h))

    def store_proof(self, h: bytes, text: str) -> None:
        with self.db.write() as c:
            c.execute("UPDATE voucher SET proof = ? WHERE h = ?", (text, h))

    def mark_witnessed(self, hashes: list[bytes]) -> None:
        with self.db.write() as c:
            c.executemany("UPDATE voucher SET witnessed = 1 WHERE h = ?", [(h,) for h in hashes])

    def voucher_for(self, terminal: bytes, nonce: bytes) -> VoucherRow | None:
        return self._one(" WHERE v.terminal = ? AND v.nonce = ?", (terminal, nonce))

    def voucher(self, h: bytes) -> VoucherRow | None:
        return self._one(" WHERE v.h = ?", (h,))

    def _one(self, where: str, values: tuple[object, ...]) -> VoucherRow | None:
        return next(iter(self._vouchers(where, values)), None)

    def reserved(self) -> list[VoucherRow]:
        return self._vouchers(" WHERE v.state = 'reserved' ORDER BY v.aid, v.counter")

    def unwitnessed(self, limit: int) -> list[VoucherRow]:
        return self._vouchers(
            " WHERE v.state = 'signed' AND v.witnessed = 0 ORDER BY v.reserved_at_s, v.counter LIMIT ?",
            (limit,),
        )

    def vouchers(self, limit: int) -> list[VoucherRow]:
        return self._vouchers(
            " ORDER BY a.taken_at_s DESC, v.aid, v.counter DESC LIMIT ?", (limit,)
        )

    def _vouchers(self, tail: str, values: tuple[object, ...] = ()) -> list[VoucherRow]:
        return [_voucher(row) for row in self.db.read(_VOUCHER + tail, values)]


def _voucher(row: tuple[Any, ...]) -> VoucherRow:
    allowance = SignedAllowance.from_bytes(row[14])
    return VoucherRow(
        allowance=allowance,
        body=row[8],
        sig=row[9],
        h=voucher_hash(allowance.allowance_raw, row[8]),
        request_hash=row[5],
        payee_name=row[7],
        reserved_at_s=row[11],
        proof=row[12],
        witnessed=bool(row[13]),
        voucher=read_voucher(row[8]),
    )
