"""The server: its tables as dicts, its services' order of steps, its rules the project's own."""

from collections.abc import Iterable, Sequence
from typing import Self

from msgspec.structs import replace

from offline.journal import GENESIS, Accept, Apply, VoidRow
from offline.sync import ItemResult, SyncAnswer, SyncRequest
from offline.verdicts import Verdict
from offline.verify import check_for_settlement, link_of
from offline.wire import SignedVoid
from server_core.actor import Actor, Role
from server_core.errors import DomainError
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.vouchers import endings, histories, rules
from server_core.vouchers.histories import Stored
from server_core.vouchers.model import (
    Claimed,
    Ended,
    Item,
    Journal,
    Read,
    Seen,
    Settled,
    State,
    Unclaimed,
)
from tests.model_offline import cast
from tests.model_offline.part import Part, law

MOST = 100
"""What a terminal may give back of what it accepted."""


class Server(Part):
    """Tables by their keys. `losers`: what lost as a double spend though its shop did all right."""

    __slots__ = (
        "allowances", "claims", "closed", "evidence", "heads", "journals", "losers", "refunded",
        "revoked", "rows", "seen", "settled", "states", "unclaimed", "voids", "witnessed",
    )  # fmt: skip

    @classmethod
    def new(cls, devices: int, shops: int, hold: int) -> Self:
        made = object.__new__(cls)
        for slot in cls.__slots__:
            setattr(made, slot, {})
        made.allowances = {(a := cast.issued(d, hold)).aid: a for d in range(devices)}
        made.journals = {one.id: Journal(terminal=one.id) for one in cast.TERMINALS[:shops]}
        made.states = {one.id: TerminalState.ACTIVE for one in cast.TERMINALS[:shops]}
        made.evidence = set()
        made._name = None
        return made

    def terminal(self, me: bytes) -> Terminal:
        return replace(cast.TERMINALS[cast.WHO[me]], state=self.states[me])

    # Sync

    def serve(
        self, request: SyncRequest, now_s: int
    ) -> tuple[SyncAnswer, list[tuple[bytes, Verdict]]]:
        """What `syncing.sync` does in its one Work; the answer, and a verdict a voucher."""
        me, header = self.terminal(request.terminal), request.body.header
        before = self.journals[me.id]
        rows = histories.read_rows(request.body, me, cast.BUNDLE)
        stored = self._stored(before, request, rows)
        placed = histories.place(
            before, header, rows, stored, active=me.state is TerminalState.ACTIVE
        )
        items: Sequence[ItemResult] = placed.again
        journal = placed.journal
        if placed.verdict is Verdict.JOURNAL_FORK:
            items = self._forked(me, placed, request, rows, stored, now_s)
        elif placed.goes_on:
            items, journal = self._go_on(me, placed, request, now_s)
        if before.epoch == journal.epoch == self.journals[me.id].epoch:
            law(journal.acked_seq >= before.acked_seq, "acked never goes down at the server")
        answer = self._answer(request, placed.verdict, journal, items)
        by_seq = {one.seq: one for one in rows}
        return answer, [
            (row.signed.h, item.result)
            for item in items
            if isinstance(row := by_seq[item.seq].row, Accept)
        ]

    def _stored(self, journal: Journal, request: SyncRequest, rows: list[Read]) -> Stored:
        me, header = journal.terminal, request.body.header
        acked = journal.acked_seq if journal.epoch == header.epoch else 0
        return Stored(
            epochs={epoch for its, epoch, _ in self.heads if its == me},
            claims=[
                Claimed(applied=applied, first=first, last=last)
                for (its, epoch, applied), (first, last) in self.heads.items()
                if (its, epoch) == (me, header.epoch) and last >= acked
            ],
            rows={
                (epoch, seq): self.rows[me, epoch, seq]
                for epoch, first, last in histories.asked(journal, header, rows)
                for seq in range(first, last + 1)
                if (me, epoch, seq) in self.rows
            },
        )

    def _go_on(
        self, me: Terminal, placed: histories.Placed, request: SyncRequest, now_s: int
    ) -> tuple[list[ItemResult], Journal]:
        header, fresh = request.body.header, placed.fresh
        at = (me.id, header.epoch, header.applied)
        first, last = self.heads.get(at, (header.head_seq, header.head_seq))
        self.heads[at] = (min(first, header.head_seq), max(last, header.head_seq))
        verdicts = self._settle(me, fresh, placed.journal.applied, now_s)
        links = histories.links(placed.journal, fresh)
        made = [
            ItemResult(seq=one.seq, row_hash=link, result=verdict)
            for one, link, verdict in zip(fresh, links, verdicts, strict=True)
        ]
        for one in made:
            self.rows[me.id, header.epoch, one.seq] = (one.row_hash, str(one.result))
        journal = histories.gone_on(placed.journal, fresh)
        self.journals[me.id] = journal
        return [*placed.again, *made], journal

    def _forked(
        self,
        me: Terminal,
        placed: histories.Placed,
        request: SyncRequest,
        rows: list[Read],
        stored: Stored,
        now_s: int,
    ) -> list[ItemResult]:
        if self.states[me.id] is TerminalState.ACTIVE:
            self.states[me.id] = TerminalState.QUARANTINED
        taken = [one for one in rows if isinstance(one.row, Accept | Apply | VoidRow)]
        results = self._settle(me, taken, placed.journal.applied, now_s)
        judged = {one.seq: result for one, result in zip(taken, results, strict=True)}
        items = histories.forked(placed.journal, request.body.header, rows, judged, stored)
        law(
            all(
                item.result is not Verdict.JOURNAL_FORK
                for item, one in zip(items, rows, strict=True)
                if isinstance(one.row, Accept)
            ),
            "a quarantined terminal's vouchers are still judged",
        )
        return items

    def _answer(
        self, request: SyncRequest, verdict: Verdict, journal: Journal, items: Sequence[ItemResult]
    ) -> SyncAnswer:
        header, me = request.body.header, request.terminal
        later = sorted((e, aid) for aid, e in self.revoked.items() if e > header.applied)
        if later:
            told = histories.told(self.journals[me], later[-1][0])
            self.journals[me] = told
        same = journal.epoch == header.epoch
        return SyncAnswer(
            epoch=header.epoch, verdict=verdict, items=tuple(items),
            acked_seq=journal.acked_seq if same else 0,
            acked_head=journal.acked_head if same else GENESIS,
            revocations=cast.revocations(
                later[-1][0], header.applied, tuple(aid for _, aid in later)
            ) if later else b"",
            bundle_version=1, beacon=b"", next_nonce=b"", server_time=0,
        )  # fmt: skip

    # Settlement

    def _settle(
        self, me: Terminal, rows: Sequence[Read], applied: int, now_s: int
    ) -> list[Verdict]:
        steps, voids = rules.steps(rows, applied)
        items = [one for one in steps if isinstance(one, Item)]
        aids = {one.signed.allowance.aid for one in items}
        used = {(one.terminal, one.nonce) for one in self.settled.values()} | set(self.closed)
        facts = rules.Facts(
            allowances={aid: self.allowances[aid] for aid in aids if aid in self.allowances},
            seen={aid: {one.link.h: one for one in self.seen.get(aid, ())} for aid in aids},
            settled={key: one for key, one in self.settled.items() if key[0] in aids},
            used={one for one in used if one[0] == me.id},
            revoked={aid: e for aid, e in self.revoked.items() if aid in aids},
        )
        judged = rules.judge(steps, me, facts, now_s * 1000)
        self._write(judged, facts)
        for one in steps:
            if isinstance(one, Ended):
                self.closed.setdefault((me.id, one.nonce), one.reason)
        for one in voids:
            self.voids.setdefault((one.h, one.terminal), one)
        self._refund({one.h for one in voids} | {one.h for one in judged.settled})
        self._note(items, judged.verdicts)
        verdicts = iter(judged.verdicts)
        return [next(verdicts) if isinstance(one.row, Accept) else one.content for one in rows]

    def _write(self, judged: rules.Judged, facts: rules.Facts) -> None:
        for one in judged.seen:
            self.seen[one.aid] = (*self.seen.get(one.aid, ()), replace(one, seen_at=0))
        for one in judged.settled:
            law(
                (one.aid, one.counter) not in self.settled,
                "the server never settles a (aid, counter) twice",
            )
            law(
                not any(
                    (one.terminal, one.nonce) == (old.terminal, old.nonce)
                    for old in self.settled.values()
                ),
                "the server never settles a challenge twice",
            )
            self.settled[one.aid, one.counter] = one
        self.evidence |= {(one.aid, one.h, one.other) for one in judged.evidence}
        for aid in {one.aid for one in judged.settled} | judged.frozen:
            self.allowances[aid] = facts.allowances[aid]
        self.stop(judged.frozen)

    def _note(self, items: list[Item], verdicts: list[Verdict]) -> None:
        """Keep who lost, by the text of OV1 and not by the rules; and that each verdict is a true one."""
        for item, verdict in zip(items, verdicts, strict=True):
            h, v, a = item.signed.h, item.signed.voucher, item.signed.allowance
            holder = self.settled.get((a.aid, v.counter))
            if verdict in {Verdict.ACCEPTED, Verdict.DUPLICATE}:
                law(
                    holder is not None
                    and (holder.h, holder.terminal, holder.amount) == (h, v.terminal, v.amount),
                    "who is told that a voucher is settled, has been paid for it",
                )
            if verdict is Verdict.DOUBLE_SPEND:
                law(
                    holder is not None and holder.h != h,
                    "what is refused as a double spend has another one paid in its place",
                )
                revoked = self.revoked.get(a.aid)
                mine = next(one for one in self.seen[a.aid] if one.link.h == h)
                if (
                    mine.verdict == Verdict.DOUBLE_SPEND
                    and item.accepted_at <= a.spend_until
                    and self.allowances[a.aid].state is not State.CLOSED
                    and (revoked is None or item.applied < revoked)
                ):
                    self.losers[h] = v.amount
            law(
                verdict is not Verdict.SETTLEMENT_CLOSED
                or self.allowances[a.aid].state is State.CLOSED,
                "only the state CLOSED ends settlement, no clock does",
            )

    def stop(self, aids: Iterable[bytes]) -> None:
        """Put frozen allowances on the revocation list."""
        for aid in sorted(aids):
            self.revoked.setdefault(aid, len(self.revoked) + 1)

    def lose_device(self, aid: bytes) -> bool:
        """What `issuing.revoke_device` does: frozen, and on the list."""
        found = self.allowances[aid]
        if found.frozen or found.state is State.CLOSED:
            return False
        self.allowances[aid] = replace(found, frozen=True)
        self.stop({aid})
        return True

    # Voids, witness, close, claim

    def _paid(self) -> dict[bytes, Settled]:
        """What a shop was paid for: settled, by claim at close, or of unclaimed money."""
        paid = {one.h: one for one in self.settled.values()}
        late = self.claims | {
            h: one.amount for h, one in self.unclaimed.items() if one.paid_to == "merchant"
        }
        for rows in self.seen.values():
            for one in rows:
                if one.link.h in late:
                    paid[one.link.h] = Settled(
                        aid=one.aid, counter=one.link.counter, h=one.link.h, terminal=one.terminal,
                        nonce=one.nonce, amount=late[one.link.h],
                    )  # fmt: skip
        return paid

    def _refund(self, hs: set[bytes]) -> None:
        waiting = [
            one
            for key, one in sorted(self.voids.items())
            if key[0] in hs and one.applied_at is None
        ]
        terminals = {me: self.terminal(me) for me in self.states}
        for due in endings.refunds(waiting, self._paid(), terminals, self.refunded, MOST):
            key = (due.void.h, due.void.terminal)
            self.voids[key] = replace(due.void, applied_at=0)
            if due.amount:
                self.refunded[due.void.h] = self.refunded.get(due.void.h, 0) + due.amount

    def hand_in(self, signed: SignedVoid) -> None:
        void = rules.held(signed)
        self.voids.setdefault((void.h, void.terminal), void)
        self._refund({void.h})

    def witness(self, names: Iterable[bytes], actor: Actor) -> None:
        for name in sorted(names):
            signed = cast.VOUCHERS[name]
            found = self.allowances.get(signed.allowance.aid)
            if check_for_settlement(signed, cast.BUNDLE) is not Verdict.ACCEPTED:
                continue
            if not rules.may_witness(signed, found, actor):
                continue
            law(
                actor.role is Role.PAYER and actor.party == found.party,
                "a witness is taken only from the payer's own session",
            )
            kept = self.witnessed.get(found.aid, ())
            if signed.h not in {one.link.h for one in kept}:
                v = signed.voucher
                self.witnessed[found.aid] = tuple(
                    sorted(
                        (
                            *kept,
                            Seen(
                                aid=found.aid, link=link_of(signed), payee=v.payee,
                                terminal=v.terminal, nonce=v.nonce, wire=b"", verdict="", seen_at=0,
                            ),
                        ),
                        key=lambda one: (one.link.counter, one.link.h),
                    )
                )  # fmt: skip

    def close(self, aid: bytes) -> bool:
        found = self.allowances[aid]
        if found.state is State.CLOSED:
            return False
        settled = {one.h for one in self.settled.values()}
        parting = endings.part(
            found,
            endings.Known(
                seen=self.seen.get(aid, ()), witnessed=self.witnessed.get(aid, ()), settled=settled,
                voids={(h, me, one.payee) for (h, me), one in self.voids.items()},
                closed=self.closed,
                paid={(one.terminal, one.nonce) for one in self.settled.values()},
            ),
        )  # fmt: skip
        self.allowances[aid] = endings.closed(found, parting)
        self.claims |= dict(parting.claims)
        origin = {one.link.h: one for one in self.witnessed.get(aid, ())}
        for h, amount in parting.unclaimed:
            self.unclaimed[h] = Unclaimed(
                h=h, aid=aid, terminal=origin[h].terminal, amount=amount, until=0
            )
        return True

    def claim(self, h: bytes, who: int) -> bool:
        found, shop = self.unclaimed[h], self.terminal(self.unclaimed[h].terminal)
        sent = {one.link.h: one for one in self.seen.get(found.aid, ())}
        voids = {(h, me, one.payee) for (h, me), one in self.voids.items()}
        try:
            endings.check_claim(found, shop.party, cast.TERMINALS[who].party, sent, voids)
        except DomainError:
            return False
        if found.paid_to is None:
            self.unclaimed[h] = replace(found, paid_to="merchant")
        return found.paid_to is None
