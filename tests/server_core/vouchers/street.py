"""A street to test settlement on: phones that sign, shops that keep journals and sync, one server."""

from dataclasses import dataclass, field, replace

from nacl.signing import SigningKey

from devices.entropy import SystemEntropy
from offline import journal as rows
from offline import signing
from offline.codec import void_bytes, voucher_bytes
from offline.model import NO_PREV, Void, VoidReason, Voucher
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
from server_core.terminals.model import Terminal
from server_core.trust.service import Keys
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import Allowance

OPERATOR = Actor(party=None, role=Role.OPERATOR)
ENTROPY = SystemEntropy()
ACCEPTED, DUPLICATE = Verdict.ACCEPTED, Verdict.DUPLICATE


@dataclass(slots=True)
class Phone:
    """A payer's device under one allowance; `clone` signs on from the same counter."""

    key: SigningKey
    allowance: Allowance
    counter: int = 0
    cum: int = 0
    prev: bytes = NO_PREV

    def pay(self, shop: "Shop", amount: int, *, nonce: bytes | None = None) -> SignedVoucher:
        self.counter, self.cum = self.counter + 1, self.cum + amount
        raw = voucher_bytes(
            Voucher(
                counter=self.counter, amount=amount, cum=self.cum, payee=shop.terminal.payee,
                terminal=shop.terminal.id, nonce=nonce or ENTROPY.bytes(8), ts=1_790_000_000,
                prev=self.prev,
            )
        )  # fmt: skip
        a = self.allowance
        signed = SignedVoucher.of(
            a.kid, a.raw, a.sig, raw, self.key.sign(signing.voucher_message(a.raw, raw)).signature
        )
        self.prev = signed.h[:8]
        return signed

    def clone(self) -> "Phone":
        return replace(self)


@dataclass(slots=True)
class Shop:
    """A terminal with its journal, as an honest (or not so honest) agent keeps it."""

    street: "Street"
    key: SigningKey
    terminal: Terminal
    epoch: bytes = field(default_factory=lambda: ENTROPY.bytes(8))
    journal: list[bytes] = field(default_factory=list)
    links: list[bytes] = field(default_factory=list)
    acked: int = 0
    applied: int = 0
    answer: SyncAnswer | None = None

    def write(self, row: rows.Row) -> None:
        raw = rows.row_bytes(row)
        previous = self.links[-1] if self.links else rows.GENESIS
        self.journal.append(raw)
        self.links.append(
            rows.chain(self.terminal.id, self.epoch, len(self.journal), previous, raw)
        )

    def accept(self, *signed: SignedVoucher) -> None:
        for one in signed:
            self.write(rows.Accept(signed=one, accepted_at=1_790_000_000))

    def close(self, nonce: bytes, reason: rows.CloseReason = rows.CloseReason.EXPIRED) -> None:
        self.write(rows.Close(nonce=nonce, reason=reason, closed_at=1_790_000_000))

    def void_of(self, signed: SignedVoucher) -> SignedVoid:
        body = void_bytes(
            Void(
                aid=signed.allowance.aid, counter=signed.voucher.counter, h=signed.h,
                seq=len(self.journal) + 1, reason=VoidReason.RETURNED, ts=1_790_000_000,
            )
        )  # fmt: skip
        sig = self.key.sign(signing.void_message(self.terminal.cert, body)).signature
        return SignedVoid.of(
            self.terminal.kid, self.terminal.cert, self.terminal.sig_cert, body, sig
        )

    def void(self, signed: SignedVoucher) -> None:
        self.write(rows.VoidRow(nonce=signed.voucher.nonce, signed=self.void_of(signed)))

    def apply(self) -> None:
        """Journal the revocations of the last answer."""
        assert self.answer is not None
        told = SignedRevocations.from_bytes(self.answer.revocations).revocations
        self.applied = told.epoch
        self.write(rows.Apply(epoch=told.epoch))

    def request(self, first: int | None = None, *, applied: int | None = None) -> bytes:
        start = first or self.acked + 1
        body = body_bytes(
            SyncBody(
                header=Header(
                    epoch=self.epoch, acked_seq=min(self.acked, len(self.journal)),
                    head_seq=len(self.journal),
                    head=self.links[-1] if self.links else rows.GENESIS,
                    applied=self.applied if applied is None else applied,
                    beacon_nonce=ENTROPY.bytes(8),
                ),
                rows=tuple(
                    SeqRow(seq=seq, row=self.journal[seq - 1])
                    for seq in range(start, len(self.journal) + 1)
                ),
            )
        )  # fmt: skip
        nonce = self.street.keys.new_nonce(self.street.db.clock.now_ms(), ENTROPY)
        message = signing.sync_request_message(self.terminal.id, nonce, body)
        return SyncRequest.of(
            self.terminal.id, nonce, body, self.key.sign(message).signature
        ).to_bytes()

    async def send(self, data: bytes) -> list[Verdict]:
        """The verdicts of one request, its answer's signature checked; the batch's if it is not fine."""
        street = self.street
        raw = await vouchers.sync(street.db, street.keys, ENTROPY, data)
        signed = SignedAnswer.from_bytes(raw)
        bundle = street.keys.bundle.bundle
        assert check_sync_answer(signed, bundle, SyncRequest.from_bytes(data)) is ACCEPTED
        self.answer = signed.answer
        if signed.answer.verdict is not ACCEPTED:
            return [signed.answer.verdict]
        for item in signed.answer.items:
            assert item.row_hash == self.links[item.seq - 1]
        self.acked = max(self.acked, signed.answer.acked_seq)
        return [item.result for item in signed.answer.items]

    async def sync(self, first: int | None = None, **more: int) -> list[Verdict]:
        return await self.send(self.request(first, **more))


