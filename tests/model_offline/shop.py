"""A terminal: its file, and what it does by the agent's rules and the ordered verification."""

from dataclasses import replace
from typing import Self

from edge_agent import terminal_rules as rules
from edge_agent.clock_floor import FloorMark
from edge_agent.errors import AgentError, VerdictError
from edge_agent.store.terminal_rows import (
    JournalRow,
    RedeemedRow,
    RequestRow,
    SyncState,
    Totals,
)
from offline import journal, trust, verify
from offline.journal import GENESIS, Accept, Apply, Close, CloseReason, VoidRow
from offline.model import Risk, VoidReason
from offline.sync import Header, SeqRow, SyncAnswer, SyncBody, SyncRequest
from offline.verdicts import Verdict
from offline.verify import Judgement, Link, TerminalFacts, link_of
from offline.wire import SignedRevocations, SignedVoid
from server_core.vouchers import histories
from tests.model_offline import cast
from tests.model_offline.part import Part, law

_FLOOR = FloorMark(floor_ms=None, boot=None, monotonic_ms=None)


class Shop(Part):
    """One terminal's file. `pending`: the request whose answer it waits for; `after`: where the next begins."""

    __slots__ = (
        "acked_seq", "after", "applied", "epoch", "evidence", "head", "head_seq", "must_sync",
        "pending", "quarantined", "redeemed", "requests", "revoked", "risk", "rows", "screen", "voided", "who",
    )  # fmt: skip

    @classmethod
    def new(cls, who: int, risk: Risk) -> Self:
        made = object.__new__(cls)
        made.who, made.risk, made.epoch = who, risk, cast.epoch(who, 0)
        made.head_seq = made.acked_seq = made.applied = 0
        made.head, made.must_sync, made.quarantined = GENESIS, False, False
        made.screen = made.pending = made.after = None
        made.rows, made.requests, made.redeemed, made.voided = {}, {}, {}, {}
        made.evidence, made.revoked, made._name = {}, set(), None
        return made

    @property
    def state(self) -> SyncState:
        return SyncState(
            epoch=self.epoch, head_seq=self.head_seq, head=self.head, acked_seq=self.acked_seq,
            applied=self.applied, must_sync=self.must_sync, quarantined=self.quarantined,
            last_sync_s=cast.NOW, screen_nonce=self.screen, floor=_FLOOR,
        )  # fmt: skip

    def take_over(self, state: SyncState) -> None:
        self.epoch, self.head_seq, self.head = state.epoch, state.head_seq, state.head
        self.acked_seq, self.must_sync = state.acked_seq, state.must_sync
        self.quarantined, self.screen = state.quarantined, state.screen_nonce

    def append(self, row: journal.Row) -> int:
        data, seq = journal.row_bytes(row), self.head_seq + 1
        me = cast.TERMINALS[self.who].id
        link = histories.chain(me, self.epoch, seq, self.head, data)
        self.rows[self.epoch, seq] = JournalRow(
            epoch=self.epoch, seq=seq, row=data, chain=link, written_at_s=0, result=None
        )
        self.head_seq, self.head = seq, link
        return seq

    def chain_at(self, seq: int) -> bytes | None:
        if seq == 0:
            return GENESIS
        row = self.rows.get((self.epoch, seq))
        return None if row is None else row.chain

    # Before a sale

    def ask(self, amount: int, number: int, now_s: int) -> bool:
        unsettled = [
            one for one in self.redeemed.values() if one.result is None and not one.returned
        ]
        still_open = [one for one in self.requests.values() if one.state == "open"]
        try:
            rules.check_ask(
                amount, state=self.state, policy=replace(cast.POLICY, risk=self.risk),
                totals=Totals(
                    unsettled=sum(one.amount for one in unsettled), unsettled_count=len(unsettled),
                    open_amount=sum(one.amount for one in still_open), open_count=len(still_open),
                ),
                not_after=cast.NOW + 400 * cast.DAY, now_s=now_s, clock_trusted=True,
            )  # fmt: skip
        except VerdictError:
            return False
        nonce = cast.nonce(self.who, number)
        self.requests[nonce] = _request(nonce, amount, "open", None)
        self.screen = nonce
        return True

    def end(self, nonce: bytes, reason: CloseReason, now_s: int) -> bool:
        """Close an open request and journal why."""
        row = self.requests[nonce]
        if row.state != "open":
            return False
        self.requests[nonce] = _request(nonce, row.amount, "closed", str(reason))
        self.append(Close(nonce=nonce, reason=reason, closed_at=now_s))
        return True

    # A scan

    def facts(self, name: bytes, now_s: int) -> TerminalFacts:
        signed, me = cast.VOUCHERS[name], cast.TERMINALS[self.who]
        aid = signed.allowance.aid
        stored = [
            Link(counter=one.counter, amount=one.amount, cum=one.cum, prev=one.prev, h=one.h)
            for one in self.redeemed.values()
            if one.aid == aid
        ]
        stored += [link for its, link, *_ in self.voided.values() if its == aid]
        stored += [link for its, link in self.evidence.values() if its == aid]
        return TerminalFacts(
            payee=me.payee, terminal=me.id, bundle=cast.BUNDLE, now_s=now_s,
            challenge=rules.challenge(self.requests.get(signed.voucher.nonce), due=False),
            voided=signed.h in self.voided, redeemed=self.took(name) is not None,
            revoked=aid in self.revoked, stored=stored,
            allowance_exposure=sum(
                one.amount
                for one in self.redeemed.values()
                if one.aid == aid and one.result is None and not one.returned
            ),
            exposure_limit=self.risk.allowance_sum,
        )  # fmt: skip

    def took(self, name: bytes) -> RedeemedRow | None:
        """The sale that this very payment made here, whatever its signature looks like."""
        return self.redeemed.get(cast.VOUCHERS[name].h)

    def scan(self, name: bytes, now_s: int) -> tuple[Judgement, bool]:
        """Judge a code, make a sale durable; the judgement and whether the screen says paid."""
        signed = cast.VOUCHERS[name]
        judged = verify.judge(signed, self.facts(name, now_s))
        if judged.verdict is Verdict.ACCEPTED:
            self._redeem(name, now_s)
            return judged, True
        if judged.evidence is not None:
            self.evidence[signed.h] = (signed.allowance.aid, link_of(signed))
        again = judged.verdict is Verdict.ALREADY_ACCEPTED and rules.shows_paid(
            self.took(name), signed.voucher.nonce, self.screen
        )
        return judged, again

    def _redeem(self, name: bytes, now_s: int) -> None:
        signed = cast.VOUCHERS[name]
        a, v = signed.allowance, signed.voucher
        law(v.terminal == cast.TERMINALS[self.who].id, "a copy at another shop is never accepted")
        law(
            not any((one.aid, one.counter) == (a.aid, v.counter) for one in self.redeemed.values()),
            "a terminal redeems a (aid, counter) once",
        )
        open_one = self.requests.get(v.nonce)
        law(open_one is not None and open_one.state == "open", "a sale answers one open request")
        seq = self.append(Accept(signed=signed, accepted_at=now_s))
        self.redeemed[signed.h] = RedeemedRow(
            aid=a.aid, counter=v.counter, h=signed.h, nonce=v.nonce, amount=v.amount, ccy=a.ccy,
            cum=v.cum, prev=v.prev, wire=b"", receipt="", epoch=self.epoch, seq=seq,
            accepted_at_s=now_s, returned=False, result=None,
        )  # fmt: skip
        self.requests[v.nonce] = _request(v.nonce, open_one.amount, "paid", None)

    def void(self, name: bytes, now_s: int, *, give_back: bool) -> SignedVoid | None:
        """Give a voucher back if the rules let it; durable before it is shown."""
        signed = cast.VOUCHERS[name]
        if signed.h in self.voided:
            return None
        accepted = self.took(name)
        if accepted is None:
            if give_back or not verify.may_void(signed, self.facts(name, now_s)):
                return None
            return self._void(name, VoidReason.REFUSED)
        try:
            rules.check_return(accepted, self.state, self.risk, give_back=give_back)
        except AgentError:
            return None
        return self._void(name, VoidReason.RETURNED)

    def _void(self, name: bytes, reason: VoidReason) -> SignedVoid:
        signed = cast.VOUCHERS[name]
        made = cast.void(self.who, name, self.head_seq + 1, reason)
        nonce = signed.voucher.nonce
        seq = self.append(VoidRow(nonce=nonce, signed=made))
        self.voided[signed.h] = (signed.allowance.aid, link_of(signed), self.epoch, seq)
        if reason is VoidReason.RETURNED:
            old = self.redeemed[signed.h]
            self.redeemed[signed.h] = _moved(old, returned=True)
        elif self.requests[nonce].state == "open":
            was = self.requests[nonce]
            self.requests[nonce] = _request(nonce, was.amount, "closed", rules.VOIDED)
        return made

    # Sync

    def send(self, most: int) -> SyncRequest:
        start = (self.acked_seq if self.after is None else min(self.after, self.head_seq)) + 1
        rows = tuple(
            SeqRow(seq=seq, row=self.rows[self.epoch, seq].row)
            for seq in range(start, min(self.head_seq, start + most - 1) + 1)
        )
        header = Header(
            epoch=self.epoch, acked_seq=self.acked_seq, head_seq=self.head_seq, head=self.head,
            applied=self.applied, beacon_nonce=bytes(8),
        )  # fmt: skip
        request = SyncRequest(
            terminal=cast.TERMINALS[self.who].id, server_nonce=b"", body_raw=b"", sig=b"",
            body=SyncBody(header=header, rows=rows),
        )  # fmt: skip
        self.pending = request
        return request

    def take(self, request: SyncRequest, answer: SyncAnswer) -> list[tuple[bytes, Verdict]]:
        """Take one answer over in one commit; the vouchers and verdicts that it brought."""
        sent = [self.rows[self.epoch, one.seq] for one in request.body.rows]
        before = self.state
        said = rules.answered(before, sent, answer, self.chain_at)
        law(said.acked_seq >= self.acked_seq, "acked never goes down at a terminal")
        told = [pair for row, result in said.results if (pair := self._settle(row, result))]
        self.acked_seq, self.quarantined = said.acked_seq, self.quarantined or said.forked
        if answer.revocations:
            self._apply(SignedRevocations.from_bytes(answer.revocations))
        if answer.verdict is Verdict.ACCEPTED:
            self.must_sync = False
        try:
            self.after = rules.next_batch(
                request, answer, acked_before=before.acked_seq, acked=self.acked_seq,
                head=self.head_seq, forked=said.forked,
            )  # fmt: skip
        except AgentError:
            self.after = None
        self.pending = None
        return told

    def _settle(self, row: JournalRow, result: Verdict) -> tuple[bytes, Verdict] | None:
        """Store the server's word on one row; its first final word stays."""
        if row.result is not None:
            return None
        self.rows[row.epoch, row.seq] = JournalRow(
            epoch=row.epoch,
            seq=row.seq,
            row=row.row,
            chain=row.chain,
            written_at_s=0,
            result=str(result),
        )
        content = histories.decode_row(row.row)
        if not isinstance(content, Accept) or content.signed.h not in self.redeemed:
            return None
        h = content.signed.h
        self.redeemed[h] = _moved(self.redeemed[h], result=str(result))
        return h, result

    def _apply(self, signed: SignedRevocations) -> None:
        if trust.check_revocations(signed, cast.BUNDLE, self.applied) is not Verdict.ACCEPTED:
            return
        self.revoked |= set(signed.revocations.aids)
        self.applied = signed.revocations.epoch
        self.append(Apply(epoch=signed.revocations.epoch))

    def restore(self, number: int, now_s: int) -> None:
        """The command, over a copy of the file that was put back."""
        unacked = [
            self.rows[self.epoch, seq] for seq in range(self.acked_seq + 1, self.head_seq + 1)
        ]
        open_ones = sorted(n for n, one in self.requests.items() if one.state == "open")
        begun, rows = rules.restored(
            self.state, unacked, self.chain_at(self.acked_seq) or GENESIS, open_ones,
            cast.epoch(self.who, number), now_s,
        )  # fmt: skip
        self.take_over(begun)
        self.pending = self.after = None
        for nonce in open_ones:
            was = self.requests[nonce]
            self.requests[nonce] = _request(nonce, was.amount, "closed", str(CloseReason.RESTORED))
        for row, carried in rows:
            seq = self.append(row)
            if carried is not None and isinstance(row, Accept):
                h = row.signed.h
                self.redeemed[h] = _moved(self.redeemed[h], epoch=self.epoch, seq=seq)
            if carried is not None and isinstance(row, VoidRow):
                aid, link, *_ = self.voided[row.signed.void.h]
                self.voided[row.signed.void.h] = (aid, link, self.epoch, seq)


def _request(nonce: bytes, amount: int, state: str, reason: str | None) -> RequestRow:
    return RequestRow(
        nonce=nonce, amount=amount, ccy=cast.CCY, text="", asked_at_s=0, boot="", deadline_ms=0,
        state=state, reason=reason,
    )  # fmt: skip


def _moved(row: RedeemedRow, **changes: object) -> RedeemedRow:
    return RedeemedRow(**{name: getattr(row, name) for name in RedeemedRow.__slots__} | changes)
