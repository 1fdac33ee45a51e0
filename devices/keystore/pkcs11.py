"""A key that never leaves its token: PKCS#11, of a secure element, a TEE's module or an HSM.

The token makes the key pair and signs; the key is sensitive and cannot be extracted, which is asked
of the token each time it is opened. The counters lie in a file under a MAC key of the same token: a
copied folder signs nothing without the token, and a folder put back beside its token is a rollback
that this store cannot see (only a hardware counter can). Hence the middle tier.

Source: PKCS #11 v3.1 (OASIS), sections 6.3 (EC, Ed25519 by the OID of RFC 8410) and 6.9 (HMAC).
"""

import hmac
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from devices.keystore.counters import Counters
from devices.keystore.port import (
    KeyStoreDamaged,
    KeyStoreError,
    KeyStoreLocked,
    Tier,
    check_plain_payload,
)
from devices.keystore.sealed import read_small, write_durably
from offline.model import SIGNATURE_SIZE, Algorithm
from offline.signing import sha256, verify_signature

_LABEL: Final = "hundi-device"
_TAG: Final = 32
_TOKEN_FILE: Final = "token.json"  # noqa: S105 - a file's name
_CURVES: Final = {Algorithm.ED25519: "1.3.101.112", Algorithm.P256: "1.2.840.10045.3.1.7"}
_TYPES: Final = {Algorithm.ED25519: KeyType.EC_EDWARDS, Algorithm.P256: KeyType.EC}
_GENERATION: Final = {
    Algorithm.ED25519: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    Algorithm.P256: Mechanism.EC_KEY_PAIR_GEN,
}
_SIGNING: Final = {Algorithm.ED25519: Mechanism.EDDSA, Algorithm.P256: Mechanism.ECDSA}
_KEPT: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}


@contextmanager
def _told() -> Iterator[None]:
    """Say a token's refusal in the words of the port; the PIN stands in none of them."""
    try:
        yield
    except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid) as e:
        raise KeyStoreLocked(
            "the PIN does not open the token; it locks after a few wrong ones"
        ) from e
    except pkcs11.PinLocked as e:
        raise KeyStoreLocked("the token's PIN is locked: its security officer must reset it") from e
    except (pkcs11.NoSuchToken, pkcs11.NoSuchKey) as e:
        raise KeyStoreDamaged(
            "no such token, or it holds no key of ours: check module and label"
        ) from e
    except (pkcs11.PKCS11Error, RuntimeError) as e:
        raise KeyStoreError(f"the token failed: {type(e).__name__}") from e


@dataclass(frozen=True, slots=True)
class _Login:
    """A process is logged in to a token once, for all its stores; a session serves one call at a time."""

    session: Any
    pin: str
    turn: threading.Lock = field(default_factory=threading.Lock)


_LOGINS: Final[dict[tuple[Path, str], _Login]] = {}