@dataclass(slots=True)
class Street:
    """The server's database and keys, and who lives on the street."""

    db: Database
    keys: Keys
    asha: Party | None = None
    people: int = 0

    async def shop(self, merchant: Party | None = None) -> Shop:
        self.people += 1
        key = SigningKey(ENTROPY.bytes(32))
        public = bytes(key.verify_key)
        async with self.db.work() as work:
            owner = merchant or await parties.add(
                work, OPERATOR, kind=Kind.MERCHANT, name=f"Shop {self.people}", mcc="5411"
            )
            pairing = await terminals.pair(work, ENTROPY, self.keys, OPERATOR, merchant=owner.id)
            code = pairing.split(":")[1]
            nonce = self.keys.new_nonce(work.now_ms, ENTROPY)
            message = signing.enrolment_message("terminal", nonce, public, code.encode())
            terminal = await terminals.enrol(
                work, ENTROPY, self.keys, code=code, key=public, nonce=nonce,
                proof=key.sign(message).signature,
            )  # fmt: skip
        return Shop(self, key, terminal)

    async def payer(self, funds: int = 500_000) -> Actor:
        self.people += 1
        async with self.db.work() as work:
            party = await parties.add(work, OPERATOR, kind=Kind.PERSON, name=f"P{self.people}")
            await ledger.open_accounts(work, [ledger.account(Code.CLEARING, "upi", "INR")])
            await ledger.post(
                work,
                [
                    Transfer(
                        id=derived("street", party.id),
                        debit=account_id(Code.CLEARING, "upi", "INR"),
                        credit=parties.money_account(party, "INR"),
                        amount=funds,
                    )
                ],
            )
        return Actor(
            party=party.id, role=Role.PAYER, assurance=2, authenticated_at=self.db.clock.now_ms()
        )

    async def link(
        self, actor: Actor, key: SigningKey | None = None, tier: str = "hardware_counter"
    ) -> tuple[SigningKey, object]:
        """A device that an operator has given `tier`."""
        key = key or SigningKey(ENTROPY.bytes(32))
        public = bytes(key.verify_key)
        async with self.db.work() as work:
            nonce = self.keys.new_nonce(work.now_ms, ENTROPY)
            message = signing.enrolment_message("payer", nonce, public, actor.party.bytes)
            device = await linking.link(
                work, self.keys, actor, key=public, tier="software", label="phone", nonce=nonce,
                proof=key.sign(message).signature,
            )  # fmt: skip
            await linking.set_tier(work, OPERATOR, device.id, tier, evidence="seen")
        return key, device.id

    async def issue(self, actor: Actor, device: object, key: str = "k", **caps: int) -> Allowance:
        asked = {"cap_total": 200_000, "cap_each": 50_000} | caps
        return await vouchers.issue(
            self.db, self.keys, ENTROPY, actor, key=key, device=device, currency="INR", **asked
        )

    async def phone(self, actor: Actor | None = None, **caps: int) -> Phone:
        owner = actor or await self.payer()
        key, device = await self.link(owner)
        return Phone(key, await self.issue(owner, device, key=f"k{device}", **caps))

    async def db_waits(self) -> bool:
        """Whether a statement waits for another's row."""
        async with self.db.reader() as reader:
            return bool(
                await reader.value("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
            )

    async def owed(self, shop: Shop) -> int:
        return await self.balance(account_id(Code.PAYABLE, shop.terminal.party, "INR"))

    async def wallet(self, phone: Phone) -> int:
        return await self.balance(account_id(Code.WALLET, phone.allowance.party, "INR"))

    async def hold(self, phone: Phone) -> int:
        return await self.balance(account_id(Code.OFFLINE, phone.allowance.aid.hex(), "INR"))

    async def balance(self, account: object) -> int:
        async with self.db.reader() as reader:
            return (await ledger.balances(reader, [account]))[account].balance

    async def row(self, phone: Phone) -> dict:
        async with self.db.reader() as reader:
            return dict(
                await reader.row("SELECT * FROM allowance WHERE aid = $1", phone.allowance.aid)
            )
