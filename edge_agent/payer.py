"""The payer's device: reserve, count, sign, store, show, in this order and never in another."""

from dataclasses import dataclass
from typing import Final

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.port import CounterRefused, KeyStore
from edge_agent.errors import AgentError, VerdictError
from edge_agent.payer_rules import next_voucher, rolled_back
from edge_agent.store.payer_store import (
    AllowanceRow,
    PayerSelf,
    PayerStore,
    Reservation,
    VoucherRow,
)
from offline.codec import voucher_bytes
from offline.model import Bundle
from offline.payer import (
    PayerFacts,
    check_receipt,
    check_request,
    check_void,
    decode_receipt,
    decode_request,
    decode_void,
    request_key,
)
from offline.signing import voucher_hash, voucher_message
from offline.verdicts import Verdict
from offline.wire import SignedBundle, SignedReceipt, SignedRequest, SignedVoid, SignedVoucher

_ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the payer is asked to agree to: the name is vouched for by the issuer.

    `paid` is the voucher that this very request was answered with before; showing it again pays nothing.
    """

    request: SignedRequest
    payee_name: str
    amount: int
    ccy: str
    stale: bool
    paid: VoucherRow | None


class Payer:
    """One payer's device over its file, its key and the wall clock. One process at a time."""

    __slots__ = ("bundle", "clock", "entropy", "keys", "me", "store")

    def __init__(self, store: PayerStore, keys: KeyStore, clock: Clock, entropy: Entropy) -> None:
        me = store.me()
        if me is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled device")
        self.me: PayerSelf = me
        self.store = store
        self.keys = keys
        self.clock = clock
        self.entropy = entropy
        self.bundle: Bundle = SignedBundle.from_bytes(store.bundle()).bundle

    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    def trust(self, signed: SignedBundle) -> None:
        """Take over a bundle that was checked against the pinned root."""
        self.store.replace_bundle(signed.to_bytes(), signed.bundle.version)
        self.bundle = signed.bundle

    def recover(self) -> int:
        """After a crash, sign each reserved payload: the same one, for its counter is taken for ever."""
        rows = self.store.reserved()
        for row in rows:
            allowance = self.store.allowance(row.allowance.allowance.aid)
            if allowance is None or allowance.state != _ACTIVE:
                continue
            self._refuse_rolled_back(allowance)
            self._sign(row)
        return len(rows)

    def rolled_back(self, row: AllowanceRow) -> bool:
        """Whether this file and the key disagree in a way that no crash explains."""
        reserved = any(
            v.voucher.counter == row.counter
            for v in self.store.reserved()
            if v.allowance.allowance.aid == row.signed.allowance.aid
        )
        return rolled_back(self.keys.counter(row.scope), row.counter, reserved=reserved)

    def offer(self, text: str) -> Offer:
        """Read a request and say who asks for what; raises the verdict if it may not be paid."""
        request = decode_request(text)
        if isinstance(request, Verdict):
            raise VerdictError(request)
        name, body = request.cert.name, request.body
        answered = self.store.voucher_for(request.cert.terminal, body.nonce)
        now_s = self.now_s()
        if answered is not None:
            if answered.request_hash != request_key(request)[1]:
                raise VerdictError(Verdict.REQUEST_REUSED)
            judged = check_request(request, PayerFacts(bundle=self.bundle, now_s=now_s))
            return Offer(
                request=request,
                payee_name=answered.payee_name,
                amount=body.amount,
                ccy=body.ccy,
                stale=judged.stale,
                paid=answered,
            )
        row = self._spendable()
        judged = check_request(
            request,
            PayerFacts(
                bundle=self.bundle,
                now_s=now_s,
                allowance=row.signed.allowance,
                counter=row.counter,
                cum=row.cum,
            ),
        )
        if judged.verdict is not Verdict.ACCEPTED:
            raise VerdictError(judged.verdict)
        return Offer(
            request=request,
            payee_name=name,
            amount=body.amount,
            ccy=body.ccy,
            stale=judged.stale,
            paid=None,
        )

    def pay(self, text: str) -> SignedVoucher:
        """Pay a request that the payer agreed to; the same request again shows the same voucher."""
        self.recover()
        offer = self.offer(text)
        if offer.paid is not None:
            return self._shown(offer.paid)
        row = self._spendable()
        request, a = offer.request, row.signed
        voucher = next_voucher(
            request, counter=row.counter, cum=row.cum, last_h=row.last_h, now_s=self.now_s()
        )
        body = voucher_bytes(voucher)
        h = voucher_hash(a.allowance_raw, body)
        self.store.reserve(
            Reservation(
                aid=a.allowance.aid,
                voucher=voucher,
                body=body,
                h=h,
                request_hash=request_key(request)[1],
                payee_name=offer.payee_name,
                now_s=voucher.ts,
            )
        )
        reserved = self.store.voucher(h)
        if reserved is None:
            raise AgentError("edge.store_contradiction", "a reserved payload is not there")
        return self._sign(reserved)

    def keep(self, text: str) -> VoucherRow:
        """Keep a terminal's receipt or void as the proof of what became of a voucher."""
        proof: SignedReceipt | SignedVoid | Verdict = decode_receipt(text)
        if isinstance(proof, Verdict):
            proof = decode_void(text)
        if isinstance(proof, Verdict):
            raise VerdictError(proof)
        row = self.store.voucher(proof.body.h)
        signed = row.signed() if row is not None else None
        if row is None or signed is None:
            raise VerdictError(Verdict.OTHER_SUBJECT)
        check = (
            check_void(proof, self.bundle, signed)
            if isinstance(proof, SignedVoid)
            else check_receipt(proof, self.bundle, signed)
        )
        if check is not Verdict.ACCEPTED:
            raise VerdictError(check)
        self.store.store_proof(row.h, text)
        return row

    def _spendable(self) -> AllowanceRow:
        row = self.store.usable()
        if row is None:
            raise AgentError(
                "edge.no_allowance", "there is no allowance here: go online and take one"
            )
        if row.state == "surrendering":
            raise AgentError(
                "edge.allowance_surrendered",
                "this allowance was given back: go online for a new one",
            )
        self._refuse_rolled_back(row)
        return row

    def _refuse_rolled_back(self, row: AllowanceRow) -> None:
        if row.state == "blocked" or self.rolled_back(row):
            if row.state != "blocked":
                self.store.set_allowance_state(row.signed.allowance.aid, "blocked")
            raise VerdictError(Verdict.DEVICE_ROLLED_BACK)

    def _shown(self, row: VoucherRow) -> SignedVoucher:
        signed = row.signed()
        return signed if signed is not None else self._sign(row)

    def _sign(self, row: VoucherRow) -> SignedVoucher:
        """Count and sign a reserved payload, store the signature, and only then let it be shown."""
        a = row.allowance
        message = voucher_message(a.allowance_raw, row.body)
        try:
            sig = self.keys.sign(row.voucher.counter, message)
        except CounterRefused as e:
            self.store.set_allowance_state(a.allowance.aid, "blocked")
            raise VerdictError(Verdict.DEVICE_ROLLED_BACK, str(e)) from e
        self.store.store_signature(row.h, sig)
        return SignedVoucher.of(a.kid, a.allowance_raw, a.sig_a, row.body, sig)
