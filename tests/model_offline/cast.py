"""Who plays: keys, one issuer, allowances, shops, and signatures that stand for real ones.

A symbolic signature is SHA-512 over public key and message, or the same bytes backwards: ECDSA too has a
second form that holds, and anybody can make it. Whoever the model lets sign can sign, and no other bytes
hold. Everything that is signed, hashed and decided is the project's own.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from hashlib import sha256, sha512
from unittest import mock
from uuid import UUID

import offline.payer
import offline.trust
import offline.verify
from offline import codec, journal, signing
from offline.model import (
    Algorithm,
    Allowance,
    Bundle,
    BundleEntry,
    Certificate,
    PaymentRequest,
    Policy,
    Revocations,
    Void,
    VoidReason,
    Voucher,
)
from offline.wire import (
    SignedAllowance,
    SignedRequest,
    SignedRevocations,
    SignedVoid,
    SignedVoucher,
)
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.vouchers import histories, model
from tests.offline import kit

NOW, DAY = 1_790_000_000, 86_400
CCY, KID, ROOT_KID = "INR", b"\x00\x01", b"\x00\x63"
TIMES = (NOW, NOW + DAY + 1, NOW + 4 * DAY + 3601, NOW + 365 * DAY)
"""In the window; spending over; settlement over; the merchant's time to claim over."""
SPENDING, SETTLING, OVER, UNCLAIMED_OVER = range(4)


def key(name: str) -> bytes:
    return sha256(f"model {name}".encode()).digest()


ISSUER = key("issuer")


def sign(public: bytes, message: bytes) -> bytes:
    return sha512(public + message).digest()


def _holds(_: Algorithm, public: bytes, message: bytes, sig: bytes) -> bool:
    good = sign(public, message)
    return sig in {good, good[::-1]}


@contextmanager
def symbolic() -> Iterator[None]:
    """Symbolic signatures, and each row read and chained once, while a model runs."""
    read, link = lru_cache(100_000)(journal.decode_row), lru_cache(100_000)(journal.chain)
    with ExitStack() as stack:
        for module in (offline.verify, offline.payer, offline.trust):
            stack.enter_context(mock.patch.object(module, "verify_signature", _holds))
        stack.enter_context(mock.patch.object(histories, "decode_row", read))
        stack.enter_context(mock.patch.object(histories, "chain", link))
        yield


POLICY = Policy(ccy=CCY, cap_each=3, cap_total=9, life_s=5 * DAY, risk=kit.RISK)
BUNDLE = Bundle(
    version=1,
    root_kid=ROOT_KID,
    entries=(
        BundleEntry(
            kid=KID, alg=Algorithm.ED25519, key=ISSUER, usages="ABCLY", not_before=0,
            not_after=NOW + 400 * DAY,
        ),
    ),
    policies=(POLICY,),
)  # fmt: skip


@lru_cache(None)
def allowance(device: int, hold: int) -> SignedAllowance:
    """The one allowance of a device: `hold` in all, three payments of at most 3."""
    raw = codec.allowance_bytes(
        Allowance(
            aid=bytes([0xA0 + device]) * 16, device_key=key(f"device {device}"), ccy=CCY,
            cap_total=hold, cap_each=min(3, hold), max_count=3, not_before=NOW - 60,
            spend_until=NOW + DAY, settle_until=NOW + 4 * DAY, flags=0,
        )
    )  # fmt: skip
    return SignedAllowance.of(KID, raw, sign(ISSUER, signing.allowance_message(KID, raw)))


def party(device: int) -> UUID:
    return UUID(int=device + 1)


@lru_cache(None)
def issued(device: int, hold: int) -> model.Allowance:
    """The server's row of it."""
    signed = allowance(device, hold)
    a = signed.allowance
    return model.Allowance(
        aid=a.aid, party=party(device), device=UUID(int=device + 1), currency=CCY, kid=KID,
        raw=signed.allowance_raw, sig=signed.sig_a, digest=signing.sha256(signed.allowance_raw),
        hold=hold, spend_until=a.spend_until, settle_until=a.settle_until,
        state=model.State.ISSUED, frozen=False, settled=0, claimed=0, unclaimed=0, returned=0,
    )  # fmt: skip


