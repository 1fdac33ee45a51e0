"""The signed forms that travel: bytes over NFC, BLE, file or HTTP, and `OV1x:` + base45 text for QR.

API: `SignedVoucher`, `SignedRequest`, `SignedReceipt`, `SignedVoid` (text and bytes: `to_bytes`,
`to_text`, `from_bytes`, `from_text`), `SignedAllowance` (what issue gives: kid, A, sigA), `SignedBundle`,
`SignedRevocations`, `SignedBeacon` (bytes only). Each holds the raw parts that the signatures are over
and the decoded bodies beside them. Reading raises `Refused`; signatures are not checked here.

Sizes: texts and the bytes of V, R, P, X at most 1,200; a bundle 8 KiB; a revocation list 128 KiB. A text
is taken exactly: another prefix, lower case, a space or a line end is OV_MALFORMED.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic, Self, TypeVar

from offline import codec
from offline.armour import MAX_TEXT, from_text, to_text, within
from offline.cbor import encode, fields, octets, octets_to, uint
from offline.model import (
    KID_SIZE,
    NONCE_SIZE,
    SIGNATURE_SIZE,
    TERMINAL_SIZE,
    Allowance,
    Beacon,
    Bundle,
    Certificate,
    PaymentRequest,
    Receipt,
    Revocations,
    Void,
    Voucher,
)
from offline.signing import voucher_hash
from offline.verdicts import Refused, Verdict

Body = TypeVar("Body", PaymentRequest, Receipt, Void)

MAX_BUNDLE: Final = 8 * 1024
MAX_REVOCATIONS: Final = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAllowance:
    """[1, kid, A, sigA]: what issue answers and the device keeps."""

    kid: bytes
    allowance_raw: bytes
    sig_a: bytes
    allowance: Allowance

    @classmethod
    def of(cls, kid: bytes, allowance_raw: bytes, sig_a: bytes) -> Self:
        return cls(
            kid=octets(kid, KID_SIZE),
            allowance_raw=allowance_raw,
            sig_a=octets(sig_a, SIGNATURE_SIZE),
            allowance=codec.read_allowance(allowance_raw),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_TEXT), 4)
        return cls.of(octets(f[1], KID_SIZE), _raw(f[2]), octets(f[3], SIGNATURE_SIZE))

    def to_bytes(self) -> bytes:
        return encode([1, self.kid, self.allowance_raw, self.sig_a])


def _raw(value: object) -> bytes:
    return octets_to(value, MAX_TEXT)


def _six(data: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """kid, body, signature, body, signature of a wire, all sizes asked before any body is read."""
    f = fields(within(data, MAX_TEXT), 6)
    return (
        octets(f[1], KID_SIZE),
        _raw(f[2]),
        octets(f[3], SIGNATURE_SIZE),
        _raw(f[4]),
        octets(f[5], SIGNATURE_SIZE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVoucher:
    """`OV1V:` [1, kid, A, sigA, V, sigV]; `h` names it everywhere."""

    PREFIX: ClassVar[str] = "OV1V:"

    kid: bytes
    allowance_raw: bytes
    sig_a: bytes
    voucher_raw: bytes
    sig_v: bytes
    allowance: Allowance
    voucher: Voucher
    h: bytes = field(repr=False)

    @classmethod
    def of(
        cls, kid: bytes, allowance_raw: bytes, sig_a: bytes, voucher_raw: bytes, sig_v: bytes
    ) -> Self:
        """From its parts, read strictly in the order of the wire; raises Refused."""
        return cls(
            kid=octets(kid, KID_SIZE),
            allowance_raw=allowance_raw,
            sig_a=octets(sig_a, SIGNATURE_SIZE),
            voucher_raw=voucher_raw,
            sig_v=octets(sig_v, SIGNATURE_SIZE),
            allowance=codec.read_allowance(allowance_raw),
            voucher=codec.read_voucher(voucher_raw),
            h=voucher_hash(allowance_raw, voucher_raw),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.of(*_six(data))

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls.from_bytes(from_text(cls.PREFIX, text))

    def to_bytes(self) -> bytes:
        return encode([
            1, self.kid, self.allowance_raw, self.sig_a, self.voucher_raw, self.sig_v,
        ])  # fmt: skip

    def to_text(self) -> str:
        return to_text(self.PREFIX, self.to_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certified(Generic[Body]):
    """[1, kid, cert, sigCert, body, sig]: a terminal's word under its certificate."""

    PREFIX: ClassVar[str]

    kid: bytes
    cert_raw: bytes
    sig_cert: bytes
    body_raw: bytes
    sig: bytes
    cert: Certificate
    body: Body

    @classmethod
    def of(cls, kid: bytes, cert_raw: bytes, sig_cert: bytes, body_raw: bytes, sig: bytes) -> Self:
        """From its parts, read strictly in the order of the wire; raises Refused."""
        return cls(
            kid=octets(kid, KID_SIZE),
            cert_raw=cert_raw,
            sig_cert=octets(sig_cert, SIGNATURE_SIZE),
            body_raw=body_raw,
            sig=octets(sig, SIGNATURE_SIZE),
            cert=codec.read_certificate(cert_raw),
            body=cls._read(body_raw),
        )

    @classmethod
    @abstractmethod
    def _read(cls, body_raw: bytes) -> Body:
        """Read the body strictly; raises Refused."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.of(*_six(data))

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls.from_bytes(from_text(cls.PREFIX, text))

    def to_bytes(self) -> bytes:
        return encode([1, self.kid, self.cert_raw, self.sig_cert, self.body_raw, self.sig])

    def to_text(self) -> str:
        return to_text(self.PREFIX, self.to_bytes())


class SignedRequest(_Certified[PaymentRequest]):
    """`OV1R:`; the request is `.body`, also `.req`."""

    __slots__ = ()
    PREFIX = "OV1R:"

    @classmethod
    def _read(cls, body_raw: bytes) -> PaymentRequest:
        return codec.read_request(body_raw)

    @property
    def req(self) -> PaymentRequest:
        return self.body


class SignedReceipt(_Certified[Receipt]):
    """`OV1P:`; the receipt is `.body`, also `.receipt`."""

    __slots__ = ()
    PREFIX = "OV1P:"

    @classmethod
    def _read(cls, body_raw: bytes) -> Receipt:
        return codec.read_receipt(body_raw)

    @property
    def receipt(self) -> Receipt:
        return self.body


class SignedVoid(_Certified[Void]):
    """`OV1X:`; the void is `.body`, also `.void`."""

    __slots__ = ()
    PREFIX = "OV1X:"

    @classmethod
    def _read(cls, body_raw: bytes) -> Void:
        return codec.read_void(body_raw)

    @property
    def void(self) -> Void:
        return self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle:
    """[1, root_kid, bundle, sig], signed by the root (T)."""

    root_kid: bytes
    bundle_raw: bytes
    sig: bytes
    bundle: Bundle

    @classmethod
    def of(cls, root_kid: bytes, bundle_raw: bytes, sig: bytes) -> Self:
        bundle = codec.read_bundle(bundle_raw)
        if bundle.root_kid != root_kid:
            raise Refused(Verdict.MALFORMED, "root kid")
        return cls(
            root_kid=root_kid, bundle_raw=bundle_raw, sig=octets(sig, SIGNATURE_SIZE), bundle=bundle
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_BUNDLE), 4)
        return cls.of(
            octets(f[1], KID_SIZE), octets_to(f[2], MAX_BUNDLE), octets(f[3], SIGNATURE_SIZE)
        )

    def to_bytes(self) -> bytes:
        return encode([1, self.root_kid, self.bundle_raw, self.sig])


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRevocations:
    """[1, kid, list, sig], signed by an issuer key of usage L."""

    kid: bytes
    list_raw: bytes
    sig: bytes
    revocations: Revocations

    @classmethod
    def of(cls, kid: bytes, list_raw: bytes, sig: bytes) -> Self:
        return cls(
            kid=octets(kid, KID_SIZE),
            list_raw=list_raw,
            sig=octets(sig, SIGNATURE_SIZE),
            revocations=codec.read_revocations(list_raw),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_REVOCATIONS), 4)
        return cls.of(
            octets(f[1], KID_SIZE), octets_to(f[2], MAX_REVOCATIONS), octets(f[3], SIGNATURE_SIZE)
        )

    def to_bytes(self) -> bytes:
        return encode([1, self.kid, self.list_raw, self.sig])


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBeacon:
    """[1, kid, terminal, nonce, ts, sig], signed by an issuer key of usage B."""

    kid: bytes
    beacon: Beacon
    sig: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        f = fields(within(data, MAX_TEXT), 6)
        beacon = Beacon(
            terminal=octets(f[2], TERMINAL_SIZE), nonce=octets(f[3], NONCE_SIZE), ts=uint(f[4])
        )
        return cls(kid=octets(f[1], KID_SIZE), beacon=beacon, sig=octets(f[5], SIGNATURE_SIZE))

    def to_bytes(self) -> bytes:
        b = self.beacon
        return encode([1, self.kid, b.terminal, b.nonce, b.ts, self.sig])