class Pkcs11KeyStore:
    """One key on one token, its counters and the token's name in `folder`. Threads take turns."""

    __slots__ = ("_algorithm", "_counters", "_key", "_login", "_mac", "_public")

    def __init__(self, folder: Path, login: _Login) -> None:
        self._login = login
        session = login.session
        self._key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=_LABEL)
        self._mac = session.get_key(object_class=ObjectClass.SECRET_KEY, label=_LABEL)
        for key in (self._key, self._mac):
            for attribute, wanted in _KEPT.items():
                if key[attribute] is not wanted:
                    raise KeyStoreError(
                        f"the token's key is not kept: {attribute.name} must be {wanted}"
                    )
        self._algorithm = next(a for a, kind in _TYPES.items() if kind == self._key.key_type)
        public = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=_LABEL)
        self._public = _compressed(self._algorithm, public[Attribute.EC_POINT])
        self._counters = Counters(folder, seal=self._tagged, unseal=self._untagged)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        module: Path,
        token: str,
        pin: str,
        algorithm: Algorithm = Algorithm.ED25519,
    ) -> Self:
        """Make the key pair and the MAC key on a token that holds none of ours.

        `module` is the PKCS#11 library, `token` the token's label. Raises KeyStoreError,
        KeyStoreLocked on a wrong PIN, KeyStoreDamaged when there is no such token.
        """
        with _told():
            login = _logged_in(module, token, pin)
            if next(iter(login.session.get_objects({Attribute.LABEL: _LABEL})), None) is not None:
                raise KeyStoreError(
                    "this token already holds a key of Hundi: take another token or, if a first try "
                    "was cut off, delete the objects hundi-device by the token's own tool"
                )
            _generate(login.session, algorithm)
            store = cls(folder, login)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        store._counters.begin()
        written = json.dumps({"module": str(module), "token": token})
        write_durably(folder / _TOKEN_FILE, written.encode())
        return store

    @classmethod
    def open(cls, folder: Path, pin: str) -> Self:
        """Open the key of the token that `folder` names; the counters must be there and be its own."""
        try:
            named = json.loads(read_small(folder / _TOKEN_FILE))
            module, token = Path(named["module"]), str(named["token"])
        except (ValueError, KeyError, TypeError) as e:
            raise KeyStoreDamaged(f"{_TOKEN_FILE} does not name a module and a token") from e
        with _told():
            store = cls(folder, _logged_in(module, token, pin))
        store._counters.read()
        return store

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / _TOKEN_FILE).exists()

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def tier(self) -> Tier:
        return Tier.TEE

    def public_key(self) -> bytes:
        return self._public

    def counter(self, scope: bytes) -> int:
        return self._counters.at(scope)

    def sign(self, counter: int, payload: bytes) -> bytes:
        self._counters.take(counter, payload)
        return self._signed(payload)

    def sign_plain(self, payload: bytes) -> bytes:
        check_plain_payload(payload)
        return self._signed(payload)

    def _signed(self, payload: bytes) -> bytes:
        """Sign, and check it: a token that errs must not take a payer's counter for nothing."""
        data = payload if self._algorithm is Algorithm.ED25519 else sha256(payload)
        with self._login.turn, _told():
            signature = bytes(self._key.sign(data, mechanism=_SIGNING[self._algorithm]))
        if len(signature) != SIGNATURE_SIZE or not verify_signature(
            self._algorithm, self._public, payload, signature
        ):
            raise KeyStoreError("the token's signature does not hold")
        return signature

    def _tag(self, rows: bytes) -> bytes:
        with self._login.turn, _told():
            return bytes(self._mac.sign(b"counters" + rows, mechanism=Mechanism.SHA256_HMAC))

    def _tagged(self, rows: bytes) -> bytes:
        return self._tag(rows) + rows

    def _untagged(self, data: bytes) -> bytes:
        rows = data[_TAG:]
        if not hmac.compare_digest(data[:_TAG], self._tag(rows)):
            raise ValueError("not tagged by this token")
        return rows


def _logged_in(module: Path, token: str, pin: str) -> _Login:
    known = _LOGINS.get((module, token))
    if known is None:
        _check_module(module)
        session = pkcs11.lib(str(module)).get_token(token_label=token).open(user_pin=pin, rw=True)
        known = _LOGINS[module, token] = _Login(session, pin)
    elif not hmac.compare_digest(known.pin.encode(), pin.encode()):
        raise KeyStoreLocked("the PIN is not the one that opened the token")
    return known


def _check_module(module: Path) -> None:
    """Refuse a module that others could have written: its name may come with a restored backup."""
    try:
        found = module.stat()
    except OSError as e:
        raise KeyStoreError(f"the PKCS#11 module {module} cannot be read") from e
    if not module.is_absolute() or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise KeyStoreError(
            f"the PKCS#11 module {module} must be an absolute path to a file of root's or the "
            "agent's user, which nobody else may write"
        )


def _generate(session: Any, algorithm: Algorithm) -> None:
    signing = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
    session.generate_key(
        KeyType.GENERIC_SECRET,
        key_length=256,
        mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        label=_LABEL,
        store=True,
        capabilities=signing,
        template=_KEPT,
    )
    session.create_domain_parameters(
        _TYPES[algorithm],
        {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])},
        local=True,
    ).generate_keypair(
        mechanism=_GENERATION[algorithm],
        label=_LABEL,
        store=True,
        capabilities=signing,
        private_template=_KEPT,
    )


def _compressed(algorithm: Algorithm, point: bytes) -> bytes:
    """Give OV1's public key of a DER-wrapped EC_POINT: 32 bytes as they are, or x with y's parity."""
    raw = point[2:]
    if algorithm is Algorithm.ED25519 and point[:2] == b"\x04\x20" and len(raw) == 32:
        return raw
    if algorithm is Algorithm.P256 and point[:3] == b"\x04\x41\x04" and len(raw) == 65:
        return bytes([2 + (raw[64] & 1)]) + raw[1:33]
    raise KeyStoreDamaged("the token's public key is of no form that OV1 knows")