def _terminal(who: int) -> Terminal:
    public = key(f"terminal {who}")
    cert = codec.certificate_bytes(
        Certificate(
            terminal=bytes([0, 0, 0, who + 1]), payee=bytes([who + 1]) * 8, terminal_key=public,
            name=f"Shop {who}", mcc=5411, not_after=NOW + 400 * DAY,
        )
    )  # fmt: skip
    return Terminal(
        id=bytes([0, 0, 0, who + 1]), party=UUID(int=100 + who), payee=bytes([who + 1]) * 8,
        key=public, kid=KID, cert=cert,
        sig_cert=sign(ISSUER, signing.certificate_message(KID, cert)),
        state=TerminalState.ACTIVE, enrolled_at=0,
    )  # fmt: skip


TERMINALS = tuple(_terminal(who) for who in range(2))
WHO = {one.id: who for who, one in enumerate(TERMINALS)}


def nonce(who: int, number: int) -> bytes:
    """A terminal's challenges never repeat, whatever is put back: they are random."""
    return bytes([who + 1, 0, 0, 0, 0, 0, 0, number + 1])


def epoch(who: int, number: int) -> bytes:
    return bytes([who + 1, 0, 0, 0, 0, 0, 0xE0, number])


@lru_cache(None)
def request(who: int, number: int, amount: int) -> SignedRequest:
    me = TERMINALS[who]
    raw = codec.request_bytes(
        PaymentRequest(amount=amount, ccy=CCY, nonce=nonce(who, number), ts=NOW)
    )
    sig = sign(me.key, signing.request_message(me.cert, raw))
    return SignedRequest.of(KID, me.cert, me.sig_cert, raw, sig)


VOUCHERS: dict[bytes, SignedVoucher] = {}
"""By name: h, with FLIPPED or SECOND behind it for a copy with another signature."""


def voucher(device: int, hold: int, body: Voucher) -> bytes:
    """Sign `body` by the device's key; the name of the voucher."""
    a = allowance(device, hold)
    raw = codec.voucher_bytes(body)
    sig = sign(a.allowance.device_key, signing.voucher_message(a.allowance_raw, raw))
    made = SignedVoucher.of(KID, a.allowance_raw, a.sig_a, raw, sig)
    VOUCHERS.setdefault(made.h, made)
    return made.h


FLIPPED, SECOND = b"!", b"~"


def altered(name: bytes, how: bytes) -> bytes:
    """A copy with the same h: FLIPPED has a bit of its signature turned, SECOND holds in its other form."""
    good = VOUCHERS[name]
    sig = good.sig_v[::-1] if how == SECOND else bytes([good.sig_v[0] ^ 1]) + good.sig_v[1:]
    copy = SignedVoucher.of(KID, good.allowance_raw, good.sig_a, good.voucher_raw, sig)
    return VOUCHERS.setdefault(name + how, copy).h + how


def holds(name: bytes) -> bool:
    """Whether the voucher's signatures do."""
    return name[32:] != FLIPPED


@lru_cache(None)
def void(who: int, name: bytes, seq: int, reason: VoidReason) -> SignedVoid:
    me, signed = TERMINALS[who], VOUCHERS[name]
    raw = codec.void_bytes(
        Void(
            aid=signed.allowance.aid, counter=signed.voucher.counter, h=signed.h, seq=seq,
            reason=reason, ts=NOW,
        )
    )  # fmt: skip
    sig = sign(me.key, signing.void_message(me.cert, raw))
    return SignedVoid.of(KID, me.cert, me.sig_cert, raw, sig)


@lru_cache(None)
def revocations(to: int, base: int, aids: tuple[bytes, ...]) -> bytes:
    raw = codec.revocations_bytes(Revocations(epoch=to, base_epoch=base, aids=tuple(sorted(aids))))
    return SignedRevocations.of(
        KID, raw, sign(ISSUER, signing.revocations_message(KID, raw))
    ).to_bytes()


@lru_cache(None)
def said(name: bytes) -> str:
    """A voucher in words."""
    v = VOUCHERS[name].voucher
    device = VOUCHERS[name].allowance.aid[0] - 0xA0
    bit = {FLIPPED: ", a bit flipped", SECOND: ", signed in its second form"}.get(name[32:], "")
    return (
        f"voucher {name.hex()[:4]} (device {device}, counter {v.counter}, amount {v.amount}, cum {v.cum},"
        f" shop {WHO[v.terminal]}, request {v.nonce[7]}{bit})"
    )
