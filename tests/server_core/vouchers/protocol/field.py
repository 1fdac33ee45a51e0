"""Payers' devices and shops' terminals as the protocol has them, against the real slices."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nacl.signing import SigningKey

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from offline import codec
from offline.journal import (
    GENESIS,
    Accept,
    Apply,
    Close,
    CloseReason,
    NewEpoch,
    Row,
    VoidRow,
    chain,
    row_bytes,
)
from offline.model import NO_PREV, Void, VoidReason, Voucher
from offline.signing import (
    enrolment_message,
    surrender_message,
    sync_request_message,
    void_message,
    voucher_message,
)
from offline.sync import (
    Header,
    SeqRow,
    SignedAnswer,
    SyncAnswer,
    SyncBody,
    SyncRequest,
    body_bytes,
    check_sync_answer,
)
from offline.verdicts import Verdict
from offline.wire import SignedRevocations, SignedVoid, SignedVoucher
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.ids import derived
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Transfer, account_id
from server_core.linking import service as linking
from server_core.parties import service as parties
from server_core.parties.model import Kind, Party
from server_core.terminals import service as terminals
from server_core.trust.service import Keys
from server_core.vouchers import service as vouchers
from server_core.vouchers import store
from server_core.vouchers.model import Allowance

OPERATOR = Actor(party=None, role=Role.OPERATOR)


@dataclass(slots=True)
class Shop:
    """A terminal with its journal, and what the server said of each row."""

    world: "World"
    party: Party
    key: SigningKey
    id: bytes
    payee: bytes
    cert: bytes
    kid: bytes
    sig_cert: bytes
    epoch: bytes
    rows: list[bytes] = field(default_factory=list)
    chains: list[bytes] = field(default_factory=list)
    acked: int = 0
    applied: int = 0
    nonces: int = 0

    @property
    def head(self) -> bytes:
        return self.chains[-1] if self.chains else GENESIS

    def nonce(self) -> bytes:
        self.nonces += 1
        return self.id + self.nonces.to_bytes(4)

    def append(self, *rows: Row) -> None:
        for row in rows:
            data = row_bytes(row)
            self.chains.append(chain(self.id, self.epoch, len(self.rows) + 1, self.head, data))
            self.rows.append(data)

    def accept(self, *signed: SignedVoucher) -> None:
        self.append(*(Accept(signed=one, accepted_at=self.world.now_s) for one in signed))

    def close(self, nonce: bytes, reason: CloseReason = CloseReason.EXPIRED) -> None:
        self.append(Close(nonce=nonce, reason=reason, closed_at=self.world.now_s))

    def void(
        self, signed: SignedVoucher, reason: VoidReason = VoidReason.REFUSED, **changes: Any
    ) -> SignedVoid:
        a, v = signed.allowance, signed.voucher
        given = {
            "aid": a.aid, "counter": v.counter, "h": signed.h, "seq": len(self.rows) + 1,
            "reason": reason, "ts": self.world.now_s,
        }  # fmt: skip
        raw = codec.void_bytes(Void(**given | changes))
        sig = self.key.sign(void_message(self.cert, raw)).signature
        return SignedVoid.of(self.kid, self.cert, self.sig_cert, raw, sig)

    def void_row(self, signed: SignedVoucher, reason: VoidReason = VoidReason.REFUSED) -> None:
        self.append(VoidRow(nonce=signed.voucher.nonce, signed=self.void(signed, reason)))

    def request(
        self, *, first: int | None = None, nonce: bytes | None = None, **header: Any
    ) -> SyncRequest:
        start = self.acked + 1 if first is None else first
        rows = tuple(
            SeqRow(seq=seq, row=data) for seq, data in enumerate(self.rows, 1) if seq >= start
        )[:500]
        given = {
            "epoch": self.epoch, "acked_seq": self.acked, "head_seq": len(self.rows),
            "head": self.head, "applied": self.applied, "beacon_nonce": b"beacon00",
        }  # fmt: skip
        body = body_bytes(SyncBody(header=Header(**given | header), rows=rows))
        server_nonce = nonce or self.world.nonce()
        sig = self.key.sign(sync_request_message(self.id, server_nonce, body)).signature
        return SyncRequest.of(self.id, server_nonce, body, sig)

    async def send(self, request: SyncRequest) -> SyncAnswer:
        world = self.world
        data = await vouchers.sync(world.db, world.keys, world.entropy, request.to_bytes())
        signed = SignedAnswer.from_bytes(data)
        assert check_sync_answer(signed, world.keys.bundle.bundle, request) is Verdict.ACCEPTED
        return signed.answer

    async def sync(self, **changes: Any) -> SyncAnswer:
        """Send what is unacked and take the answer over as the agent does."""
        answer = await self.send(self.request(**changes))
        if answer.verdict is not Verdict.JOURNAL_FORK and answer.acked_seq > self.acked:
            assert answer.acked_head == self.chains[answer.acked_seq - 1]
            self.acked = answer.acked_seq
        if answer.revocations:
            delta = SignedRevocations.from_bytes(answer.revocations).revocations
            assert delta.base_epoch <= self.applied < delta.epoch
            self.append(Apply(epoch=delta.epoch))
            self.applied = delta.epoch
        return answer

    async def settle(self, *signed: SignedVoucher) -> list[Verdict]:
        """Accept, sync to the end, and give the verdicts of exactly these."""
        first = len(self.rows) + 1
        self.accept(*signed)
        said: dict[int, Verdict] = {}
        while self.acked < len(self.rows):
            answer = await self.sync()
            said |= {item.seq: item.result for item in answer.items}
        return [said[seq] for seq in range(first, first + len(signed))]

    def copy(self) -> "Shop":
        """The same database file, copied."""
        return replace(self, rows=list(self.rows), chains=list(self.chains))

    def restore(self) -> None:
        """The restore command: a new epoch that names the last acked row; unacked rows follow."""
        old, unacked = self.epoch, self.rows[self.acked :]
        named = NewEpoch(
            new_epoch=self.world.entropy.bytes(8), old_epoch=old, old_seq=self.acked,
            old_chain=self.chains[self.acked - 1] if self.acked else GENESIS,
        )  # fmt: skip
        self.epoch, self.rows, self.chains, self.acked = named.new_epoch, [], [], 0
        self.append(named)
        for data in unacked:
            self.chains.append(chain(self.id, self.epoch, len(self.rows) + 1, self.head, data))
            self.rows.append(data)


@dataclass(slots=True)
class Phone:
    """A payer's device and the allowance on it; `fork` makes the clone that signs twice."""

    world: "World"
    party: Party
    key: SigningKey
    device: Any
    allowance: Allowance | None = None
    counter: int = 0
    cum: int = 0
    prev: bytes = NO_PREV

    @property
    def actor(self) -> Actor:
        return self.world.payer(self.party)

    async def take(self, total: int = 200_000, each: int = 50_000, key: str = "a-1") -> Allowance:
        world = self.world
        self.allowance = await vouchers.issue(
            world.db, world.keys, world.entropy, self.actor, key=key, device=self.device.id,
            currency="INR", cap_total=total, cap_each=each,
        )  # fmt: skip
        self.counter, self.cum, self.prev = 0, 0, NO_PREV
        return self.allowance

    def pay(self, shop: Shop, amount: int, **changes: Any) -> SignedVoucher:
        assert self.allowance is not None
        self.counter, self.cum = self.counter + 1, self.cum + amount
        given = {
            "counter": self.counter, "amount": amount, "cum": self.cum, "payee": shop.payee,
            "terminal": shop.id, "nonce": changes.pop("nonce", None) or shop.nonce(),
            "ts": self.world.now_s, "prev": self.prev,
        }  # fmt: skip
        raw = codec.voucher_bytes(Voucher(**given | changes))
        sig = self.key.sign(voucher_message(self.allowance.raw, raw)).signature
        signed = SignedVoucher.of(
            self.allowance.kid, self.allowance.raw, self.allowance.sig, raw, sig
        )
        self.prev = signed.h[:8]
        return signed

    def fork(self) -> "Phone":
        return replace(self)

    async def surrender(self, **changes: Any) -> Any:
        assert self.allowance is not None
        given = {"counter": self.counter, "cum": self.cum, "h": bytes(32)} | changes
        sig = self.key.sign(surrender_message(self.allowance.raw, **given)).signature
        return await vouchers.surrender(
            self.world.db, self.actor, aid=self.allowance.aid, sig=sig, **given
        )


