"""All SQL of a terminal: reads by what a scan names, by one door to its writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from edge_agent.clock_floor import ClockFloor, FloorMark
from edge_agent.errors import AgentError
from edge_agent.store.database import Database
from edge_agent.store.terminal_rows import (
    ChallengeRow,
    JournalRow,
    RedeemedRow,
    RequestRow,
    SyncState,
    Takings,
    TerminalSelf,
    Totals,
    VoidedRow,
    VoucherFacts,
    Waiting,
)
from edge_agent.store.terminal_work import Work
from offline.journal import GENESIS
from offline.ussd import DAY_S
from offline.verdicts import Verdict
from offline.verify import Evidence, Link, link_of
from offline.wire import SignedVoucher

_STATE: Final = """SELECT epoch, head_seq, head, acked_seq, applied, must_sync, quarantined, last_sync_s,
    screen_nonce, floor_ms, floor_boot, floor_monotonic_ms FROM sync_state"""
_FACTS: Final = """SELECT EXISTS (SELECT 1 FROM voided WHERE h = :h),
    EXISTS (SELECT 1 FROM redeemed WHERE h = :h),
    EXISTS (SELECT 1 FROM revoked WHERE aid = :aid),
    (SELECT coalesce(sum(amount), 0) FROM redeemed
        WHERE aid = :aid AND result IS NULL AND returned = 0)"""
_LINKS: Final = """SELECT counter, amount, cum, prev, h FROM redeemed WHERE aid = :aid
    UNION ALL SELECT counter, amount, cum, prev, h FROM voided WHERE aid = :aid
    UNION ALL SELECT counter, amount, cum, prev, offered_h FROM evidence WHERE aid = :aid"""
_TOTALS: Final = """SELECT
    (SELECT coalesce(sum(amount), 0) FROM redeemed WHERE result IS NULL AND returned = 0),
    (SELECT count(*) FROM redeemed WHERE result IS NULL AND returned = 0),
    (SELECT coalesce(sum(amount), 0) FROM open_request WHERE state = 'open'),
    (SELECT count(*) FROM open_request WHERE state = 'open')"""
_TAKINGS: Final = """WITH taken AS (
    SELECT amount, coalesce(result NOT IN (:settled, :again), 0) AS refused FROM redeemed
        WHERE accepted_at_s >= :since AND returned = 0
    UNION ALL SELECT c.amount, 0 FROM ussd_challenge c JOIN open_request USING (nonce)
        WHERE c.paid = 1 AND c.day >= :day AND asked_at_s >= :since)
    SELECT count(*) FILTER (WHERE NOT refused), coalesce(sum(amount) FILTER (WHERE NOT refused), 0),
        count(*) FILTER (WHERE refused), coalesce(sum(amount) FILTER (WHERE refused), 0) FROM taken"""
_WAITING: Final = """SELECT count(*), coalesce(sum(amount), 0), min(accepted_at_s) FROM redeemed
    WHERE result IS NULL AND returned = 0"""
_REQUEST: Final = """SELECT nonce, amount, ccy, text, asked_at_s, boot, deadline_ms, state, reason
    FROM open_request"""
_REDEEMED: Final = """SELECT aid, counter, h, nonce, amount, ccy, cum, prev, wire, receipt, epoch, seq,
    accepted_at_s, returned, result FROM redeemed"""
_VOIDED: Final = """SELECT h, aid, counter, amount, ccy, cum, prev, nonce, reason, wire, text, epoch, seq,
    voided_at_s, result FROM voided"""
_JOURNAL: Final = "SELECT epoch, seq, row, chain, written_at_s, result FROM journal"
_SELF: Final = """SELECT terminal, payee, kid, cert, sig_cert, root_kid, root_key, server, enrolled_at_s
    FROM self"""
Values = tuple[Any, ...]


class TerminalStore:
    """Reads of a terminal's file, and the door to its one kind of write."""

    __slots__ = ("db",)

    def __init__(self, db: Database) -> None:
        self.db = db

    @contextmanager
    def work(self, terminal: bytes, floor: ClockFloor) -> Iterator[Work]:
        """One commit. State is written only if something in the block changed it or the tables."""
        with self.db.write() as connection:
            before = connection.total_changes
            state = self.state()
            work = Work(connection, terminal, floor, replace(state))
            yield work
            if connection.total_changes != before or work.state != state:
                work.save_state()

    def found(self, me: TerminalSelf, bundle: bytes, version: int, epoch: bytes, ccy: str) -> None:
        """Write who this terminal is; once."""
        with self.db.write() as c:
            c.execute(
                "INSERT INTO self VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    me.terminal,
                    me.payee,
                    me.kid,
                    me.cert,
                    me.sig_cert,
                    me.root_kid,
                    me.root_key,
                    me.server,
                    me.enrolled_at_s,
                ),
            )
            c.execute("INSERT INTO trust VALUES (1, ?, ?)", (version, bundle))
            c.execute("INSERT INTO shop VALUES (1, ?)", (ccy,))
            c.execute(
                """INSERT INTO sync_state (one, epoch, head_seq, head, acked_seq)
                VALUES (1, ?, 0, ?, 0)""",
                (epoch, GENESIS),
            )

    def me(self) -> TerminalSelf | None:
        row: Values | None = self.db.first(_SELF)
        if row is None:
            return None
        return TerminalSelf(
            terminal=row[0],
            payee=row[1],
            kid=row[2],
            cert=row[3],
            sig_cert=row[4],
            root_kid=row[5],
            root_key=row[6],
            server=row[7],
            enrolled_at_s=row[8],
        )

    def must_me(self) -> TerminalSelf:
        me = self.me()
        if me is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled terminal")
        return me

    def currency(self) -> str:
        """What this shop is paid in."""
        ccy: str = self._must("SELECT ccy FROM shop")[0]
        return ccy

    def ussd_code(self) -> str | None:
        """The digits that name this terminal to a payer by phone."""
        row = self.db.first("SELECT code FROM ussd_code")
        return None if row is None else str(row[0])

    def ussd_key(self, day: int) -> bytes | None:
        row = self.db.first("SELECT key FROM ussd_key WHERE day = ?", (day,))
        return None if row is None else bytes(row[0])

    def ussd_challenge(self, nonce: bytes) -> ChallengeRow | None:
        row = self.db.first(
            "SELECT day, challenge, nonce, amount, tries, paid FROM ussd_challenge WHERE nonce = ?",
            (nonce,),
        )
        if row is None:
            return None
        return ChallengeRow(
            day=row[0],
            challenge=row[1],
            nonce=row[2],
            amount=row[3],
            tries=row[4],
            paid=bool(row[5]),
        )

    def bundle(self) -> bytes:
        wire: bytes = self._must("SELECT wire FROM trust")[0]
        return wire

    def replace_bundle(self, wire: bytes, version: int) -> None:
        with self.db.write() as c:
            c.execute(
                "UPDATE trust SET version = ?, wire = ? WHERE version <= ?",
                (version, wire, version),
            )

    def state(self) -> SyncState:
        row = self._must(_STATE)
        return SyncState(
            epoch=row[0],
            head_seq=row[1],
            head=row[2],
            acked_seq=row[3],
            applied=row[4],
            must_sync=bool(row[5]),
            quarantined=bool(row[6]),
            last_sync_s=row[7],
            screen_nonce=row[8],
            floor=FloorMark(floor_ms=row[9], boot=row[10], monotonic_ms=row[11]),
        )

    def facts(self, signed: SignedVoucher) -> VoucherFacts:
        values = {"h": signed.h, "aid": signed.allowance.aid}
        row = self.db.first(_FACTS, values) or (0, 0, 0, 0)
        voided, redeemed, revoked, exposure = row
        return VoucherFacts(
            voided=bool(voided),
            redeemed=bool(redeemed),
            revoked=bool(revoked),
            exposure=int(str(exposure)),
        )

    def links(self, aid: bytes) -> list[Link]:
        rows: list[Values] = self.db.read(_LINKS, {"aid": aid})
        return [Link(counter=r[0], amount=r[1], cum=r[2], prev=r[3], h=r[4]) for r in rows]

    def totals(self) -> Totals:
        row = self._must(_TOTALS)
        return Totals(
            unsettled=row[0], unsettled_count=row[1], open_amount=row[2], open_count=row[3]
        )

    def takings(self, since_s: int) -> Takings:
        """Sum what was taken since then, by voucher and by phone."""
        values = {
            "settled": str(Verdict.ACCEPTED),
            "again": str(Verdict.DUPLICATE),
            "since": since_s,
            "day": since_s // DAY_S,
        }
        row = self.db.first(_TAKINGS, values) or (0, 0, 0, 0)
        count, amount, refused_count, refused = (int(str(one)) for one in row)
        return Takings(count=count, amount=amount, refused_count=refused_count, refused=refused)

    def waiting(self) -> Waiting:
        row = self._must(_WAITING)
        return Waiting(count=row[0], amount=row[1], oldest_at_s=row[2])

    def request(self, nonce: bytes) -> RequestRow | None:
        return next(iter(self._requests(_REQUEST + " WHERE nonce = ?", (nonce,))), None)

    def open_requests(self) -> list[RequestRow]:
        return self._requests(_REQUEST + " WHERE state = 'open' ORDER BY asked_at_s, nonce")

    def requests(self, limit: int) -> list[RequestRow]:
        return self._requests(_REQUEST + " ORDER BY asked_at_s DESC, nonce LIMIT ?", (limit,))

    def _requests(self, sql: str, values: Values = ()) -> list[RequestRow]:
        rows: list[Values] = self.db.read(sql, values)
        return [
            RequestRow(
                nonce=r[0],
                amount=r[1],
                ccy=r[2],
                text=r[3],
                asked_at_s=r[4],
                boot=r[5],
                deadline_ms=r[6],
                state=r[7],
                reason=r[8],
            )
            for r in rows
        ]

    def redeemed(self, h: bytes) -> RedeemedRow | None:
        return next(iter(self._redeemed(_REDEEMED + " WHERE h = ?", (h,))), None)

    def redeemed_list(self, limit: int) -> list[RedeemedRow]:
        return self._redeemed(
            _REDEEMED + " ORDER BY accepted_at_s DESC, seq DESC LIMIT ?", (limit,)
        )

    def _redeemed(self, sql: str, values: Values) -> list[RedeemedRow]:
        rows: list[Values] = self.db.read(sql, values)
        names = RedeemedRow.__slots__
        return [
            RedeemedRow(**{**dict(zip(names, r, strict=True)), "returned": bool(r[13])})
            for r in rows
        ]

    def voided(self, h: bytes) -> VoidedRow | None:
        return next(iter(self._voided(_VOIDED + " WHERE h = ?", (h,))), None)

    def _voided(self, sql: str, values: Values) -> list[VoidedRow]:
        rows: list[Values] = self.db.read(sql, values)
        return [VoidedRow(**dict(zip(VoidedRow.__slots__, r, strict=True))) for r in rows]

    def journal(self, epoch: bytes, start: int, limit: int) -> list[JournalRow]:
        rows: list[Values] = self.db.read(
            _JOURNAL + " WHERE epoch = ? AND seq >= ? ORDER BY seq LIMIT ?", (epoch, start, limit)
        )
        return [JournalRow(**dict(zip(JournalRow.__slots__, r, strict=True))) for r in rows]

    def chain_at(self, epoch: bytes, seq: int) -> bytes | None:
        """Give this journal's own chain hash at a row; seq 0 is the beginning."""
        if seq == 0:
            return GENESIS
        row: Values | None = self.db.first(
            "SELECT chain FROM journal WHERE epoch = ? AND seq = ?", (epoch, seq)
        )
        return row[0] if row is not None else None

    def keep_evidence(self, signed: SignedVoucher, evidence: Evidence, now_s: int) -> None:
        """Keep the second of two vouchers that cannot both be honest; the first is stored already."""
        link = link_of(signed)
        with self.db.write() as c:
            c.execute(
                "INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    evidence.offered_h,
                    evidence.stored_h,
                    str(evidence.verdict),
                    signed.allowance.aid,
                    link.counter,
                    link.amount,
                    link.cum,
                    link.prev,
                    signed.to_bytes(),
                    now_s,
                ),
            )

    def evidence_count(self) -> int:
        return int(self._must("SELECT count(*) FROM evidence")[0])

    def _must(self, sql: str) -> Values:
        row: Values | None = self.db.first(sql)
        if row is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled terminal")
        return row