@dataclass(slots=True)
class World:
    """One server's slices, with people, shops and money."""

    db: Database
    keys: Keys
    entropy: SeededEntropy

    @property
    def clock(self) -> ManualClock:
        clock = self.db.clock
        assert isinstance(clock, ManualClock)
        return clock

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    def nonce(self) -> bytes:
        return self.keys.new_nonce(self.clock.now_ms(), self.entropy)

    def payer(self, party: Party, **more: Any) -> Actor:
        given = {"assurance": 2, "authenticated_at": self.clock.now_ms()} | more
        return Actor(party=party.id, role=Role.PAYER, **given)

    def merchant(self, shop: Shop) -> Actor:
        return Actor(party=shop.party.id, role=Role.MERCHANT)

    async def person(self, name: str, money: int = 1_000_000) -> Party:
        async with self.db.work() as work:
            party = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=name)
            clearing = ledger.account(Code.CLEARING, "upi", "INR")
            await ledger.open_accounts(work, [clearing])
            fund = Transfer(
                id=derived("fund", party.id), debit=clearing.id, amount=money,
                credit=parties.money_account(party, "INR"),
            )  # fmt: skip
            assert (await ledger.post(work, [fund]))[0].ok
        return party

    async def phone(self, party: Party) -> Phone:
        key = SigningKey(self.entropy.bytes(32))
        public, nonce = bytes(key.verify_key), self.nonce()
        proof = key.sign(enrolment_message("payer", nonce, public, party.id.bytes)).signature
        async with self.db.work() as work:
            device = await linking.link(
                work, self.keys, self.payer(party), key=public, tier="software", label="phone",
                nonce=nonce, proof=proof,
            )  # fmt: skip
            device, _ = await linking.set_tier(
                work, OPERATOR, device.id, "hardware_counter", evidence="seen"
            )
        return Phone(self, party, key, device)

    async def merchant_party(self, name: str = "Chai Point") -> Party:
        async with self.db.work() as work:
            return await parties.add(work, OPERATOR, kind=Kind.MERCHANT, name=name, mcc="5814")

    async def shop(self, party: Party | None = None) -> Shop:
        party = party or await self.merchant_party()
        key = SigningKey(self.entropy.bytes(32))
        public, nonce = bytes(key.verify_key), self.nonce()
        async with self.db.work() as work:
            pairing = await terminals.pair(
                work, self.entropy, self.keys, OPERATOR, merchant=party.id
            )
            code = pairing.split(":")[1]
            proof = key.sign(enrolment_message("terminal", nonce, public, code.encode())).signature
            made = await terminals.enrol(
                work, self.entropy, self.keys, code=code, key=public, nonce=nonce, proof=proof
            )
        return Shop(
            self, party, key, made.id, made.payee, made.cert, made.kid, made.sig_cert,
            self.entropy.bytes(8),
        )  # fmt: skip

    async def payable(self, shop: Shop) -> int:
        return await self.balance(account_id(Code.PAYABLE, shop.party.id, "INR"))

    async def wallet(self, party: Party) -> int:
        return await self.balance(account_id(Code.WALLET, party.id, "INR"))

    async def balance(self, account: Any) -> int:
        async with self.db.reader() as reader:
            found = await ledger.balances(reader, [account])
        return found[account].balance if account in found else 0

    async def allowance(self, aid: bytes) -> Allowance:
        async with self.db.reader() as reader:
            found = await store.allowance(reader, aid)
        assert found is not None
        return found

    async def evidence(self) -> list[Any]:
        async with self.db.reader() as reader:
            return await vouchers.evidence(reader)

    async def report(self) -> Sequence[Any]:
        async with self.db.reader() as reader:
            return await vouchers.report(reader)
